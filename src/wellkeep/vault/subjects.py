"""Subjects: the people (or whoever else) that records are about, known by opaque ids alone.

Rules: a subject has a key of its own from the moment it exists. Merging two moves where records are found, never what
they are sealed under: the other's records keep their key, so nothing is opened for a merge.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from wellkeep.base.errors import Conflict, NotFound, SubjectErased, Validation
from wellkeep.base.errors import FieldProblem as Problem
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import ReadSubject
from wellkeep.vault.context import Context

_INSERT_SUBJECT = "INSERT INTO vault.subject (tenant_id, id, created_at) VALUES ($1, $2, $3)"
_INSERT_KEY = """
INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_LOCK = "SELECT id, merged_into, erased_at FROM vault.subject WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
_MERGE = "UPDATE vault.subject SET merged_into = $2 WHERE id = $1 OR merged_into = $1"
_MOVE = "UPDATE vault.record SET subject_id = $2 WHERE subject_id = $1"
_RESOURCE = "subject"


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject; `merged_into` is where its records are found, if it was merged."""

    id: UUID
    created_at: datetime
    merged_into: UUID | None = None
    erased_at: datetime | None = None


class Subjects:
    """The service of `/v1/subjects`."""

    def __init__(self, context: Context) -> None:
        """Work within `context`."""
        self._context = context

    async def create(self, caller: Caller) -> Subject:
        """Make a subject with its first key."""
        subject = uuid7()
        asked = await self._decide(caller, Permission.SUBJECT_CREATE, Action.SUBJECT_CREATE, subject)
        decision = await self._context.gate.must_reach(asked, None)
        return await self._context.under_keys(decision.tenant, lambda keys: self._make(decision, keys, subject))

    async def _make(self, decision: Decision, keys: TenantKeys, subject: UUID) -> Subject:
        made = await keys.new_subject_key(subject)
        now = self._context.clock.now()
        async with self._context.gate.transaction(decision) as transaction:
            connection = transaction.connection
            await connection.execute(_INSERT_SUBJECT, decision.tenant, subject, now)
            await connection.execute(
                _INSERT_KEY, decision.tenant, subject, made.generation, made.kid, made.wrapped, made.wrap_epoch
            )
            transaction.record(subject=subject)
        return Subject(id=subject, created_at=now)

    async def get(self, caller: Caller, subject: UUID) -> Subject:
        """Return the subject. Raises NotFound, SubjectErased."""
        asked = await self._decide(caller, Permission.SUBJECT_READ, Action.SUBJECT_READ, subject)
        decision = await self._context.gate.must_reach(asked, subject)
        answers = await self._context.gate.read(decision, ReadSubject(caller.principal.credential, subject))
        if not answers:
            await self._context.refuse(decision, NotFound("There is no subject of this id"))
        if answers[0]["erased_at"] is not None:
            await self._context.refuse(decision, SubjectErased())
        await self._context.gate.disclose(decision)
        row = answers[0]
        return Subject(
            id=row["id"], created_at=row["created_at"], merged_into=row["merged_into"], erased_at=row["erased_at"]
        )

    async def merge(self, caller: Caller, subject: UUID, *, into: UUID) -> Subject:
        """Find the records of `subject` under `into` from now on; returns `subject`.

        Raises Validation for a merge with itself, NotFound, SubjectErased, Conflict where either was merged already.
        """
        asked = await self._decide(caller, Permission.SUBJECT_MERGE, Action.SUBJECT_MERGE, subject)
        decision = await self._context.gate.must_reach(asked, subject, into)
        if subject == into:
            raise Validation(fields=(Problem("/into", "not-allowed"),))
        async with self._context.gate.transaction(decision) as transaction:
            await _merge(transaction.connection, subject, into)
            transaction.record(subject=subject, subjects=(subject, into))
        self._context.forget_person(decision.tenant, subject)
        return await self._after(decision, subject)

    async def _after(self, decision: Decision, subject: UUID) -> Subject:
        answers = await self._context.gate.read(decision, ReadSubject(decision.caller.principal.credential, subject))
        row = answers[0]
        return Subject(id=row["id"], created_at=row["created_at"], merged_into=row["merged_into"])

    async def _decide(self, caller: Caller, permission: Permission, action: Action, subject: UUID) -> Decision:
        return await self._context.gate.decide(
            caller, Act(permission, action, _RESOURCE, resource_id=str(subject), subject=subject)
        )


async def _merge(connection: Connection, subject: UUID, into: UUID) -> None:
    rows = {row["id"]: row for row in await connection.fetch(_LOCK, [subject, into])}
    if len(rows) != len({subject, into}):
        raise NotFound("There is no subject of this id")
    if any(row["erased_at"] is not None for row in rows.values()):
        raise SubjectErased
    if any(row["merged_into"] is not None for row in rows.values()):
        raise Conflict("One of the two was merged before; merge the subject it went into")
    await connection.execute(_MERGE, subject, into)
    await connection.execute(_MOVE, subject, into)
