"""The list of what may be connected to, managed: proposed by one, approved by another, withdrawn by either, shown.

Rules: the settings file's places stand as they are, and what is approved stands beside them under other names; the
platform's own principals manage it, and nobody puts a place on it alone; a place that changes is proposed anew and
takes the earlier one's place when it is approved; taking one off needs one person and holds within seconds. A tenant is
shown the places that are bound to it, and no other. What is proposed is checked as the settings are: no list opens what
they could not. Each step is an entry of the root log, with the digest of the place. The threat is one person, or one
stolen key, that opens a way out for data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.access.approvals import Approvals, Needing, name_of
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Conflict, FieldProblem, Misconfigured, NotFound, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.settings import Place
from wellkeep.db.connection import Connection, Record
from wellkeep.egress.egress import Egress
from wellkeep.egress.places import destinations, digest
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

_RESOURCE: Final = "place"
_COLUMNS = "id, name, host, ports, networks, serves, state, proposed_by, proposed_at, approved_by, approved_at"
_OPEN = f"SELECT {_COLUMNS} FROM access.egress_place WHERE state <> 'withdrawn' ORDER BY name, proposed_at"  # noqa: S608
_NAMED = f"{_OPEN.partition('ORDER')[0]} AND name = $1 FOR UPDATE"
_PROPOSE = """
INSERT INTO access.egress_place (tenant_id, id, name, host, ports, networks, serves, proposed_by, proposed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING id
"""
_WITHDRAW = (
    "UPDATE access.egress_place SET state = 'withdrawn', withdrawn_by = $2, withdrawn_at = $3 WHERE id = ANY($1)"
)
_APPROVE = "UPDATE access.egress_place SET state = 'approved', approved_by = $2, approved_at = $3 WHERE id = $1"
_IN_FORCE = "SELECT name, host, ports, networks, serves FROM access.egress_in_force()"
_TENANTS = "SELECT id FROM wk.list_tenants()"


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A place as it is shown; `state` is settings, proposed or approved.

    A tenant is not told who proposed it, which networks of the deployment it lies in, nor whom else it serves.
    """

    name: str
    host: str
    ports: tuple[int, ...]
    state: str
    networks: tuple[str, ...] = ()
    tenants: tuple[UUID, ...] = ()
    proposed_by: str | None = None
    proposed_at: datetime | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal, and the request for its approval."""

    place: str
    approval: UUID


async def in_force(connection: Connection) -> list[Place]:
    """Return the places that are approved, whoever asks."""
    return [_place(row) for row in await connection.fetch(_IN_FORCE)]


class EgressList:
    """Proposes, approves, withdraws and shows places."""

    def __init__(
        self, *, gate: Gate, approvals: Approvals, egress: Egress, settled: Sequence[Place], clock: Clock
    ) -> None:
        """`settled` are the places of the settings; `egress` takes what is approved or withdrawn here at once."""
        self._gate = gate
        self._approvals = approvals
        self._egress = egress
        self._settled = tuple(settled)
        self._clock = clock

    async def listed(self, caller: Caller) -> list[Listed]:
        """Return all places to the platform; to a tenant, those in force that are bound to it."""
        act = Act(Permission.EGRESS_READ, Action.EGRESS_READ, _RESOURCE)
        decision = await self._gate.decide(caller, act)
        tenant = caller.principal.tenant
        async with self._gate.reading(decision) as connection:
            if tenant == PLATFORM_TENANT:
                found = [_settled(one) for one in self._settled] + [
                    _listed(row) for row in await connection.fetch(_OPEN)
                ]
            else:
                bound = [one for one in (*self._settled, *await in_force(connection)) if tenant in one.tenants]
                found = [Listed(name=one.name, host=one.host, ports=one.ports, state="approved") for one in bound]
        await self._gate.disclose(decision, count=len(found))
        return found

    async def propose(self, caller: Caller, place: Place) -> Proposed:
        """Propose `place`, new or in the place of the one of its name; proposed again as it is, it is the same.

        Raises Forbidden, Validation where it does not hold together or names a tenant that there is not, Conflict where
        the settings have the name, or another proposal of it waits.
        """
        decision = await self._decided(caller, place.name)
        async with self._gate.reading(decision) as connection:
            self._check(place, {UUID(int=row["id"].int) for row in await connection.fetch(_TENANTS)})
        who, made = name_of(caller.principal), uuid7()
        async with self._gate.transaction(decision) as work:
            values = (place.host, list(place.ports), list(place.networks), list(place.tenants))
            added = await work.connection.fetchval(
                _PROPOSE, PLATFORM_TENANT, made, place.name, *values, who, self._clock.now()
            )
            if added is None:
                made = _same(await work.connection.fetch(_NAMED, place.name), place, who)
            work.record(digest=digest((place,)))
        approval = await self._approvals.request(decision, Needing.EGRESS_LIST, target=str(made))
        return Proposed(place.name, approval)

    async def approve(self, caller: Caller, name: str) -> Listed:
        """Approve the proposal of this name: it is in force from now on, and in every process within seconds.

        Raises Forbidden for one's own proposal, NotFound, Conflict where it is past its seven days.
        """
        decision = await self._decided(caller, name)
        async with self._gate.reading(decision) as connection:
            row = next((one for one in await connection.fetch(_OPEN) if _waits(one, name)), None)
            if row is None:
                raise NotFound("No proposal of this name waits")
            target = str(row["id"])
            waiting = await self._approvals.waiting(connection, decision, Needing.EGRESS_LIST, target=target)
        if waiting is not None:
            await self._approvals.decide(caller, waiting, give=True)
        who, now = name_of(caller.principal), self._clock.now()
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_NAMED, name)
            await self._approvals.use_as_decider(work.connection, decision, Needing.EGRESS_LIST, target=target)
            if not any(one["id"] == row["id"] and _waits(one, name) for one in rows):
                raise Conflict("The proposal was withdrawn meanwhile")
            earlier = [one["id"] for one in rows if one["state"] == "approved"]
            await work.connection.execute(_WITHDRAW, earlier, who, now)
            await work.connection.execute(_APPROVE, row["id"], who, now)
            work.record(digest=digest((_place(row),)))
            taken = await in_force(work.connection)
        self._egress.approve(taken)
        return _listed(row, state="approved", approved_by=who, approved_at=now)

    async def withdraw(self, caller: Caller, name: str) -> None:
        """Take the place of this name off the list, with a proposal of it that waits. Raises Forbidden, NotFound."""
        decision = await self._decided(caller, name)
        if any(one.name == name for one in self._settled):
            raise Conflict(
                "This place is one of the settings: take it out of wellkeep.toml, and start the server again"
            )
        who = name_of(caller.principal)
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_NAMED, name)
            if not rows:
                raise NotFound("No place of this name was proposed or approved")
            await work.connection.execute(_WITHDRAW, [row["id"] for row in rows], who, self._clock.now())
            work.record(digest=digest(_place(row) for row in rows[:1]), count=0)
            taken = await in_force(work.connection)
        self._egress.approve(taken)

    async def _decided(self, caller: Caller, name: str) -> Decision:
        """Decide upon a change of the list, which the policy leaves to the platform alone."""
        act = Act(Permission.EGRESS_CHANGE, Action.EGRESS_CHANGED, _RESOURCE, resource_id=name)
        return await self._gate.decide(caller, act)

    def _check(self, place: Place, tenants: Iterable[UUID]) -> None:
        if any(one.name == place.name for one in self._settled):
            raise Conflict("The settings have a place of this name already")
        if place.ca is not None or place.clear:
            raise Validation("Authorities of its own, and no TLS, are for the settings alone")
        if not set(place.tenants) <= set(tenants):
            raise Validation("There is no such tenant", fields=(FieldProblem("/tenants", "not-allowed"),))
        try:
            destinations((place,))
        except Misconfigured as error:
            raise Validation(error.message, fields=(FieldProblem("/networks", "not-allowed"),)) from None


def _waits(row: Record, name: str) -> bool:
    return bool(row["name"] == name and row["state"] == "proposed")


def _same(rows: Iterable[Record], place: Place, who: str) -> UUID:
    """Return the proposal that waits, where it is this one; raises Conflict."""
    row = next((one for one in rows if one["state"] == "proposed"), None)
    if row is None or _place(row) != place or row["proposed_by"] != who:
        raise Conflict("Another proposal of this name waits: have it approved, or withdraw it")
    return UUID(int=row["id"].int)


def _place(row: Record) -> Place:
    return Place(
        name=row["name"],
        host=row["host"],
        ports=tuple(row["ports"]),
        networks=tuple(row["networks"]),
        tenants=tuple(UUID(int=one.int) for one in row["serves"]),
    )


def _settled(place: Place) -> Listed:
    return Listed(
        name=place.name,
        host=place.host,
        ports=place.ports,
        networks=place.networks,
        tenants=place.tenants,
        state="settings",
    )


def _listed(row: Record, **now: object) -> Listed:
    place = _place(row)
    known = {name: row[name] for name in ("state", "proposed_by", "proposed_at", "approved_by", "approved_at")}
    return Listed(
        name=place.name,
        host=place.host,
        ports=place.ports,
        networks=place.networks,
        tenants=place.tenants,
        **{**known, **now},
    )
