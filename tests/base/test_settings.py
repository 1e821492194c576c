"""Settings are checked in full: a misspelt one stops the start, and no value is shown."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.base.settings import FILE_NAME, Settings, default_home, dump, load

MINIMAL = Settings(version=1, deployment=UUID(int=7), environment="test")


def test_what_is_dumped_loads_the_same(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(dump(MINIMAL))
    assert load(tmp_path) == MINIMAL


def test_a_missing_deployment_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="wellkeep init"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ('[listen]\npublic = "hunter2"\n', "listen.public"),
        ('[keys]\ndrivr = "hunter2"\n', "keys.drivr"),
        ('[database]\nsslmode = "hunter2"\n', "database.sslmode"),
        ('[encryption]\nenabled = "hunter2"\n', "encryption"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(tmp_path: Path, broken: str, named: str) -> None:
    (tmp_path / FILE_NAME).write_text(dump(MINIMAL).split("\n[", 1)[0] + "\n" + broken)
    with pytest.raises(Misconfigured) as refused:
        load(tmp_path)
    assert named in refused.value.message
    assert "hunter2" not in refused.value.message


def test_broken_toml_is_refused_without_its_text(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("version = 1\nroot = 'hunter2")
    with pytest.raises(Misconfigured) as refused:
        load(tmp_path)
    assert "hunter2" not in refused.value.message


def test_the_home_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WELLKEEP_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("WELLKEEP_HOME")
    assert default_home().name == "wellkeep-data"
