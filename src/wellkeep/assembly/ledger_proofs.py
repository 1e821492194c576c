"""A tenant's own proofs: of one entry, and of its newest checkpoint under the root log; asked for on record.

Rule: an entry that was just made is signed within a second, so a proof of it is waited for, for two, and then refused
as unavailable: nobody is handed half a proof. What does not prove itself is a finding and an internal error, never an
answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NoReturn
from uuid import UUID

import msgspec

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.clock import Clock
from wellkeep.base.errors import IntegrityBroken, NotFound, Unavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.crypto.errors import BadNote, BadProof
from wellkeep.db.pool import Pool
from wellkeep.db.provision import connected
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event as entered
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.proof import (
    CoverProof,
    EntryProof,
    NoEntry,
    Readers,
    Signed,
    covered,
    is_there,
    newest,
    prove_cover,
    prove_entry,
)

PATIENCE_SECONDS: Final = 2.0
_EVERY_SECONDS: Final = 0.1
_BECOME_OWNER = "SET LOCAL ROLE wk_owner"
_WHOSE = """
SELECT e.tenant_id FROM (SELECT DISTINCT tenant_id FROM ledger.log) AS l
JOIN ledger.entry AS e ON e.tenant_id = l.tenant_id AND e.event_id = $1 LIMIT 1
"""
_NOT_SIGNED = "No checkpoint covers it yet; one is made within seconds"


@dataclass(frozen=True, slots=True)
class TenantCheckpoint:
    """A log's newest checkpoint, the root log's, and how the one stands under the other; None while it does not."""

    signed: Signed
    root: Signed
    cover: CoverProof | None

    def document(self) -> dict[str, object]:
        """Return it as the API answers it."""
        return {
            "log": self.signed.checkpoint.origin,
            "size": self.signed.checkpoint.size,
            "checkpoint": self.signed.note.decode("utf-8"),
            "vkey": self.signed.vkey,
            "root": {
                "log": self.root.checkpoint.origin,
                "size": self.root.checkpoint.size,
                "checkpoint": self.root.note.decode("utf-8"),
                "vkey": self.root.vkey,
            },
            "cover": None if self.cover is None else self.cover.document(),
        }


class LedgerProofs:
    """Makes proofs, and checks each before it is handed out."""

    def __init__(
        self,
        *,
        gate: Gate,
        app: Pool,
        ledger: Pool,
        signers: Sequence[CheckpointSigner],
        findings: Findings,
        clock: Clock,
    ) -> None:
        """`app` and `ledger` are the pools of wk_app and wk_ledger; `signers` the deployment's keys."""
        self._gate = gate
        self._app = app
        self._ledger = ledger
        self._signers = tuple(signers)
        self._findings = findings
        self._clock = clock

    async def entry(self, caller: Caller, event: UUID) -> EntryProof:
        """Return the proof of an entry of the caller's own tenant, on record.

        Raises Forbidden, NotFound, LedgerUnavailable, Unavailable where no checkpoint covers it in time, and
        IntegrityBroken where what is stored does not prove it.
        """
        act = Act(Permission.LEDGER_READ, Action.LEDGER_READ, "entry", resource_id=str(event))
        decision = await self._gate.decide(caller, act)
        async with self._gate.reading(decision) as connection:
            if not await is_there(connection, tenant=decision.tenant, event=event):
                raise NotFound
        proof = await self.of(decision.tenant, event)
        await self._gate.disclose(decision, count=1)
        return proof

    async def checkpoint(self, caller: Caller) -> TenantCheckpoint:
        """Return the newest checkpoint of the caller's own tenant, on record. Raises as `entry` does."""
        act = Act(Permission.LEDGER_READ, Action.LEDGER_READ, "checkpoint")
        decision = await self._gate.decide(caller, act)
        async with self._gate.reading(decision):
            pass  # the credential stands; each read below takes one connection, and none while it holds another
        found = await self.newest(decision.tenant)
        await self._gate.disclose(decision, count=1)
        return found

    async def of(self, tenant: UUID, event: UUID) -> EntryProof:
        """Return the proof of an entry; who may have it was decided."""
        until = self._clock.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                async with self._readers(tenant) as readers:
                    proof = await prove_entry(readers, self._signers, tenant=tenant, event=event)
            except NoEntry:
                raise NotFound from None
            except (BadNote, BadProof, msgspec.MsgspecError):
                await self._broken(tenant, "proof")
            if proof is not None:
                return proof
            if self._clock.monotonic() >= until:
                raise Unavailable(_NOT_SIGNED)
            await asyncio.sleep(_EVERY_SECONDS)

    async def newest(self, tenant: UUID) -> TenantCheckpoint:
        """Return the newest checkpoint of a tenant's log, and how it stands under the root log."""
        try:
            async with self._readers(tenant) as readers:
                signed = await newest(readers, self._signers, tenant)
                if signed is None:
                    raise Unavailable(_NOT_SIGNED)
                covers = await covered(readers, self._signers, tenant=tenant, signed=signed)
            async with self._readers(PLATFORM_TENANT) as root:
                top = await newest(root, self._signers, PLATFORM_TENANT)
                if top is None:
                    raise Unavailable(_NOT_SIGNED)
                cover = await prove_cover(root, self._signers, tenant=tenant, signed=signed, covers=covers)
        except (BadNote, BadProof, msgspec.MsgspecError):
            await self._broken(tenant, "checkpoint")
        return TenantCheckpoint(signed, top, cover)

    async def end(self) -> Signed | None:
        """Return the root log's newest checkpoint, which is made to be known to everybody; None before the first.

        Raises DatabaseUnavailable, and IntegrityBroken where it is none of ours.
        """
        try:
            async with self._readers(PLATFORM_TENANT) as root:
                return await newest(root, self._signers, PLATFORM_TENANT)
        except BadNote:
            await self._broken(PLATFORM_TENANT, "checkpoint")

    @asynccontextmanager
    async def _readers(self, tenant: UUID) -> AsyncIterator[Readers]:
        async with (
            self._app.tenant_transaction(tenant=tenant) as rows,
            self._ledger.connection() as trees,
        ):
            yield Readers(rows, trees)

    async def _broken(self, tenant: UUID, what: str) -> NoReturn:
        await self._findings.report(
            tenant,
            kind=Kind.LEDGER_BROKEN,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.LEDGER_BROKEN, what),
            detail={"what": what},
        )
        raise IntegrityBroken


async def prove_on_record(
    core: Core, proofs: LedgerProofs, database: Database, caller: Caller, *, event: UUID
) -> EntryProof:
    """Return the proof of an entry of any log, for the operator, and enter that it was asked for.

    Raises Forbidden, NotFound, and as `LedgerProofs.entry` does.
    """
    act = Act(Permission.LEDGER_VERIFY, Action.LEDGER_READ, "entry", resource_id=str(event))
    decision = await core.gate.decide(caller, act)
    async with connected(database.endpoint("wk_migrate")) as connection, connection.transaction(readonly=True):
        await connection.execute(_BECOME_OWNER)
        tenant: UUID | None = await connection.fetchval(_WHOSE, event)
    if tenant is None:
        raise NotFound("There is no entry of such an event")
    found = await proofs.of(tenant, event)
    await core.gate.enter(entered(decision, outcome=Outcome.DONE, count=1), tenant=PLATFORM_TENANT)
    return found


async def show_checkpoint(core: Core, proofs: LedgerProofs, caller: Caller, *, tenant: UUID) -> TenantCheckpoint:
    """Return the newest checkpoint of any log, for the operator, and enter that it was asked for."""
    act = Act(Permission.LEDGER_VERIFY, Action.LEDGER_READ, "checkpoint", resource_id=str(tenant))
    decision = await core.gate.decide(caller, act)
    found = await proofs.newest(tenant)
    await core.gate.enter(entered(decision, outcome=Outcome.DONE, count=1), tenant=PLATFORM_TENANT)
    return found
