import pytest

from tuna.config.arguments import read_command_line, secret_in, values
from tuna.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("judge.api_key=abc", "judge.api_key"),
        ("+judge.apikey=abc", "judge.apikey"),
        ("hub.token=abc", "hub.token"),
        ("db_password=abc", "db_password"),
        ("model.path=sk-0123456789abcdef", "model.path"),
        ("x={a: hf_0123456789abcdefghij}", "x"),
        ("sk-0123456789abcdef", ""),
        ("judge.api_key_env=OPENAI_API_KEY", None),
        ("judge.api_key=null", None),
        ("datamodule.row_tokens=4096", None),
        ("model.path=runs/task-1/risk-model", None),
        ("model.revision=0123456789abcdef0123456789abcdef01234567", None),
    ],
)
def test_literal_secrets_are_found(text: str, key: str | None) -> None:
    assert secret_in(text) == key


def test_secrets_are_never_echoed() -> None:
    line = read_command_line(["judge.api_key=very-hidden", "a=sk-very-hidden-too", "sk-very-hidden-too"])
    assert line.overrides == () and len(line.wrong) == 3
    assert "very-hidden" not in "".join(line.wrong)
    assert line.wrong[0].startswith("judge.api_key=<hidden>: a literal key") and "api_key_env" in line.wrong[0]


def test_flags_and_overrides_are_told_apart() -> None:
    line = read_command_line(["loss.lambda=1,2", "-m", "-cn", "other", "stage=sft"])
    assert (line.multirun, line.runs, line.config_name) == (True, True, "other")
    assert [o.key_or_group for o in line.overrides] == ["loss.lambda", "stage"]
    assert line.ordered == ("loss.lambda=1,2", "stage=sft", "-m", "-cn", "other")
    assert not read_command_line(["--cfg", "job"]).runs
    assert read_command_line(["-h"]).shows_help
    assert all(read_command_line([flag]).only_hydra for flag in ("--version", "--hydra-help"))


def test_a_wrong_option_is_a_fault_like_others() -> None:
    with pytest.raises(ConfigError, match=r"argument --cfg/-c: invalid choice: 'all_of_it'"):
        read_command_line(["--cfg", "all_of_it"])


def test_malformed_overrides_are_all_named() -> None:
    wrong = read_command_line(["loss.margin", "name=a=b", "--fast", "seed=3"]).wrong
    assert len(wrong) == 3
    assert wrong[0] == "--fast: no such option; see --help"
    assert wrong[1] == "loss.margin: expected key=value, for example loss.lambda=5"
    assert wrong[2].startswith("name=a=b: malformed (") and wrong[2].endswith("""'name="a=b"'""")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=3", [3]),
        ("a=1e-5", [1e-5]),
        ("a='1,2'", ["1,2"]),
        ("a=0,0.1,x", [0, 0.1, "x"]),
        ("a=choice(1,2)", [1, 2]),
        ("a=range(0,6,2)", [0, 2, 4]),
        ("a=interval(0,1)", []),
        ("a=glob(tuna*)", ["tuna_p", "tuna_c"]),
    ],
)
def test_values_of_an_override(text: str, expected: list[object]) -> None:
    (override,) = read_command_line([text]).overrides
    assert values(override, ["sft", "tuna_p", "tuna_c"]) == expected
