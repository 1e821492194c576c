"""What an export brings along at its end: receipts of anchors, the newest key's checkpoint, and a place of its own."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from ledger.grown import ROOT, grown
from ledger.making import KEYS, change
from ledger.signing import SIGNER
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Conflict, IntegrityBroken
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, note
from wellkeep.ledger.export import Wanted, Written, export
from wellkeep.ledger.export_log import Keys
from wellkeep.ledger.offline import verify_export
from wellkeep.ledger.verify import one_state

VKEY = SIGNER.vkey(ROOT)
_END = "SELECT epoch, size, root FROM ledger.checkpoint WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1"
_ANCHORED = "SELECT ledger.add_anchored('drop', $1, $2, $3, now(), $4, $5)"


async def written(database: Database, top: Path, *, signers: tuple[CheckpointSigner, ...] = (SIGNER,)) -> Written:
    seen: list[str] = []
    async with database.connect("wk_migrate") as connection, one_state(connection):
        made = await export(
            connection,
            top,
            Wanted(),
            keys=Keys(signers, KEYS),
            now=SystemClock().now(),
            progress=lambda log, _done, _of: seen.append(log),
        )
    assert ROOT in seen
    return made


async def test_what_anchors_took_is_in_it(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 3)
        async with database.connect() as connection:
            [(epoch, size, root)] = await connection.fetch(_END, PLATFORM_TENANT)
        checkpoint = Checkpoint(ROOT, size, root)
        signed = note(checkpoint, SIGNER.signature(checkpoint))
        async with database.connect("wk_ledger") as connection:
            await connection.execute(_ANCHORED, epoch, size, root, signed, b"receipt")
            await connection.execute(_ANCHORED, epoch, size + 900, root, signed, b"of later")
        result = await written(database, tmp_path / "out")
    result.publish()
    folder = tmp_path / "out" / "anchors" / "drop" / str(epoch)
    assert sorted(path.name for path in folder.iterdir()) == [f"{size}.note", f"{size}.receipt"]
    assert (await verify_export(tmp_path / "out", vkeys=[VKEY], keys=KEYS)).ok


async def test_a_place_that_was_taken_meanwhile_stays_as_it_is(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 3)
        result = await written(database, tmp_path / "out")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(Conflict, match="not empty any more"):
        result.publish()
    assert (tmp_path / "out" / "mine").read_text() == "kept"


async def test_under_a_newer_key_the_end_is_signed_anew(database: Database, tenant: UUID, tmp_path: Path) -> None:
    newer = CheckpointSigner(Secret(b"n" * 32))
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 3)
        result = await written(database, tmp_path / "out", signers=(newer, SIGNER))
    result.publish()
    assert (await verify_export(tmp_path / "out", vkeys=[newer.vkey(ROOT)], keys=KEYS)).ok


async def test_an_end_that_nobody_signed_yet_is_signed_by_the_export(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 3)
    await change(database, "DELETE FROM ledger.checkpoint WHERE tenant_id = $1", tenant)
    result = await written(database, tmp_path / "out")
    result.publish()
    (note_of_the_end,) = (tmp_path / "out" / "logs" / str(tenant) / "1" / "checkpoints").iterdir()
    assert (await verify_export(tmp_path / "out", vkeys=[VKEY], keys=KEYS)).ok
    assert note_of_the_end.read_bytes() == (note_of_the_end.parent.parent / "checkpoint").read_bytes()


async def test_an_end_that_no_seal_of_ours_covers_is_not_signed(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 3)
        await change(database, "DELETE FROM ledger.checkpoint WHERE tenant_id = $1", tenant)
        await change(database, "UPDATE ledger.seal SET mac = sha256(mac) WHERE tenant_id = $1", tenant)
        with pytest.raises(IntegrityBroken, match="No seal of ours"):
            await written(database, tmp_path / "out")
    assert not (tmp_path / "out").exists()
