"""Promise: no proof of what is not there, of another tenant's, or before a checkpoint; none of what does not prove."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from ledger.grown import Grown, grown
from ledger.making import change, prepared
from ledger.signing import SIGNER
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import BadNote, BadProof
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.proof import NoEntry, Readers, covered, is_there, newest, prove_cover, prove_entry


@asynccontextmanager
async def readers(database: Database, tenant: UUID) -> AsyncIterator[Readers]:
    async with database.entered(tenant) as rows, database.connect("wk_ledger") as trees:
        yield Readers(rows, trees)


async def event_of(made: Grown, tenant: UUID) -> UUID:
    [event] = prepared()
    await made.parts.writer.append(tenant, [event])
    return event.event.id


async def test_an_entry_is_proved_to_its_own_tenant_once_it_is_signed(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    async with grown(database, tmp_path) as made:
        event = await event_of(made, tenant)
        await event_of(made, other_tenant)
        await made.signed()
        async with readers(database, tenant) as mine:
            proof = await prove_entry(mine, (SIGNER,), tenant=tenant, event=event)
            assert proof is not None
            assert (proof.seq, proof.signed.vkey) == (1, SIGNER.vkey(proof.signed.checkpoint.origin))
            with pytest.raises(NoEntry):
                await prove_entry(mine, (SIGNER,), tenant=tenant, event=uuid7())
            with pytest.raises(BadNote):
                await prove_entry(mine, (CheckpointSigner(Secret(bytes(32))),), tenant=tenant, event=event)
        async with readers(database, other_tenant) as theirs:
            with pytest.raises(NoEntry):
                await prove_entry(theirs, (SIGNER,), tenant=tenant, event=event)
        await change(database, "TRUNCATE ledger.checkpoint")
        async with readers(database, tenant) as mine:
            assert await newest(mine, (SIGNER,), tenant) is None
            assert await prove_entry(mine, (SIGNER,), tenant=tenant, event=event) is None


@pytest.mark.parametrize(
    "event",
    [
        UUID("00000000-0000-7000-8000-0000000000aa"),
        UUID("ffffffff-ffff-7000-8000-0000000000aa"),
        UUID("0198d7b2-0000-4000-8000-0000000000aa"),
    ],
    ids=["an early id", "a late id", "an id that tells no time"],
)
async def test_an_entry_is_found_whatever_time_its_id_tells(
    database: Database, tenant: UUID, tmp_path: Path, event: UUID
) -> None:
    async with grown(database, tmp_path) as made:
        await made.parts.writer.append(tenant, prepared(id=event))
        await made.signed()
        async with readers(database, tenant) as mine:
            assert await is_there(mine.rows, tenant=tenant, event=event)
            assert not await is_there(mine.rows, tenant=tenant, event=uuid7())
            proof = await prove_entry(mine, (SIGNER,), tenant=tenant, event=event)
            assert proof is not None
            assert proof.seq == 1


async def test_the_entry_of_another_event_proves_nothing_of_this_one(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    async with grown(database, tmp_path) as made:
        event, other = await event_of(made, tenant), uuid7()
        await made.signed()
        await change(database, "UPDATE ledger.entry SET event_id = $1 WHERE event_id = $2", other, event)
        async with readers(database, tenant) as mine:
            with pytest.raises(BadProof, match="another place or event"):
                await prove_entry(mine, (SIGNER,), tenant=tenant, event=other)


async def test_a_cover_counts_when_it_is_chained_and_signed_and_holds_what_it_should(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 3)
        async with readers(database, tenant) as mine:
            signed = await newest(mine, (SIGNER,), tenant)
            assert signed is not None
            covers = await covered(mine, (SIGNER,), tenant=tenant, signed=signed)
        async with readers(database, PLATFORM_TENANT) as root:

            async def proved(*known: UUID) -> bool:
                asked = [(cover, covers[0][1]) for cover in known]
                return await prove_cover(root, (SIGNER,), tenant=tenant, signed=signed, covers=asked) is not None

            [(cover, _)] = covers
            assert await proved(uuid7(), cover), "one that is not chained yet is passed over"
            assert not await proved(uuid7())
            await change(database, "DELETE FROM ledger.covered WHERE tenant_id = $1", tenant)
            with pytest.raises(BadProof, match="does not hold"):
                await proved(cover)
            await change(database, "DELETE FROM ledger.checkpoint")
            assert not await proved(cover), "one that is not signed yet is passed over"
