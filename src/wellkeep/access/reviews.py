"""Reviews of access: what stands is frozen, each grant and each key is kept or revoked, by somebody else.

Rules: one review is open in a tenant at a time; it holds what stood when it was opened, the access of disabled people
too, and closes when all of it is decided. Nobody decides about their own access or about what they granted
(`review_hands`). Revoking happens in the transaction of the decision: the sessions of the person end with the grant,
the key stands no longer, on every worker with the next request. What was decided stays decided. Access that ended by
itself meanwhile needs no decision. What nobody decided in time is revoked by nobody: a machine that takes access away
takes it from the clinician on duty and from the only administrator as well, and whoever can hold a review up could then
shut others out; it is a finding instead, each day, louder after twice the time. The threat is access that nobody
remembers giving, and the reviewer who waves themselves through.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from wellkeep.access.approvals import name_of
from wellkeep.access.away import away
from wellkeep.access.review_hands import Hands, hands_of, must_be_another
from wellkeep.access.review_shapes import Review, Shown, item_of, review_of, undecidable
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Conflict, FieldProblem, NotFound, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.connection import Connection, Record
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, finding_key
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.actions import Action

DUE_DAYS: Final = 14
LONGEST_DAYS: Final = 90
_LISTED = 200
_ITEMS = 20_000
_RESOURCE = "review"

_OPEN = """
INSERT INTO access.review (tenant_id, id, opened_by, opened_at, due_at) VALUES (wk.tenant(), $1, $2, $3, $4)
ON CONFLICT (tenant_id) WHERE closed_at IS NULL DO NOTHING RETURNING id
"""
_FREEZE = """
WITH frozen AS (
  INSERT INTO access.review_item (tenant_id, review_id, id, kind, person_id, roles, granted_by, granted_at,
    last_used_at, last_seen_at, expires_at)
  SELECT wk.tenant(), $1, s.id, s.kind, s.person_id, s.roles, s.granted_by, s.granted_at,
    s.last_used_at, s.last_seen_at, s.expires_at
  FROM access.standing() AS s RETURNING id
)
SELECT count(*) FROM frozen
"""
_SELECT = """
SELECT r.id, r.opened_by, r.opened_at, r.due_at, r.closed_at, count(i.id) AS items,
  count(*) FILTER (WHERE i.outcome = 'keep') AS kept, count(*) FILTER (WHERE i.outcome = 'revoke') AS revoked,
  CASE WHEN r.closed_at IS NULL THEN (SELECT count(*) FROM access.waiting(r.id)) ELSE 0 END AS undecided
FROM access.review AS r LEFT JOIN access.review_item AS i ON i.tenant_id = r.tenant_id AND i.review_id = r.id
"""
_GROUP = " GROUP BY r.tenant_id, r.id ORDER BY r.id DESC LIMIT $1"
_LIST = _SELECT + _GROUP
_ONE = _SELECT + " WHERE r.id = $2" + _GROUP
_SHOW = """
SELECT i.id, i.kind, i.person_id, i.roles, i.granted_by, i.granted_at, i.last_used_at, i.last_seen_at, i.expires_at,
  CASE WHEN i.outcome IS NULL AND w.id IS NULL THEN 'ended' ELSE i.outcome END AS outcome, i.decided_by, i.decided_at,
  p.email, coalesce(p.name, k.name) AS name, p.state
FROM access.review_item AS i LEFT JOIN access.waiting($1) AS w (id) ON w.id = i.id
LEFT JOIN access.person AS p ON p.tenant_id = i.tenant_id AND p.id = i.person_id
LEFT JOIN access.api_key AS k ON k.tenant_id = i.tenant_id AND i.kind = 'key' AND k.id = i.id
WHERE i.review_id = $1 ORDER BY i.outcome IS NOT NULL, i.kind, i.person_id, i.id LIMIT $2
"""
_DECIDERS = """
SELECT s.kind, coalesce(s.person_id, s.id)::text AS id, s.roles FROM access.standing() AS s
LEFT JOIN access.person AS p ON p.id = s.person_id
LEFT JOIN access.api_key AS k ON k.id = s.id AND s.kind = 'key'
WHERE coalesce(p.joined_at, k.created_at) <= $1 AND coalesce(p.state, 'active') = 'active'
"""
_LOCK = "SELECT opened_at, closed_at FROM access.review WHERE id = $1 FOR UPDATE"
_END = """
UPDATE access.review_item AS i SET outcome = 'ended', decided_at = $2
WHERE i.review_id = $1 AND i.outcome IS NULL AND i.id NOT IN (SELECT access.waiting($1))
"""
_ITEM = """
SELECT i.id, i.kind, i.person_id, i.granted_by, i.outcome FROM access.review_item AS i
WHERE i.review_id = $1 AND i.id = $2 FOR UPDATE
"""
_DECIDE = """
UPDATE access.review_item SET outcome = $3, decided_by = $4, decided_at = $5 WHERE review_id = $1 AND id = $2
"""
_REVOKE_GRANT = """
UPDATE access.role_grant SET revoked_at = $2, revoked_by = $3 WHERE id = $1 AND revoked_at IS NULL
RETURNING person_id, role
"""
_REVOKE_KEY = """
WITH RECURSIVE line (id) AS (
  SELECT $1::uuid
  UNION
  SELECT k.replaced_by FROM line JOIN access.api_key AS k ON k.id = line.id WHERE k.replaced_by IS NOT NULL
)
UPDATE access.api_key SET revoked_at = $2 WHERE id IN (SELECT line.id FROM line) AND revoked_at IS NULL RETURNING id
"""
_CLOSE = """
UPDATE access.review SET closed_at = $2 WHERE id = $1 AND closed_at IS NULL
  AND NOT EXISTS (SELECT FROM access.review_item AS i WHERE i.review_id = $1 AND i.outcome IS NULL) RETURNING id
"""


def by_itself() -> Caller:
    """Return the caller of what the deployment does about reviews of its own accord."""
    principal = Principal(
        type=ActorType.SYSTEM, id="reviews", tenant=PLATFORM_TENANT, roles=("operator",), method=AuthMethod.LOCAL
    )
    return Caller(principal, None, uuid7())


class Reviews:
    """Opens reviews, shows them, and decides item by item."""

    def __init__(self, *, gate: Gate, findings: Findings, clock: Clock) -> None:
        """Decide and record at `gate`; what was overdue is closed in `findings` with the last decision."""
        self._gate = gate
        self._findings = findings
        self._clock = clock

    async def open(self, caller: Caller, *, tenant: UUID, days: int = DUE_DAYS) -> UUID:
        """Open a review of all access that stands in `tenant` now, due in `days`; returns its id.

        Raises Validation, NotFound, Conflict where one is open already, or nobody has access.
        """
        review, now = uuid7(), self._clock.now()
        decision = await self._decide(caller, Permission.REVIEW_OPEN, Action.REVIEW_OPENED, tenant, review)
        if not 1 <= days <= LONGEST_DAYS:
            raise Validation(fields=(FieldProblem("/days", "out-of-range"),))
        async with self._gate.transaction(decision) as work:
            connection, due = work.connection, now + timedelta(days=days)
            if await connection.fetchval(_OPEN, review, _name(caller), now, due) is None:
                raise Conflict("A review is open already: decide what is left in it first")
            frozen = await connection.fetchval(_FREEZE, review)
            if frozen == 0:
                raise Conflict("Nobody has access here, so there is nothing to review")
            work.record(count=frozen)
        return review

    async def listed(self, caller: Caller, *, tenant: UUID) -> list[Review]:
        """Return the newest 200 reviews of `tenant`, the newest first."""
        decision = await self._decide(caller, Permission.REVIEW_READ, Action.REVIEW_READ, tenant, None)
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST, _LISTED)
            work.record(count=len(rows))
        return [review_of(row) for row in rows]

    async def shown(self, caller: Caller, *, tenant: UUID, review: UUID) -> Shown:
        """Return a review with its items, those that wait first, at most 20,000. Raises NotFound."""
        decision = await self._decide(caller, Permission.REVIEW_READ, Action.REVIEW_READ, tenant, review)
        async with self._gate.transaction(decision) as work:
            head = await _head(work.connection, review)
            rows = await work.connection.fetch(_SHOW, review, _ITEMS)
            deciders = await self._deciders(work.connection, tenant, head)
            work.record(count=len(rows))
        return Shown(review=head, items=[item_of(row, stuck=undecidable(row, deciders)) for row in rows])

    async def decide(self, caller: Caller, *, tenant: UUID, review: UUID, item: UUID, keep: bool) -> Review:
        """Keep the access that an item is about, or revoke it here and now; returns how the review stands then.

        Raises NotFound, Forbidden for who may not decide this one (`review_hands`), Conflict for what was decided.
        """
        decision = await self._decide(caller, Permission.REVIEW_DECIDE, Action.REVIEW_DECIDED, tenant, item)
        hands = await self._hands(caller, decision)
        async with self._gate.transaction(decision) as work:
            await self._decided(work, hands, review, item, keep=keep)
            closed = await self._close(work, review)
            stands = await _head(work.connection, review)
        if closed:
            await self._settle(tenant, review)
        return stands

    async def close(self, *, tenant: UUID, review: UUID) -> None:
        """Close, as the deployment of its own accord, a review whose access has all ended meanwhile or was decided.

        Raises NotFound, Conflict where something waits for its decision or it is closed already.
        """
        decision = await self._decide(by_itself(), Permission.REVIEW_OPEN, Action.REVIEW_CLOSED, tenant, review)
        async with self._gate.transaction(decision) as work:
            await _lock(work.connection, review)
            await work.connection.execute(_END, review, self._clock.now())
            if not await self._close(work, review):
                raise Conflict("Something in this review waits for its decision")
        await self._settle(tenant, review)

    async def _decided(self, work: GateTransaction, hands: Hands, review: UUID, item: UUID, *, keep: bool) -> None:
        connection, now = work.connection, self._clock.now()
        head = await _lock(connection, review)
        await connection.execute(_END, review, now)
        row = await connection.fetchrow(_ITEM, review, item)
        if row is None:
            raise NotFound("There is nothing of this id in this review")
        await must_be_another(connection, hands, row, opened_at=head["opened_at"])
        if row["outcome"] is not None:
            raise Conflict("This was decided already, or the access has ended")
        outcome, caller = "keep" if keep else "revoke", work.decision.caller
        await connection.execute(_DECIDE, review, item, outcome, name_of(caller.principal), now)
        work.record(fields=(outcome,))
        if not keep:
            await self._revoke(work, row)

    async def _revoke(self, work: GateTransaction, row: Record) -> None:
        """Take the access away, a key's with those that took over from it; who took it meanwhile did the same."""
        connection, now, by = work.connection, self._clock.now(), work.decision.caller.principal.id
        if row["kind"] == "grant":
            gone = await connection.fetchrow(_REVOKE_GRANT, row["id"], now, by)
            if gone is not None:
                taken = (gone["role"],)
                work.record(
                    action=Action.ROLE_REVOKED, resource_type="person", resource_id=str(gone["person_id"]), fields=taken
                )
            return
        for key in await connection.fetch(_REVOKE_KEY, row["id"], now):
            work.record(action=Action.APIKEY_REVOKE, resource_type="api_key", resource_id=str(key["id"]))

    async def _close(self, work: GateTransaction, review: UUID) -> bool:
        if await work.connection.fetchval(_CLOSE, review, self._clock.now()) is None:
            return False
        work.record(action=Action.REVIEW_CLOSED, resource_type=_RESOURCE, resource_id=str(review))
        return True

    async def _settle(self, tenant: UUID, review: UUID) -> None:
        await self._findings.settle(tenant, keys=[finding_key(Kind.REVIEW_OVERDUE, review)])

    async def _deciders(self, connection: Connection, tenant: UUID, review: Review) -> frozenset[str]:
        """Return the ids of the people and keys of the tenant who were there and whose role lets them decide."""
        policy = self._gate.policy
        settings = self._gate.tenants.known(tenant) or await self._gate.tenants.load(tenant)
        found = set[str]()
        for row in await connection.fetch(_DECIDERS, review.opened_at):
            roles = [policy.role(name, settings) for name in row["roles"]]
            if any(role is not None and Permission.REVIEW_DECIDE in role.permissions for role in roles):
                found.add(row["id"])
        return frozenset(found)

    async def _hands(self, caller: Caller, decision: Decision) -> Hands:
        """Look in the caller's own tenant whose hands they are; a platform's are not known in a customer's."""
        home = caller.principal.tenant
        if home != decision.tenant:
            about = decision.act
            act = Act(about.permission, about.action, about.resource_type, about.resource_id)
            decision = await self._gate.decide(caller, act)
        async with self._gate.reading(decision) as connection:
            return await hands_of(connection, caller.principal)

    async def _decide(
        self, caller: Caller, permission: Permission, action: Action, tenant: UUID, about: UUID | None
    ) -> Decision:
        """Decide in the tenant's own log; a tenant that nobody made has none, so its refusal is in the caller's."""
        named, there = await away(self._gate, caller, tenant)
        kind = "review_item" if permission is Permission.REVIEW_DECIDE else _RESOURCE
        resource = None if about is None else str(about)
        act = Act(permission, action, kind, resource_id=resource, tenant=named)
        decision = await self._gate.decide(caller, act)
        if not there:
            async with self._gate.reading(decision):  # whose credential was revoked is told nothing
                raise NotFound("There is no such tenant")
        return decision


async def _lock(connection: Connection, review: UUID) -> Record:
    """Return the review's row, locked: its decisions are taken one after the other, so the last one closes it."""
    row = await connection.fetchrow(_LOCK, review)
    if row is None:
        raise NotFound("There is no such review")
    if row["closed_at"] is not None:
        raise Conflict("This review is closed")
    return row


async def _head(connection: Connection, review: UUID) -> Review:
    row = await connection.fetchrow(_ONE, 1, review)
    if row is None:
        raise NotFound("There is no such review")
    return review_of(row)


def _name(caller: Caller) -> str:
    """Return who opens a review, as its row has it; the schedule does, too."""
    principal = caller.principal
    return f"system:{principal.id}" if principal.type is ActorType.SYSTEM else name_of(principal)
