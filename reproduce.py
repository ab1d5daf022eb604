"""The paper end to end: ``python reproduce.py``. Every step is an ordinary command. Explains itself with ``--help``."""

from tuna.config.help import Program
from tuna.entry import main

REPRODUCE = Program(
    run="tuna.reproduce.run:run",
    config_name="reproduce",
    purpose=(
        "Run the whole paper: instruction tuning, rankings by a teacher, a judge and a reward model, all systems tuned "
        "on them, all of them measured, one report. Each step is an ordinary train.py, rank.py, evaluate.py or "
        "report.py command, printed so that it can be run alone. Without arguments it does so with the embedded tiny "
        "models on two cores. What is done is not done again; a stopped run goes on by the same command. "
        "pipeline=rounds samples, ranks, trains and measures again and again, until the measure falls."
    ),
    examples=(
        "python reproduce.py seeds=3",
        "python reproduce.py dry_run=true",
        "python reproduce.py sizes=paper dry_run=true",
        "python reproduce.py pipeline=rounds rounds=3",
    ),
    results=(
        "Results go to reproduce/<name>/: report/report.html, runs/, rankings/, results/, logs/ (a file a step) and "
        "steps.json (every command, its state, its seconds)."
    ),
)

if __name__ == "__main__":
    main(REPRODUCE)
