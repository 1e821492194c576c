"""A ledger that was written, signed, covered and anchored, as a deployment has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from database import Database
from ledger.making import HOST, KEYS, prepared
from ledger.signing import SIGNER, Signing, signing
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.anchors.gathering import AnchoredNote
from wellkeep.ledger.checkpoint import Checkpoint, note
from wellkeep.ledger.cover import cover
from wellkeep.ledger.export import Wanted, export
from wellkeep.ledger.export_log import Keys
from wellkeep.ledger.known import Known
from wellkeep.ledger.report import Report
from wellkeep.ledger.seal import origin
from wellkeep.ledger.verify import one_state, verify

ROOT = origin(HOST, PLATFORM_TENANT, 1)
_NEWEST = "SELECT size, root, signature FROM ledger.checkpoint WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1"


@dataclass
class Grown:
    """The ledger of a database; `anchored` is what stands outside of its root log."""

    database: Database
    parts: Signing
    anchored: list[AnchoredNote] = field(default_factory=list)
    never_signed: int = 0

    async def grow(self, tenant: UUID, count: int, **changes: Any) -> None:
        """Append `count` entries in one batch, have them signed, covered and anchored."""
        await self.parts.writer.append(tenant, prepared(count, **changes))
        await self.cover()
        await self.anchor()

    async def cover(self) -> None:
        """Sign what there is, and have the root log cover it."""
        await self.signed()
        assert await cover(self.parts.pool, self.parts.writer, signers=(SIGNER,), reporter=self.parts.reports)
        await self.signed()

    async def signed(self) -> None:
        """Wait until a checkpoint of every log's end is stored: by us, or by the round that is under way."""
        async with asyncio.timeout(60), self.database.connect() as connection:
            while await connection.fetchval("SELECT count(*) FROM ledger.sealed_heads(false)") > self.never_signed:
                assert await self.parts.checkpointer.sign_now()
                await asyncio.sleep(0.01)

    async def anchor(self) -> None:
        """Put the root log's newest checkpoint outside."""
        async with self.database.connect() as connection:
            [row] = await connection.fetch(_NEWEST, PLATFORM_TENANT)
        text = note(Checkpoint(ROOT, row["size"], row["root"]), row["signature"])
        self.anchored.append(AnchoredNote("drop", 1, row["size"], text, from_outside=True))

    async def verified(
        self, *, anchors: bool = False, remembered: dict[str, Checkpoint] | None = None, **options: Any
    ) -> Report:
        """Verify it, held against what stands outside where that is asked for."""
        known = Known(KEYS, signers=(SIGNER,), anchored=self.anchored if anchors else (), remembered=remembered or {})
        async with self.database.connect("wk_migrate") as connection:
            return await verify(connection, keys=KEYS, known=options.pop("known", known), **options)

    async def exported(self, top: Path, wanted: Wanted | None = None) -> Path:
        """Export it to `top`."""
        keys = Keys((SIGNER,), KEYS)
        async with self.database.connect("wk_migrate") as connection, one_state(connection):
            written = await export(connection, top, wanted or Wanted(), keys=keys, now=SystemClock().now())
        written.publish()
        return top


@asynccontextmanager
async def grown(database: Database, path: Path, *, clock: Clock | None = None) -> AsyncIterator[Grown]:
    """Lend an empty ledger that can grow; what is remembered lies in `path`."""
    async with signing(database, path, clock=clock) as parts:
        yield Grown(database, parts)
