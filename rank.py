"""Collect ranked answers: ``python rank.py ranker=contextual judge=openai``. Explains itself with ``--help``."""

import sys

from tuna.config.help import Program
from tuna.entry import main

RANK = Program(
    run="tuna.ranking.run:run",
    config_name="rank",
    purpose=(
        "Turn instructions into ranked lists that train.py reads: ranker=contextual samples answers of the model being "
        "tuned and has a judge order them, ranker=probabilistic asks a teacher and orders its answers by their "
        "log-probabilities, ranker=proxy has a reward model (stage=prm) order samples. "
        "Without arguments it uses the embedded tiny models, instructions and checker. "
        "Nothing that was answered is asked or paid for twice: the same command goes on where it stopped. "
        "`rank.py compare A B` says how far two rankings agree, `rank.py merge OUT PARTS` joins the parts of "
        "shard=i/n, `rank.py best LISTS OUT` takes the best answer of each list, `rank.py clear LISTS OUT` the lists "
        "whose answers are not all of one rank."
    ),
    examples=(
        "python rank.py ranker=contextual model.path=runs/alpaca input=alpaca_data.json judge=openai dry_run=true",
        "python rank.py ranker=probabilistic teacher=openai teacher.base_url=http://HOST:8000/v1 teacher.model=M",
        "python rank.py ranker=probabilistic score_only=true teacher.path=MODEL input=answers.jsonl",
    ),
    results=(
        "Results go to rankings/<name>.jsonl (output=... names another file), what was asked and answered to "
        "<name>.store/, instructions without a list to <name>.unusable.jsonl, figures to <name>.report.json and .png."
    ),
)

if __name__ == "__main__":
    if sys.argv[1:2] in (["compare"], ["merge"], ["best"], ["clear"]):
        from tuna.ranking.tools import run_tool

        run_tool(sys.argv[1:])
    else:
        main(RANK)
