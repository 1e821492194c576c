"""Approvals: what destroys for good, or takes a protection away, needs two people.

Rules: whoever asks has other hands than whoever decides (`review_hands`): a person and a key of theirs are one, and so
are two keys of one maker, of whatever tenants; the table refuses it as well. Who came after somebody asked, person or
key, decides nothing upon it, nor who was given a new password meanwhile: nobody makes the second pair of hands for the
occasion. An approval is for one act upon one target, lasts seven days, and is used once, by who asked, in the
transaction of the act itself; where either of the two was shut out before that, it is none. Each step is an entry. The
threat is one person, or one stolen key, that erases a customer, destroys a key or lifts a legal hold alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from wellkeep.access.review_hands import hands_of
from wellkeep.base.clock import Clock
from wellkeep.base.errors import ApprovalNeeded, Conflict, Forbidden, NotFound
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, Principal
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

LASTS: Final = timedelta(days=7)
_COLUMNS = (
    "tenant_id, id, action, target, requested_by, requested_at, expires_at, state, decided_by, decided_at, used_at"
)
_EXPIRE = """
UPDATE access.approval SET state = 'expired'
WHERE tenant_id = $1 AND action = $2 AND target = $3 AND state IN ('waiting', 'given')
  AND (expires_at <= $4 OR access.shut_out(requested_by, requested_at)
    OR state = 'given' AND access.shut_out(decided_by, decided_at))
"""
_REQUEST = """
INSERT INTO access.approval (tenant_id, id, action, target, requested_by, requested_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_id, action, target) WHERE state IN ('waiting', 'given') DO NOTHING RETURNING id
"""
_OPEN = """
SELECT id, requested_by FROM access.approval
WHERE tenant_id = $1 AND action = $2 AND target = $3 AND state IN ('waiting', 'given') AND expires_at > $4
"""
_USE = """
UPDATE access.approval SET state = 'used', used_at = $5
WHERE tenant_id = $1 AND action = $2 AND target = $3 AND requested_by = $4 AND state = 'given' AND expires_at > $5
  AND NOT access.shut_out(decided_by, decided_at) AND NOT access.shut_out(requested_by, requested_at)
RETURNING id
"""
_GIVEN = """
SELECT id FROM access.approval
WHERE tenant_id = $1 AND action = $2 AND target = $3 AND requested_by = $4 AND state = 'given' AND expires_at > $5
  AND NOT access.shut_out(decided_by, decided_at) AND NOT access.shut_out(requested_by, requested_at)
"""
_USE_AS_DECIDER = """
UPDATE access.approval SET state = 'used', used_at = $5
WHERE tenant_id = $1 AND action = $2 AND target = $3 AND decided_by = $4 AND requested_by <> $4 AND state = 'given'
  AND expires_at > $5 AND NOT access.shut_out(decided_by, decided_at)
  AND NOT access.shut_out(requested_by, requested_at)
RETURNING id
"""
_WAITS = """
SELECT id FROM access.approval
WHERE tenant_id = $1 AND action = $2 AND target = $3 AND state = 'waiting' AND expires_at > $4
"""
_MINE = f"SELECT {_COLUMNS} FROM access.approval ORDER BY requested_at DESC LIMIT 1000"  # noqa: S608 - names of ours
_ALL = f"SELECT {_COLUMNS} FROM access.all_approvals()"  # noqa: S608 - names of ours
_ONE = f"SELECT {_COLUMNS} FROM access.approval WHERE id = $1 FOR UPDATE"  # noqa: S608 - names of ours
_DECIDE = "UPDATE access.approval SET state = $2, decided_by = $3, decided_at = $4 WHERE id = $1"
_JUDGED = """
SELECT access.share_hands(requested_by, $2) AS own, access.shut_out(requested_by, requested_at) AS left
FROM access.approval WHERE id = $1
"""
_RESOURCE = "approval"


class Needing(StrEnum):
    """The acts that need a second person."""

    TENANT_ERASE = "tenant.erase"
    EPOCH_DESTROY = "epoch.destroy"
    KEY_DESTROY = "key.destroy"
    HOLD_LIFT = "hold.lift"
    EGRESS_LIST = "egress.list"


@dataclass(frozen=True, slots=True)
class Approval:
    """A request, and what became of it; `state` is waiting, given, refused, used or expired."""

    id: UUID
    tenant: UUID
    action: str
    target: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    state: str
    decided_by: str | None
    decided_at: datetime | None
    used_at: datetime | None


class Approvals:
    """Asks for approvals, gives and refuses them, and lets an act use one."""

    def __init__(self, *, gate: Gate, clock: Clock) -> None:
        """Decide and record at `gate`."""
        self._gate = gate
        self._clock = clock

    async def use(self, connection: Connection, decision: Decision, needing: Needing, *, target: str) -> UUID:
        """Use up the approval of this act in its own transaction, of `connection`; returns the approval's id.

        Raises ApprovalNeeded where none was given to this caller, or not for this target, or it is past its time.
        """
        who = name_of(decision.caller.principal)
        used = await connection.fetchval(_USE, decision.tenant, needing.value, target, who, self._clock.now())
        if used is None:
            raise ApprovalNeeded
        return UUID(int=used.int)

    async def use_as_decider(
        self, connection: Connection, decision: Decision, needing: Needing, *, target: str
    ) -> UUID:
        """Use up an approval that this caller gave, where the act is done by the decision itself; else as `use`.

        Raises ApprovalNeeded too where whoever asked was shut out meanwhile.
        """
        who = name_of(decision.caller.principal)
        used = await connection.fetchval(
            _USE_AS_DECIDER, decision.tenant, needing.value, target, who, self._clock.now()
        )
        if used is None:
            raise ApprovalNeeded
        return UUID(int=used.int)

    async def waiting(
        self, connection: Connection, decision: Decision, needing: Needing, *, target: str
    ) -> UUID | None:
        """Return the id of the request that waits for a decision about `target`, None where none does."""
        found = await connection.fetchval(_WAITS, decision.tenant, needing.value, target, self._clock.now())
        return None if found is None else UUID(int=found.int)

    async def given(self, connection: Connection, decision: Decision, needing: Needing, *, target: str) -> bool:
        """Return whether `use` would find one now: for what must be said before the act commits."""
        who = name_of(decision.caller.principal)
        found = await connection.fetchval(_GIVEN, decision.tenant, needing.value, target, who, self._clock.now())
        return found is not None

    async def request(self, decision: Decision, needing: Needing, *, target: str) -> UUID:
        """Ask for the approval of an act that `decision` permits; returns the id of the request that then waits.

        Asked again by the same principal it is the same request. Raises Conflict where another one asked already.
        """
        who, now, wanted = name_of(decision.caller.principal), self._clock.now(), uuid7()
        async with self._gate.transaction(decision) as work:
            place = (decision.tenant, needing.value, target)
            await work.connection.execute(_EXPIRE, *place, now)
            made = await work.connection.fetchval(_REQUEST, decision.tenant, wanted, *place[1:], who, now, now + LASTS)
            if made is None:
                there = await work.connection.fetchrow(_OPEN, *place, now)
                if there is None or there["requested_by"] != who:
                    raise Conflict("Somebody else asked for this already: it waits for a decision of another person")
                wanted = UUID(int=there["id"].int)
            work.record(action=Action.APPROVAL_REQUESTED, resource_type=_RESOURCE, resource_id=str(wanted))
        return wanted

    async def listed(self, caller: Caller) -> list[Approval]:
        """Return the approvals of the caller's tenant, the newest first; to the platform, everybody's."""
        act = Act(Permission.APPROVAL_READ, Action.APPROVAL_READ, _RESOURCE)
        decision = await self._gate.decide(caller, act)
        rows = await self._rows(decision)
        await self._gate.disclose(decision, count=len(rows))
        now = self._clock.now()
        return [_approval(row, now) for row in rows]

    async def decide(self, caller: Caller, approval: UUID, *, give: bool) -> Approval:
        """Give or refuse what somebody else asked for.

        Raises NotFound, Forbidden for a request of the same hands and for who is younger than it, Conflict for one that
        was decided, is past its time, or whose asker was shut out meanwhile.
        """
        action = Action.APPROVAL_GIVEN if give else Action.APPROVAL_REFUSED
        home = Act(Permission.APPROVAL_GIVE, action, _RESOURCE, resource_id=str(approval))
        first = await self._gate.decide(caller, home)
        found = {row["id"]: row["tenant_id"] for row in await self._rows(first)}
        if approval not in found:
            await self._gate.failed(first, error=NotFound.code)
            raise NotFound("There is no request for an approval of this id")
        tenant = UUID(int=found[approval].int)
        away = tenant if tenant != caller.principal.tenant else None
        act = Act(Permission.APPROVAL_GIVE, action, _RESOURCE, resource_id=str(approval), tenant=away)
        decision = await self._gate.decide(caller, act)
        now = self._clock.now()
        async with self._gate.reading(first) as connection:
            hands = await hands_of(connection, caller.principal)
        async with self._gate.transaction(decision) as work:
            row = await work.connection.fetchrow(_ONE, approval)
            if row is None:
                raise NotFound("There is no request for an approval of this id")
            who = name_of(caller.principal)
            judged = await work.connection.fetchrow(_JUDGED, approval, who)
            _check(row, judged, who=who, since=hands.since, now=now, give=give)
            await work.connection.execute(_DECIDE, approval, "given" if give else "refused", who, now)
            work.record()
            decided = await work.connection.fetchrow(_ONE, approval)
        if decided is None:
            raise NotFound("There is no request for an approval of this id")
        return _approval(decided, now)

    async def _rows(self, decision: Decision) -> list[Record]:
        everybody = decision.caller.principal.tenant == PLATFORM_TENANT
        async with self._gate.reading(decision) as connection:
            return list(await connection.fetch(_ALL if everybody else _MINE))


def name_of(principal: Principal) -> str:
    """Return who a principal is, as approvals have it: `operator:ada`, `api_key:<id>`; Forbidden for the system."""
    if principal.type not in {ActorType.OPERATOR, ActorType.API_KEY, ActorType.PERSON}:
        raise Forbidden("Approvals are asked for and given by people and their keys")
    return f"{principal.type.value}:{principal.id}"


def _check(row: Record, judged: Record | None, *, who: str, since: datetime | None, now: datetime, give: bool) -> None:
    if row["requested_by"] == who:
        raise Forbidden("You asked for this yourself: somebody else must decide")
    if since is not None and since > row["requested_at"]:
        raise Forbidden("You, or your key, came after this was asked for: somebody who was there must decide")
    if judged is None or judged["own"]:
        raise Forbidden("Whoever is behind your key, or behind you, asked for this: another person must decide")
    if row["state"] != "waiting":
        raise Conflict("This was decided already")
    if row["expires_at"] <= now:
        raise Conflict("This request is past its seven days: ask again by giving the command once more")
    if give and judged["left"]:
        raise Conflict("Whoever asked for this was shut out meanwhile: it must be asked for anew")


def _approval(row: Record, now: datetime) -> Approval:
    state = row["state"]
    past = state in {"waiting", "given"} and row["expires_at"] <= now
    return Approval(
        id=row["id"],
        tenant=row["tenant_id"],
        action=row["action"],
        target=row["target"],
        requested_by=row["requested_by"],
        requested_at=row["requested_at"],
        expires_at=row["expires_at"],
        state="expired" if past else state,
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
        used_at=row["used_at"],
    )
