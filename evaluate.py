"""Measure a model: ``python evaluate.py benchmark=lmentry model.path=runs/a``. Explains itself with ``--help``."""

from tuna.config.help import Program
from tuna.entry import main

EVALUATE = Program(
    run="tuna.evaluation.run:run",
    config_name="evaluate",
    purpose=(
        "Measure a model on a benchmark: the embedded elementary tasks, Super-NaturalInstructions, LMentry, Vicuna QA, "
        "the likelihood of reference answers, agreement with ranked lists; measure a judge; make and score the sheets "
        "of a human study. The model is a Hugging Face folder, hub id or run, an OpenAI-compatible server "
        "(generation=openai), or a file of answers given already (answers=FILE.jsonl). Without arguments it measures "
        "the embedded tiny model."
    ),
    examples=(
        "python evaluate.py model.path=runs/tuna_c",
        "python evaluate.py benchmark=lmentry benchmark.root=CLONE model.path=FOLDER_OR_HUB_ID",
        "python evaluate.py -m benchmark=elementary,agreement model.path=runs/a,runs/b",
    ),
    results=(
        "Results go to results/<benchmark>/<model>-<fingerprint>-<settings>/: results.json (scores, tables, coverage, "
        "config) and examples.jsonl. What is measured already is shown and left as it is; a stopped command goes on."
    ),
)

if __name__ == "__main__":
    main(EVALUATE)
