"""What a tenant demands of its own people: a second factor of all, roles bound to the care team, how long things last.

Rules: none of it loosens what the policy demands; a change names what it changed in the tenant's log, and holds on
every worker within five seconds. A role is bound by its name: one that is not there can't be.
Nobody unbinds a role that they hold from the care team, nor by a key of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from wellkeep.access.review_hands import must_not_hold
from wellkeep.base.clock import Clock
from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Act, Caller, TenantSettings
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

_READ = """
SELECT second_factor, care_team, session_idle, session_length, glass_length, glass_unreviewed, review_days
FROM access.tenant_rules
"""
_MAKE = """
INSERT INTO access.tenant_rules (tenant_id, changed_at, changed_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""
_HOLD = _READ + "FOR UPDATE"
_CHANGE = """
UPDATE access.tenant_rules SET second_factor = $1, care_team = $2, session_idle = $3, session_length = $4,
  glass_length = $5, glass_unreviewed = $6, review_days = $7, changed_at = $8, changed_by = $9
"""
_BOUNDS = {
    "session_idle_minutes": (1, 24 * 60),
    "session_minutes": (5, 30 * 24 * 60),
    "glass_minutes": (5, 24 * 60),
    "glass_unreviewed": (1, 100),
    "review_days": (7, 366),
}
MOST_BOUND = 64
_BOUND = "Nobody unbinds a role that they hold, nor by a key of theirs: ask a colleague who may"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a tenant, with the defaults that hold where it decided nothing.

    `care_team` are the roles whose holders reach their own patients alone. A session ends after `session_idle_minutes`
    without a request and after `session_minutes` anyhow; a broken glass after `glass_minutes`; after `glass_unreviewed`
    uses that nobody reviewed none is broken any more. Access is reviewed every `review_days`.
    """

    second_factor: bool = False
    care_team: tuple[str, ...] = ()
    session_idle_minutes: int = 30
    session_minutes: int = 12 * 60
    glass_minutes: int = 60
    glass_unreviewed: int = 3
    review_days: int = 90


class TenantRules:
    """The rules of each tenant, read and changed by its own people."""

    def __init__(self, *, gate: Gate, clock: Clock) -> None:
        """Act through `gate`."""
        self._gate = gate
        self._clock = clock

    async def read(self, caller: Caller) -> Rules:
        """Return the rules of the caller's tenant."""
        decision = await self._gate.decide(caller, Act(Permission.RULES_READ, Action.RULES_READ, "rules"))
        async with self._gate.transaction(decision) as work:
            found = await _found(work.connection, _READ)
            work.record()
        return found

    async def change(self, caller: Caller, **changes: Any) -> Rules:
        """Set the rules that `changes` names, and return them all. Raises Validation, Forbidden.

        The entry names what is different now; `count` is how many these are.
        """
        decision = await self._gate.decide(caller, Act(Permission.RULES_CHANGE, Action.RULES_CHANGED, "rules"))
        settings = await self._gate.tenants.load(decision.tenant)
        now, principal = self._clock.now(), caller.principal
        async with self._gate.transaction(decision) as work:
            self._check(settings, changes)
            await work.connection.execute(_MAKE, decision.tenant, now, principal.id)
            before = await _found(work.connection, _HOLD)
            after = msgspec.structs.replace(before, **changes)
            loosened = set(before.care_team) - set(after.care_team)
            await must_not_hold(work.connection, principal, loosened, why=_BOUND)
            different = tuple(name for name in changes if getattr(before, name) != getattr(after, name))
            if different:
                await work.connection.execute(_CHANGE, *_columns(after), now, principal.id)
            work.record(fields=different, count=len(different))
        self._gate.tenants.forget(decision.tenant)
        return after

    def _check(self, settings: TenantSettings, changes: dict[str, Any]) -> None:
        problems = []
        for name, value in changes.items():
            bounds = _BOUNDS.get(name)
            if bounds is not None and not bounds[0] <= value <= bounds[1]:
                problems.append(FieldProblem(f"/{name}", "out-of-range"))
        problems += self._unknown(settings, changes.get("care_team", ()))
        if problems:
            raise Validation(fields=tuple(problems))

    def _unknown(self, settings: TenantSettings, names: Sequence[str]) -> list[FieldProblem]:
        if len(names) > MOST_BOUND or len(set(names)) != len(names):
            return [FieldProblem("/care_team", "not-allowed")]
        known = [self._gate.policy.role(name, settings) for name in names]
        if all(role is not None and role.issuable for role in known):
            return []
        return [FieldProblem("/care_team", "unknown-role")]


async def _found(connection: Connection, query: str) -> Rules:
    row = await connection.fetchrow(query)
    if row is None:
        return Rules()
    return Rules(
        second_factor=row["second_factor"],
        care_team=tuple(row["care_team"]),
        session_idle_minutes=_minutes(row["session_idle"]),
        session_minutes=_minutes(row["session_length"]),
        glass_minutes=_minutes(row["glass_length"]),
        glass_unreviewed=row["glass_unreviewed"],
        review_days=row["review_days"],
    )


def _minutes(length: timedelta) -> int:
    return int(length.total_seconds()) // 60


def _columns(rules: Rules) -> tuple[object, ...]:
    lengths = (rules.session_idle_minutes, rules.session_minutes, rules.glass_minutes)
    return (
        rules.second_factor,
        list(rules.care_team),
        *(timedelta(minutes=one) for one in lengths),
        rules.glass_unreviewed,
        rules.review_days,
    )
