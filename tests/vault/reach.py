"""A tenant that binds its clinicians to the care team: two patients, one clinician's own and somebody else's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from vault.stack import Stack
from wellkeep.access.attributes import StoredAttributes
from wellkeep.access.care_team import CareTeams
from wellkeep.access.custom_roles import CustomRoles
from wellkeep.access.tenant_rules import TenantRules
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Caller

_PERSON = """
INSERT INTO access.person (tenant_id, id, email, name, state, invited_by, created_at)
VALUES ($1, $2, $3, 'Somebody', 'active', 'x', now())
"""


@dataclass
class Ward:
    """The house, its services for policies, and who is whose patient; `mine` and `others` each have one note."""

    stack: Stack
    teams: CareTeams
    rules: TenantRules
    roles: CustomRoles
    person: UUID
    mine: UUID
    others: UUID
    my_note: UUID
    other_note: UUID

    def clinician(self, *more: str, purpose: Purpose | None = None, person: UUID | None = None) -> Caller:
        """Return the clinician as they are signed in, with `more` roles."""
        return someone(self.stack, "clinician", *more, purpose=purpose, person=person or self.person)

    @property
    def administrator(self) -> Caller:
        return someone(self.stack, "administrator")


def someone(stack: Stack, *roles: str, purpose: Purpose | None = None, person: UUID | None = None) -> Caller:
    """Return a person of the first tenant with these roles, a second factor just shown."""
    principal = Principal(
        type=ActorType.PERSON,
        id=str(person or uuid7()),
        tenant=stack.tenant,
        roles=roles,
        method=AuthMethod.LOCAL,
        mfa=True,
        fresh=True,
    )
    return Caller(principal, purpose, uuid7(), "192.0.2.7", "0123456789abcdef")


async def new_person(stack: Stack) -> UUID:
    """Make a person of the first tenant."""
    made = uuid7()
    async with stack.database.entered(stack.tenant) as connection:
        await connection.execute(_PERSON, stack.tenant, made, f"{made.hex}@example.org")
    return made


async def break_glass(stack: Stack, person: UUID, subject: UUID, *, until: datetime) -> None:
    """Have `person` hold an open glass of `subject`, as the emergency's own service would leave it."""
    await stack.as_superuser(
        "INSERT INTO access.break_glass (tenant_id, id, person_id, subject_id, again, reason, reason_digest, "
        "broken_at, ends_at) VALUES ($1, $2, $3, $4, false, $5, $6, now(), $7)",
        *(stack.tenant, uuid7(), person, subject, b"WK" + bytes(96), bytes(32), until),
    )


async def open_ward(stack: Stack) -> Ward:
    """Bind the clinicians, make two patients with a note each, and put one of them into a clinician's care."""
    stack.gate._attributes = StoredAttributes(pool=stack.pool)
    teams = CareTeams(gate=stack.gate, clock=stack.clock)
    rules = TenantRules(gate=stack.gate, clock=stack.clock)
    roles = CustomRoles(gate=stack.gate, clock=stack.clock)
    subjects, notes = [], []
    for number in range(2):
        subject = (await stack.vault.subjects.create(stack.integration)).id
        note = await stack.vault.records.create(
            stack.integration, "notes", {"text": f"note {number}", "code": "same"}, subject=subject
        )
        subjects.append(subject)
        notes.append(note.id)
    person = await new_person(stack)
    ward = Ward(stack, teams, rules, roles, person, *subjects, *notes)
    await teams.add(ward.administrator, ward.mine, person=person)
    await rules.change(ward.administrator, care_team=("clinician",))
    return ward
