"""The commands: what each is for, and ``tuna COMMAND`` (``python -m tuna COMMAND``), which starts any of them.

Not called cli.py or main.py: the index has another package ``tuna``, with files of these names, and one installation
over the other would mix them.
"""

import os
import sys
from collections.abc import Sequence

import tuna
from tuna.config.help import Program
from tuna.console import STARTED_AS, nearest, started_as
from tuna.entry import main
from tuna.ranking import TOOLS

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

CHAT = Program(
    run="tuna.inference.chat:run",
    config_name="chat",
    purpose=(
        "Talk to a model: each line that is typed gets an answer. With a chat template the conversation goes on, and "
        "an empty line begins a new one; Ctrl-D ends. Lines that are piped in are answered one by one, the answers "
        "alone on stdout. Without arguments the embedded tiny model answers."
    ),
    examples=("python -m tuna chat model.path=runs/tuna_c", "python -m tuna chat model.path=MODEL temperature=0.7"),
    results="Nothing is written.",
    sweeps=False,
)

PROGRAMS = {
    "train": TRAIN, "rank": RANK, "evaluate": EVALUATE, "report": REPORT, "reproduce": REPRODUCE, "chat": CHAT
}  # fmt: skip
_ABOUT = {
    "train": "tune a model on instructions or on ranked answers",
    "rank": "collect ranked answers from a judge, a teacher, a reward model or a function",
    "evaluate": "measure a model on a benchmark",
    "report": "tables, figures and one page from what is on disk",
    "reproduce": "a whole pipeline, such as the paper's, step by step",
    "chat": "talk to a model, a line at a time",
    "data": "what a data file is taken for, with three records as text and token ids",
}


def start(name: str, argv: Sequence[str] | None = None) -> None:
    """Run a command of PROGRAMS, or a tool of rank.py, with ``argv``, or the words after the script's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    if name == "rank" and words and words[0] in TOOLS:
        from tuna.ranking.tools import run_tool

        run_tool(words)
    else:
        main(PROGRAMS[name], words)


def console(argv: Sequence[str] | None = None) -> None:
    """``tuna COMMAND ...``: what ``python COMMAND.py ...`` is in a checkout. Raises: SystemExit with its exit code."""
    name, *words = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    os.environ[STARTED_AS] = started_as(sys.argv[0])
    if name in PROGRAMS:
        start(name, words)
    elif name == "data":
        from tuna.preview import main as preview

        preview(words)
    elif name == "--version":
        print(f"tuna-ranking {tuna.__version__}")
    elif name in ("--help", "-h", "help"):
        print(overview())
    else:
        print(f"error: {name}: expected one of {', '.join(_ABOUT)}{nearest(name, list(_ABOUT))}", file=sys.stderr)
        sys.exit(1)


def overview() -> str:
    """What ``tuna --help`` prints."""
    started = os.environ.get(STARTED_AS, "tuna")
    lines = [f"{started} COMMAND [key=value ...], where COMMAND is one of", ""]
    lines += [f"  {name:<10} {text}" for name, text in _ABOUT.items()]
    return "\n".join([*lines, "", f"{started} COMMAND --help tells what it can be given."])
