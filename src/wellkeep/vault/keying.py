"""Under which key a new record is sealed, and what of that the database is told.

Rules: a record of a patient under that patient's key, a record of nobody under the tenant's DATA key. Seals are counted
before they are made; where a write fails, what it leased is given back.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from wellkeep.base.errors import Internal, NotFound, SubjectErased
from wellkeep.base.ids import uuid7
from wellkeep.crypto.keys import SealingKey
from wellkeep.gate.acts import Decision
from wellkeep.keys.seals import SubjectMeter
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.calls import KeyUse
from wellkeep.vault.context import Context, Person
from wellkeep.vault.definition import Collection, SubjectMode
from wellkeep.vault.stored import KeyRow

MODE_NONE, MODE_NEW, MODE_EXISTING = 0, 1, 2


class Keying(NamedTuple):
    """A key to seal with, and how the write names it; `seals` were counted on `meter`."""

    key: SealingKey
    use: KeyUse
    seals: int = 0
    meter: SubjectMeter | None = None


async def for_new_record(
    context: Context,
    decision: Decision,
    collection: Collection,
    keys: TenantKeys,
    *,
    subject: UUID | None,
    seals: int,
) -> Keying:
    """Return the key for a new record of `collection` with `seals` sealed fields.

    Raises NotFound (subject), SubjectErased, SealBudgetExhausted, IntegrityBroken, KeyReplaced.
    """
    seals = max(seals, 1)
    if collection.subject is SubjectMode.NONE:
        return Keying(await keys.data_key(seals=seals), KeyUse(MODE_NONE))
    if collection.subject is SubjectMode.SELF:
        return await for_new_subject(keys, seals=seals)
    if subject is None:
        raise Internal("A record of a subject needs the subject")
    person = await context.person_under(decision, keys, subject)
    return for_person(context, keys, person, seals=seals)


async def for_single_record(
    context: Context,
    decision: Decision,
    collection: Collection,
    keys: TenantKeys,
    *,
    subject: UUID | None,
    seals: int,
) -> Keying:
    """Return the key as `for_new_record`; that the subject is not there or was erased is entered before it is told."""
    try:
        return await for_new_record(context, decision, collection, keys, subject=subject, seals=seals)
    except (NotFound, SubjectErased) as refused:
        await context.refuse(decision, refused, subject=subject)


async def for_new_subject(keys: TenantKeys, *, seals: int) -> Keying:
    """Return the first key of a new subject."""
    subject = uuid7()
    made = await keys.new_subject_key(subject)
    lease = made.key.meter.take(seals)
    if lease:
        raise Internal("A new subject's first record has more fields than one block of seals")
    return Keying(made.key, KeyUse(MODE_NEW, subject, made.kid, made.wrapped, made.wrap_epoch), seals, made.key.meter)


def for_person(context: Context, keys: TenantKeys, person: Person, *, seals: int) -> Keying:
    """Return the current key of a subject that exists."""
    key = context.key_of(keys, subject=person.subject, row=person.row)
    lease = key.meter.take(seals)
    return Keying(key, KeyUse(MODE_EXISTING, person.subject, key.kid, lease=lease), seals, key.meter)


def refund(keying: Keying) -> None:
    """Give back what was counted for a write that stored nothing."""
    if keying.meter is not None:
        keying.meter.refund(keying.seals, leased=keying.use.lease)


def keep(context: Context, decision: Decision, keying: Keying) -> None:
    """Remember a subject that was just made: its first records often follow at once."""
    use = keying.use
    if use.mode == MODE_NEW and use.subject and use.kid and use.wrapped and use.wrap_epoch:
        row = KeyRow(1, use.kid, use.wrapped, use.wrap_epoch, "active")
        context.keep_person(decision.tenant, use.subject, Person(use.subject, row))
