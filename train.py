"""Tune a model: ``python train.py stage=tuna_c loss.lambda=5``. Explains itself with ``--help``."""

from tuna.config.help import Program
from tuna.entry import main

TRAIN = Program(
    run="tuna.training.run:run",
    look="tuna.training.early:look",
    config_name="train",
    purpose=(
        "Tune a model on instructions (stages sft, alpaca_mul) or on ranked answers (all other stages; stage prm "
        "makes a reward model of them), as in Tuna: "
        "Instruction Tuning using Feedback from Large Language Models (EMNLP 2023). Without arguments it tunes the "
        "embedded tiny model on embedded ranked lists, on any machine. model.path= and datamodule.path= take your own."
    ),
    examples=(
        "python train.py stage=tuna_c loss.lambda=5",
        "python train.py stage=tuna_p model.path=MODEL datamodule.path=FILE.jsonl trainer=gpu",
        "python train.py -m loss.lambda=0,0.1,1,5,10 'seed=range(3)' name=ablation",
        "python train.py experiment=tuna_c_lambda -m",
    ),
    results=(
        "Results go to runs/<name>/ (name=..., else <stage>-<date>-<time>; a sweep's jobs to runs/<name>/<n>): "
        "run.json, metrics.csv, checkpoints/, and model/, a Hugging Face folder that the next stage takes by "
        "model.path=runs/<name>. After a stop, the same command with resume=auto goes on."
    ),
)

if __name__ == "__main__":
    main(TRAIN)
