"""Promise: what the independent verifier finds in an export that was tampered with, ours finds in the same log."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from verifiers.exporting import SEAL_KEY, plain, vkey
from verifiers.test_export_tampered import ATTACKS
from wellkeep.ledger.offline import verify_export


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain().write(tmp_path_factory.mktemp("export"))


@pytest.mark.parametrize("name", ATTACKS)
async def test_tampering_is_found_where_others_find_it(written: Path, tmp_path: Path, name: str) -> None:
    attack, (log, _) = ATTACKS[name]
    top = Path(shutil.copytree(written, tmp_path / "export"))
    attack(top)
    for keys in (None, {SEAL_KEY.key_id: SEAL_KEY}):
        report = await verify_export(top, vkeys=[vkey()], keys=keys)
        assert [bad.log for bad in report.bad] == [log]
