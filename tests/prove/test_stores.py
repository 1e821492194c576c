"""The temporary directory is looked into for what our account left there since the run began."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from wellkeep.prove.canary import Canary
from wellkeep.prove.scan import Scanner
from wellkeep.prove.stores import scan_spool

CANARY = Canary.make("spooled")


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_was_spooled_is_found_and_what_is_older_is_not_ours(spool: Path) -> None:
    now = time.time()
    (spool / "part").write_text("x" * 50 + CANARY.value)
    old = spool / "old"
    old.write_text(CANARY.value)
    os.utime(old, (now - 60, now - 60))
    (spool / "link").symlink_to(old)
    (spool / "another deployment").mkdir()
    found = scan_spool(Scanner([CANARY]), since=now - 5)
    assert found.found(["spooled"]) == {"spooled"}
    assert found.places == 1


def test_an_empty_one_holds_nothing(spool: Path) -> None:
    assert not scan_spool(Scanner([CANARY]), since=0).hits
