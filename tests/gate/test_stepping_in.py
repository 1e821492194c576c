"""Promise: staff in a customer's account get nothing from the moment it is ended, and break no glass there."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from gate.trial import House, ReadNote, caller, reading
from wellkeep.base.errors import Unauthenticated
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Caller, TenantSettings

_PERSON = """
INSERT INTO access.person (tenant_id, id, email, name, state, invited_by, created_at)
VALUES ($1, $2::uuid, right($2::uuid::text, 12) || '@example.org', 'Robin Doe', 'active', 'root', now())
"""
_SESSION = """
INSERT INTO access.session (tenant_id, id, person_id, digest, method, created_at, expires_at, idle, idle_until)
VALUES (wk.platform(), $1, $2, sha256('x'), 'password', now(), now() + interval '1 hour', interval '1 hour',
  now() + interval '1 hour')
"""
_START = """
INSERT INTO access.impersonation (tenant_id, id, person_id, staff_id, staff_name, staff_session, digest, reason,
  reason_digest, started_at, ends_at)
VALUES ($1, $2, $3, $4, 'Sam Staff', $5, sha256('x'), convert_to('WK' || repeat('x', 80), 'UTF8'), sha256('x'), now(),
  now() + interval '15 minutes')
"""
_END = "UPDATE access.impersonation SET ended_at = now(), ended_by = 'person:x', ended_because = 'ended-by-tenant'"
_PLATFORM = UUID("00000000-0000-7000-8000-000000000000")


def inside(tenant: UUID, impersonation: UUID, *, purpose: Purpose | None = None) -> Caller:
    """Return staff in the account of a clinician."""
    plain = caller(tenant, "clinician", purpose=purpose)
    staff = replace(
        plain.principal,
        type=ActorType.PERSON,
        method=AuthMethod.SESSION,
        credential=impersonation,
        on_behalf_of=str(uuid7()),
        mfa=True,
        impersonation=impersonation,
    )
    return Caller(staff, purpose, uuid7())


async def stepped_in(home: House, tenant: UUID) -> UUID:
    """Return a new impersonation that stands."""
    person, staff, session, impersonation = (uuid7() for _ in range(4))
    async with home.database.connect() as connection:
        await connection.execute(_PERSON, tenant, person)
        await connection.execute(_PERSON, _PLATFORM, staff)
        await connection.execute(_SESSION, session, staff)
        await connection.execute(_START, tenant, impersonation, person, staff, session)
    return impersonation


async def test_what_was_read_before_the_end_is_not_disclosed_after_it(home: House, tenant: UUID) -> None:
    note, impersonation = uuid7(), await stepped_in(home, tenant)
    await home.put(tenant, note, "sealed")
    decision = await home.gate.decide(inside(tenant, impersonation), reading(note))
    held = ReadNote(note, credential=impersonation)
    assert await home.gate.read(decision, held)
    assert await home.gate.disclose(decision, records=(note,)), "it stands, so it is told"
    async with home.database.connect() as connection:
        await connection.execute(_END)
    with pytest.raises(Unauthenticated):
        await home.gate.disclose(decision, records=(note,))
    with pytest.raises(Unauthenticated):
        await home.gate.read(decision, held)
    told = [(event["action"], event["outcome"]) for event in await home.events(tenant)]
    assert told == [("record.read", "authorised"), ("access.denied", "denied"), ("access.denied", "denied")]


def test_no_glass_is_broken_from_inside_somebody_elses_account(home: House, tenant: UUID) -> None:
    asked = inside(tenant, uuid7(), purpose=Purpose.BREAK_GLASS)
    decision = home.gate.policy.decide(asked, reading(), settings=TenantSettings())
    assert (decision.allowed, decision.rule) == (False, "deny:no-break-glass")
    assert Permission.GLASS_BREAK not in home.gate.policy.roles.stepping_in
