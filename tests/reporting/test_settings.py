from pathlib import Path

import pytest

from tuna.config.compose import compose
from tuna.errors import ConfigError
from tuna.reporting.settings import Settings


def test_defaults_stand_in_the_yaml_too() -> None:
    assert Settings.read(compose([], config_name="report")) == Settings()


def test_lists_of_folders(tmp_path: Path) -> None:
    settings = Settings.read(compose([f"runs=[{tmp_path},{tmp_path}]"], config_name="report"))
    assert settings.folders("runs") == [tmp_path, tmp_path] and settings.folders("results") == [Path("results")]


def test_all_that_is_wrong_is_said_at_once() -> None:
    words = ["questions=-1", "paper=none.json", "runs=5"]
    with pytest.raises(ConfigError) as raised:
        Settings.read(compose(words, config_name="report"))
    assert len(str(raised.value).splitlines()) == 3


def test_a_folder_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="results: none: no such folder"):
        Settings.read(compose(["results=none"], config_name="report"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="output: expected a folder"):
        Settings.read(compose([f"output={tmp_path}/file"], config_name="report"))
