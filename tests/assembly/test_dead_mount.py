"""A mount that hangs holds up nobody who asks how a deployment stands."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assembly.conftest import Installed
from wellkeep.assembly.diagnosis import diagnose
from wellkeep.base.anchor_settings import FileAnchor
from wellkeep.base.settings import LedgerSettings


async def test_the_doctor_does_not_wait_for_it(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, release, stat = tmp_path / "dead", threading.Event(), Path.stat

    def hang(path: Path, **more: Any) -> Any:
        if path == dead:
            release.wait(20)
        return stat(path, **more)

    monkeypatch.setattr(Path, "stat", hang)
    kept = LedgerSettings(anchors=(FileAnchor(name="drop", path=str(dead)),))
    settings = msgspec.structs.replace(installed.settings, ledger=kept)
    try:
        async with asyncio.timeout(10):
            found = {one.what: one for one in await diagnose(installed.home, settings, installed.database)}
    finally:
        release.set()
    assert not found["The ledger is anchored outside this machine"].fine
    assert "The anchor drop lies on another volume than the database" not in found
