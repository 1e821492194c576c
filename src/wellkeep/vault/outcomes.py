"""What the services of the vault answer, and what a status of the database means for the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from wellkeep.base.errors import Conflict, FieldProblem, Internal, NotFound, PreconditionFailed, Validation
from wellkeep.gate.acts import Decision
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection, Field
from wellkeep.vault.stored import Stored
from wellkeep.vault.values import Value


class Written(msgspec.Struct, frozen=True):
    """What a change answers: ids and times, nothing that was sealed."""

    id: UUID
    subject: UUID | None
    revision: int
    created_at: datetime
    updated_at: datetime


class RecordView(msgspec.Struct, frozen=True):
    """A record, opened for one caller: `withheld` names what their role does not see."""

    id: UUID
    subject: UUID | None
    revision: int
    fields: dict[str, Value]
    withheld: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


def view_of(state: Stored, values: dict[str, Value], withheld: tuple[str, ...]) -> RecordView:
    """Return the view of an opened state."""
    return RecordView(
        id=state.id,
        subject=state.subject,
        revision=state.revision,
        fields=values,
        withheld=withheld,
        created_at=state.created_at,
        updated_at=state.updated_at,
    )


def chosen(
    collection: Collection, decision: Decision, names: Sequence[str] | None
) -> tuple[Mapping[int, Field], tuple[str, ...]]:
    """Return the fields that `decision` shows by number, and the names withheld; of all fields or of those named.

    Raises Validation for a name that the collection does not declare.
    """
    view = collection.view(decision.groups, decision.hidden)
    if names is None:
        return view.fields, view.withheld
    if any(name not in collection.by_name for name in names):
        raise Validation(fields=(FieldProblem("/fields/*", "unknown-field"),))
    wanted = [collection.by_name[name] for name in dict.fromkeys(names)]
    seen = {field.id: field for field in wanted if field.id in view.fields}
    return seen, tuple(field.name for field in wanted if field.id not in seen)


def id_bytes(value: UUID | None) -> bytes:
    """Return the bytes of an id, none for none."""
    return b"" if value is None else value.bytes


def settle(context: Context, decision: Decision, collection: Collection, *, subject: UUID | None, status: str) -> None:
    """Raise what a refused change means for the caller; return where it is to be tried again on fresh knowledge."""
    if status == "stale_collection":
        context.forget_collection(decision.tenant, collection.name)
    elif status == "stale_key":
        if subject is not None:
            context.forget_person(decision.tenant, subject)
    elif status == "stale_seal":
        return
    elif status == "conflict":
        raise Conflict("A value that must be unique is taken")
    elif status == "not_found":
        raise NotFound("There is no record of this id")
    elif status == "stale_revision":
        raise PreconditionFailed
    else:
        raise Internal("A change was answered with an unknown status")
