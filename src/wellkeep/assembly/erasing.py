"""Erasures of one process, and the older database: whoever was erased is erased again before anything is served.

Rules: what the database knows and the file does not is added to the file; what the file knows and the database does not
is erased again, as the system, for it was decided once; a hold that the older database still knows was lifted before
that erasure, or it would not have been done. A tenant is closed again first: none of its keys stands when it is gone.
A start that can't erase again is no start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from wellkeep.access.approvals import Approvals
from wellkeep.assembly.core import Core
from wellkeep.assembly.sweeping import Sweeper
from wellkeep.assembly.tombstones import Tombstones
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.key_settings import AwsEpochs, KeySettings
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.ledger.actions import Action
from wellkeep.vault.calls import NIL
from wellkeep.vault.context import Context
from wellkeep.vault.erasure import Erased, Erasures
from wellkeep.vault.erasure_certificate import Certificates
from wellkeep.vault.erasure_tenant import TenantErasures

_STORED = "SELECT tenant_id, subject_id, event_id, erased_at FROM vault.tombstones()"
_TENANTS = "SELECT id FROM wk.list_tenants()"
_CLOSE = "SELECT wk.close_tenant($1)"
_INTO = "SELECT merged_into FROM vault.subject WHERE id = $1"
_OPERATOR_ROLE = "operator"
"""Whoever may erase a whole tenant, as the platform, may erase one person of it; closed tenants included."""


class Erasing(NamedTuple):
    """What erases, what certifies it, who approves, and what remembers."""

    subjects: Erasures
    tenants: TenantErasures
    sweeper: Sweeper
    certificates: Certificates
    approvals: Approvals
    tombstones: Tombstones


def open_erasing(core: Core, context: Context, tombstones: Tombstones) -> Erasing:
    """Return the services over `core`."""
    approvals = Approvals(gate=core.gate, clock=core.clock)
    return Erasing(
        subjects=Erasures(context, remember=tombstones.note),
        tenants=TenantErasures(gate=core.gate, approvals=approvals, clock=core.clock, remember=tombstones.note),
        sweeper=Sweeper(core.app),
        certificates=Certificates(gate=core.gate, clock=core.clock, waits=waits_of(core.settings.keys)),
        approvals=approvals,
        tombstones=tombstones,
    )


def waits_of(keys: KeySettings) -> timedelta:
    """Return how long the key service keeps an epoch's key after it was told to destroy it."""
    return timedelta(days=keys.epochs.wait_days) if isinstance(keys.epochs, AwsEpochs) else timedelta()


async def reconcile(core: Core, erasing: Erasing) -> int:
    """Make file and database know of the same erasures; returns how many had to be done again.

    Raises Misconfigured for a file with lines of others, and what an erasure raises: then nothing may be served.
    """
    remembered = await asyncio.to_thread(erasing.tombstones.load)
    async with core.app.connection() as connection:
        rows = await connection.fetch(_STORED)
    stored = [Erased(row["tenant_id"], row["subject_id"], row["event_id"], row["erased_at"]) for row in rows]
    known = {(one.tenant, one.subject) for one in remembered}
    missing = [one for one in stored if (one.tenant, one.subject) not in known]
    if missing:
        await asyncio.to_thread(erasing.tombstones.note, missing)
    return await _again(core, erasing, remembered, {(one.tenant, one.subject) for one in stored})


async def _again(core: Core, erasing: Erasing, remembered: Iterable[Erased], stored: set[tuple[UUID, UUID]]) -> int:
    lost = [one for one in remembered if (one.tenant, one.subject) not in stored and (one.tenant, NIL) not in stored]
    if not lost:
        return 0
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        there = {row["id"] for row in await connection.fetch(_TENANTS)}
    gone: set[UUID] = set()
    done = 0
    for one in sorted(lost, key=lambda erased: erased.subject != NIL):
        if one.tenant not in there or one.tenant in gone:
            continue
        if one.subject == NIL:
            await _close(core, one.tenant)
            await erasing.tenants.erase_decided(await _decision(core, one, Action.TENANT_ERASED), again=True)
            gone.add(one.tenant)
        else:
            survivor = await _survivor(core, one)
            again = Erased(one.tenant, survivor, one.event, one.at)
            decision = await _decision(core, again, Action.SUBJECT_ERASED)
            await erasing.subjects.erase_decided(decision, survivor, again=True)
        done += 1
    return done


async def _close(core: Core, tenant: UUID) -> None:
    """Close a tenant that was closed before it was erased, and that the older database has open, on record."""
    act = Act(Permission.TENANT_CHANGE, Action.TENANT_CLOSE, "tenant", str(tenant))
    decision = await core.gate.decide(Caller(_restore(), None, uuid7()), act)
    async with core.gate.transaction(decision) as work:
        await work.connection.fetchval(_CLOSE, tenant)
        work.record()
    core.gate.tenants.forget(tenant)


async def _survivor(core: Core, one: Erased) -> UUID:
    """Return whom to erase for `one`: in the older database they may be merged into another, who was erased too."""
    async with core.app.tenant_transaction(tenant=one.tenant) as connection:
        into = await connection.fetchval(_INTO, one.subject)
    return one.subject if into is None else UUID(int=into.int)


def _restore() -> Principal:
    return Principal(
        type=ActorType.SYSTEM, id="restore", tenant=PLATFORM_TENANT, roles=(_OPERATOR_ROLE,), method=AuthMethod.LOCAL
    )


async def _decision(core: Core, one: Erased, action: Action) -> Decision:
    whole = one.subject == NIL
    about = one.tenant if whole else one.subject
    act = Act(
        Permission.TENANT_ERASE,
        action,
        "tenant" if whole else "subject",
        str(about),
        subject=None if whole else one.subject,
        tenant=one.tenant,
    )
    return await core.gate.decide(Caller(_restore(), None, uuid7()), act)
