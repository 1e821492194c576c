"""The settings that the how-tos show are settings that load."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest

from wellkeep.base.settings import FILE_NAME, Settings, dump, load

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
RECOVERY = "recover-the-root-key.md"
SHOWN = [
    (page.name, block)
    for page in sorted([*HOW_TO.glob("keys-*.md"), HOW_TO / RECOVERY])
    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
]


def test_there_is_something_to_look_at() -> None:
    assert {name for name, _ in SHOWN} == {"keys-aws.md", "keys-hsm.md", "keys-vault.md", "keys-byok.md", RECOVERY}


@pytest.mark.parametrize(("name", "block"), SHOWN)
def test_the_settings_that_are_shown_load(tmp_path: Path, name: str, block: str) -> None:
    made = dump(Settings(version=1, deployment=UUID(int=7), environment="test")).replace("[keys]\n", "")
    (tmp_path / FILE_NAME).write_text(made + "\n" + block)
    keys = load(tmp_path).keys
    assert keys.roots or keys.epochs.driver != "local"


def test_the_vaults_page_says_that_it_was_never_tried() -> None:
    assert "Untested on a real server" in (HOW_TO / "keys-vault.md").read_text()
