"""Promise: an export is whole or not there, and whoever has the root log's key can check all of it without us."""

from __future__ import annotations

import json
import stat
from contextlib import redirect_stdout
from io import StringIO
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from database import Database
from ledger.grown import ROOT, Grown, grown
from ledger.making import KEYS, change
from ledger.signing import SIGNER
from verifiers.running import VERIFIER
from wellkeep.base.errors import Conflict, IntegrityBroken
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.crypto.errors import BadNote
from wellkeep.ledger.export import Wanted
from wellkeep.ledger.export_files import NoExport
from wellkeep.ledger.offline import NOT_PINNED, verify_export

VKEY = SIGNER.vkey(ROOT)


def verified_by_others(top: Path) -> dict[str, Any]:
    """Return what the independent verifier says."""
    with redirect_stdout(StringIO()) as told:
        VERIFIER.main(["export", str(top), "--vkey", VKEY, "--json"])
    said: dict[str, Any] = json.loads(told.getvalue())
    return said


def contents(top: Path) -> dict[str, bytes]:
    """Return every file but the manifest, which says when it was made."""
    paths = (path for path in top.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}


async def test_our_verifier_and_the_independent_one_accept_it(database: Database, tenant: UUID, tmp_path: Path) -> None:
    others = [uuid7(), uuid7()]
    async with grown(database, tmp_path) as made:
        for number, each in enumerate((tenant, *others, tenant, tenant)):
            await made.grow(each, 40 + 130 * number)
        top = await made.exported(tmp_path / "export")
        report = await verify_export(top, vkeys=[VKEY], keys=KEYS)
        live = await made.verified()
    assert report.ok, report.bad
    assert (report.entries, report.seals, report.checkpoints - 4) == (live.entries, live.seals, live.checkpoints)
    assert (report.covers, report.logs) == (5, 4)
    said = verified_by_others(top)
    assert said["holds"], said
    assert (said["entries"], said["covers"]) == (report.entries, 5)
    assert {stat.S_IMODE(path.stat().st_mode) for path in top.rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(top.stat().st_mode) == 0o700
