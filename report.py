"""Tables, figures and one page from what is on disk: ``python report.py``. Explains itself with ``--help``."""

from tuna.config.help import Program
from tuna.entry import main

REPORT = Program(
    run="tuna.reporting.run:run",
    config_name="report",
    purpose=(
        "Put runs, rankings and results side by side: the paper's tables with mean, 95% interval and difference to the "
        "baseline, its figures, what holds of its claims, ranking lengths, cost, and answers of all systems to the "
        "same questions. Runs with one config and different seeds are replicates of one system. It reads files only: "
        "run.json, *.report.json, results.json and examples.jsonl below the folders named."
    ),
    examples=(
        "python report.py",
        "python report.py runs=[runs,/data/runs] results=results output=report baseline=Alpaca",
        "python report.py output=reports/lambda title='The weight of cross-entropy' questions=40",
    ),
    results=(
        "Results go to report/ (output=...): report.html (one page, opens anywhere, needs no network), tables/*.md and "
        "*.tex, figures/*.png, report.json. The same files give the same bytes, but for the date "
        "(SOURCE_DATE_EPOCH sets it)."
    ),
)

if __name__ == "__main__":
    main(REPORT)
