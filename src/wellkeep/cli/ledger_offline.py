"""`wellkeep ledger verify --offline`: an export, with no database and no deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from wellkeep.assembly.seal_keys import read_seal_keys
from wellkeep.cli.bars import bars
from wellkeep.cli.console import out, print_json
from wellkeep.cli.ledger_words import document, tell, unverified
from wellkeep.cli.local import started
from wellkeep.cli.options import locate
from wellkeep.ledger.offline import verify_export
from wellkeep.ledger.report import Report
from wellkeep.ledger.seal import SealKey


def verify_offline(directory: Path, *, home: Path | None, vkeys: Sequence[str], as_json: bool) -> int:
    """Verify an export, tell what came of it, and return the exit code; seals only where a home is named."""

    async def work() -> Report:
        keys = None if home is None else await _seal_keys(home)
        with bars() as shown:
            return await verify_export(directory, vkeys=vkeys, keys=keys, progress=shown)

    try:
        report = asyncio.run(work())
    except Exception as error:  # noqa: BLE001 -- whatever it was, it was no verdict
        unverified("The export", error)
    if as_json:
        print_json(document(report, exit_code=report.exit_code))
        return report.exit_code
    tell(report)
    if home is None and report.seals:
        out.print("  The MACs of seals were not checked: that takes the deployment's key (--home).", markup=False)
    return report.exit_code


async def _seal_keys(home: Path) -> Mapping[str, SealKey]:
    where = locate(home)
    async with started(where) as (settings, database):
        return await read_seal_keys(where, settings, database)
