import pytest
import yaml

from tuna.config.arguments import each, read_command_line
from tuna.config.compose import CONF
from tuna.config.help import groups
from tuna.config.schema import parameters
from tuna.errors import ConfigError
from tuna.secrets import secret_in


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
        ("judge.key=abc", "judge.key"),
        ("openai_key=abc", "openai_key"),
        ("credentials=abc", "credentials"),
        ("judge.access_token_2=abc", "judge.access_token_2"),
        ("judge.headers.Authorization=abc", "judge.headers.Authorization"),
        ("judge.headers[X-Api-Key]=abc", "judge.headers[X-Api-Key]"),
        ("logger.wandb={api_key: abc}", "logger.wandb"),
        ("logger.wandb={a:1,api_key:abc}", "logger.wandb"),
        ("+judge.options={api_key: abc}", "judge.options"),
        ("headers={Authorization: abc}", "headers"),
        ("headers={'Authorization': 'Bearer abc'}", "headers"),
        ('headers={"x-api-key": abc}', "headers"),
        ('headers="Authorization: Bearer abc"', "headers"),
        ("judge.options={a: {b: [{password: abc}]}}", "judge.options"),
        ("judge=choice({secret: abc},{secret: d})", "judge"),
        ("judge.options={api_key: {x: abc}}", "judge.options"),
        ("judge.base_url=https://user:pw@host/v1", "judge.base_url"),
        ("judge.base_url='https://:pw@host/v1'", "judge.base_url"),
        ("https://user:pw@host?a=b", ""),
        ("judge.base_url='https://host/v1?x=1&api_key=abc'", "judge.base_url"),
        ("--password=abc", "--password"),
        ("sizes.judge='judge=openai judge.api_key=abc'", "sizes.judge"),
        ('sizes.judge="judge=openai +judge.options.token=abc"', "sizes.judge"),
        ("sizes.teacher=\"teacher=openai teacher.options='{api_key: abc}'\"", "sizes.teacher"),
        ("sizes.judge='judge=openai judge.api_key=null judge.api_key_env=A judge.max_tokens=5'", None),
        ("judge.options={api_key: null, token: '', a: 1}", None),
        ("judge.options={api_key_env: OPENAI_API_KEY, max_tokens: 5, num_tokens: 4, tokenizer: t}", None),
        ("teacher.max_tokens=512", None),
        ("judge.token_limit=max_completion_tokens", None),
        ("datamodule.num_tokens=4", None),
        ("model.tokenizer=token", None),
        ("model.tokenize=true", None),
        ("+model.keys=abc", None),
        ("judge.base_url=http://token:8000/v1", None),
        ("datamodule.path=[a/secret.jsonl,s3://bucket/key]", None),
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


@pytest.mark.parametrize("choice", [f"{group}/{choice}" for group, files in groups([CONF]).items() for choice in files])
def test_no_argument_of_ours_is_taken_for_a_secret(choice: str) -> None:
    content = yaml.safe_load((CONF / f"{choice}.yaml").read_text()) or {}
    keys = [*content, *(parameters(content["_target_"]) if "_target_" in content else [])]
    assert [key for key in keys if secret_in(f"{choice}.{key}=abc")] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["headers={Authorization:", "very-hidden}"],
        ["headers={Authorization:", "Bearer", "very-hidden,", "b:", "very-hidden}"],
        ["judge.api_key=", "very-hidden"],
        ["--token", "very-hidden"],
    ],
)
def test_a_secret_that_the_shell_cut_off_is_not_echoed(argv: list[str]) -> None:
    line = read_command_line([*argv, "seed=3", "typo"])
    assert [o.input_line for o in line.overrides] == [t for t in (*argv, "seed=3") if t in ("judge.api_key=", "seed=3")]
    assert any(text.startswith("<hidden>") or "=<hidden>" in text for text in line.wrong)
    assert line.wrong[-1].startswith("typo: ")
    assert "very-hidden" not in "".join((*line.wrong, *line.ordered[:2]))


@pytest.mark.parametrize(
    "text",
    [
        "judge.model=${oc.env:HOME}",
        "+judge.options={a: '${oc.env:HOME,very-hidden}'}",
        "name=${oc.decode:${ oc.env:HOME}}",
        "hydra.run.dir=${env:HOME}",
    ],
)
def test_an_environment_variable_is_named_rather_than_resolved(text: str) -> None:
    line = read_command_line([text])
    assert line.overrides == () and len(line.wrong) == 1 and "very-hidden" not in line.wrong[0]
    assert "oc.env" in line.wrong[0] and "name the variable" in line.wrong[0]
    assert read_command_line(["name=${now:%Y}-${seed}"]).wrong == ()


def test_flags_and_overrides_are_told_apart() -> None:
    line = read_command_line(["loss.lambda=1,2", "-m", "-cn", "other", "stage=sft"])
    assert (line.multirun, line.runs, line.config_name) == (True, True, "other")
    assert [o.key_or_group for o in line.overrides] == ["loss.lambda", "stage"]
    assert line.ordered == ("loss.lambda=1,2", "stage=sft", "-m", "-cn", "other")
    assert not read_command_line(["--cfg", "job"]).runs
    assert read_command_line(["-h"]).shows_help
    assert read_command_line(["--hydra-help"]).only_hydra
    assert read_command_line(["--version"]).shows_version


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
    assert [one.value() for one in each(override, ["sft", "tuna_p", "tuna_c"])] == expected
