"""Promise: a verification goes on from where one held before, and from nowhere that somebody else wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from ledger.grown import Grown, grown
from ledger.making import KEYS, SEAL_KEY, change
from ledger.signing import SIGNER
from wellkeep.base.secrets import Secret
from wellkeep.ledger.known import Known
from wellkeep.ledger.memory import Memory
from wellkeep.ledger.report import Report, What
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.verified import Verified


def file_in(path: Path) -> Verified:
    return Verified(Memory(path / "remembered"), keys=KEYS, key=SEAL_KEY)


async def goes_on(made: Grown, file: Verified) -> Report:
    """Verify on from what `file` holds, and keep how far it held."""
    report = await made.verified(known=Known(KEYS, signers=(SIGNER,), verified=file.load() or {}))
    if report.ok:
        file.store(report.ends)
    return report


async def test_it_goes_on_where_it_was(database: Database, tenant: UUID, tmp_path: Path) -> None:
    file = file_in(tmp_path)
    assert file.load() == {}
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 300)
        assert (await goes_on(made, file)).ok
        assert file.path.stat().st_mode & 0o777 == 0o600
        await made.grow(tenant, 300)
        known = Known(KEYS, signers=(SIGNER,), verified=file.load() or {})
        report = await made.verified(known=known)
        assert (report.ok, report.seals) == (True, 2)
        assert (await goes_on(made, file)).ok
        assert (await goes_on(made, file)).seals == 0
        await change(database, "UPDATE ledger.entry SET actor = 'x' WHERE tenant_id = $1 AND seq = 7", tenant)
        assert (await goes_on(made, file)).ok, "what was read before is read again once a week"
        assert not (await made.verified()).ok
        await made.grow(tenant, 5)
        await change(database, "UPDATE ledger.entry SET actor = 'x' WHERE tenant_id = $1 AND seq = 602", tenant)
        assert [(bad.seq, bad.what) for bad in (await goes_on(made, file)).bad] == [(602, What.COLUMNS)]


async def test_a_log_that_is_shorter_or_gone(database: Database, tenant: UUID, tmp_path: Path) -> None:
    file = file_in(tmp_path)
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 3)
        assert (await goes_on(made, file)).ok
        ends = file.load() or {}
        longer = {log: state._replace(size=64, frontier=state.frontier[:1]) for log, state in ends.items()}
        report = await made.verified(known=Known(KEYS, verified=longer))
        assert {(bad.what) for bad in report.bad} == {What.REMEMBERED}
        gone = {log.replace(str(tenant), str(UUID(int=7))): state for log, state in ends.items()}
        report = await made.verified(known=Known(KEYS, verified=gone))
        assert (str(UUID(int=7)) in report.bad[0].log, report.bad[0].what) == (True, What.REMEMBERED)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw.replace(b'"size":', b'"size":1'),
        lambda raw: raw.replace(b"seal-1", b"seal-2"),
        lambda raw: raw + b"more",
        lambda raw: raw[:-10],
        lambda raw: raw[:0],
        lambda raw: raw[:0] + b"\xff\n\xff \xff\n",
    ],
)
async def test_a_file_that_is_not_ours(
    database: Database, tenant: UUID, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    file = file_in(tmp_path)
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 1)
        assert (await goes_on(made, file)).ok
    file.path.write_bytes(spoil(file.path.read_bytes()))
    assert file.load() is None
    other = SealKey(SEAL_KEY.key_id, Secret(bytes(32)))
    assert Verified(Memory(tmp_path / "remembered"), keys={other.key_id: other}, key=other).load() is None


@pytest.mark.parametrize("body", [b'{"logs":{},"v":2}', b'{"logs":[],"v":1}', b"{}", b"no JSON"])
def test_what_another_version_wrote_is_none_of_ours(tmp_path: Path, body: bytes) -> None:
    file = file_in(tmp_path)
    file.store({})
    assert file.load() == {}
    file.path.write_bytes(body + f"\n{SEAL_KEY.key_id} {SEAL_KEY.verified(body).hex()}\n".encode())
    assert file.load() is None
