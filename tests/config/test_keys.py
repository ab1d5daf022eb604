import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.config.test_entry import exit_code
from tools.keys import PROGRAMS, page
from tuna.config.compose import CONF, compose
from tuna.config.help import groups
from tuna.config.keys import all_keys, explain
from tuna.config.meanings import comments, meanings
from tuna.errors import ConfigError


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_key_has_a_meaning_and_a_type(program: str) -> None:
    keys = all_keys((CONF,), program)
    assert len(keys) >= 8
    assert [key.name for key in keys if not key.meaning] == []
    assert [key.name for key in keys if not key.takes or not key.default] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_key_of_the_composed_config_is_explained(program: str) -> None:
    known = {key.name for key in all_keys((CONF,), program)}
    assert known
    for name, value in compose(config_name=program).items_ex(resolve=False):
        key = str(name)
        if isinstance(value, DictConfig):
            assert [
                f"{key}.{inner}" for inner in map(str, value) if inner != "_target_" and f"{key}.{inner}" not in known
            ] == []
        else:
            assert key in known or key in groups([CONF], program)


def test_the_page_is_what_the_code_says() -> None:
    written = (CONF.parent / "docs" / "keys.md").read_text(encoding="utf-8")
    assert written == page(), "next: make keys"


def test_a_key_is_told_by_its_choice_which_comes_first() -> None:
    cfg = compose(["loss=dpo", "loss.beta=0.3"], with_hydra=True)
    text = explain(["loss.beta"], [CONF], "train", cfg)
    first = text.split("\nloss.beta:")[0]
    assert first.startswith("loss.beta: what a log-ratio (nats) is multiplied by")
    assert "takes    a finite number above 0" in first and "default  0.1" in first and "here     0.3" in first
    assert "what the difference of v (nats per token) is multiplied by" in text  # of simpo, below


def test_a_last_name_a_mapping_and_a_former_part_are_found() -> None:
    assert explain(["lr"], [CONF], "train").startswith("module.lr: peak learning rate")
    text = explain(["model.lora"], [CONF], "train")
    assert "model.lora.r: rank" in text and "model.lora.target_modules: " in text
    assert "auto or tiny or paper" in explain(["scale"], [CONF], "train")


def test_a_group_and_a_choice() -> None:
    text = explain(["trainer"], [CONF], "train")
    assert (
        "trainer=fsdp  sharded over all GPUs" in text and "optimizer steps at most; null is all of the epochs" in text
    )
    text = explain(["loss"], [CONF], "train")
    assert "keys: loss.alpha, " in text and "--help loss=CHOICE" in text
    text = explain(["loss=dpo_norm"], [CONF], "train")
    assert "tuna.losses.dpo.DPO: C = mean over pairs" in text and "a finite number above 0; default 5.0" in text
    text = explain(["stage=tuna_p"], [CONF], "train")
    assert "datamodule=probabilistic" in text and "datamodule.batch_size  128; 16 with an embedded model" in text


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("loss.lamda", "no such key or group; did you mean loss.lambda?"),
        ("trainr", "did you mean trainer?"),
        ("loss=dpp", "expected one of apo_zero"),
        ("nothing.like.it", "--help alone lists the groups"),
    ],
)
def test_an_unknown_topic_is_an_error_with_the_nearest_name(topic: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        explain([topic], [CONF], "train")
    assert said in str(error.value)


def test_meanings_of_a_class_are_those_of_docstring_comments_and_bases(shop: Path) -> None:
    (shop.parent / "shop" / "told.py").write_text(
        'class Base:\n    """What is shared.\n\n    size: in cm. Raises: ConfigError: nothing.\n    """\n\n'
        "    size: int = 1\n    shape: str = 'x'  # round\n\n\n"
        'class Told(Base):\n    """Without size: none.\n\n    lambda, shape: both. names: of {size: 1}.\n    """\n\n'
        "    def __init__(self, *, lambda_: float = 1.0, size: int = 2, names: str = '', shape='') -> None: ...\n"
    )
    assert meanings("shop.told.Told") == {
        "lambda": "both", "size": "in cm", "names": "of {size: 1}", "shape": "both",
    }  # fmt: skip


def test_a_file_s_first_comment_is_of_no_key() -> None:
    assert comments("# the file\na: 1\n# of b\nb:\n  c: 2 # of c\nd: 3\n") == {"b": "of b", "b.c": "of c"}


def test_help_of_a_key_on_the_command_line(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x.py"])
    assert exit_code(shop, "--help", "thing.lambda=3") == 0
    told = "thing.lambda: not explained by its class\n  takes    a number\n  default  1.0\n  here     3\n"
    assert capsys.readouterr().out.startswith(told)
    assert exit_code(shop, "--help", "thing=base") == 0
    assert "thing=base: with lambda" in capsys.readouterr().out
    assert exit_code(shop, "--help", "thing=data", "seed", "thing.size") == 0  # all that is asked for, as it is chosen
    parts = capsys.readouterr().out.split("\n\n")
    heads = [part.partition(":")[0] for part in parts]
    assert [head for head in heads if not head.startswith("keys")] == ["thing=data", "seed", "thing.size"]
    assert "default  4" in parts[-1]
    wrong = (["thing.lamda"], "did you mean thing.lambda?"), (["seed", "thing=bse"], "did you mean base?")
    for words, said in wrong:
        assert exit_code(shop, "--help", *words) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and said in err
