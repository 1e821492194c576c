"""The certificate of an erasure: who, when, what it covered, what it does not, and from when on no copy opens.

Rule: it promises nothing that is not so yet. Old backups hold the wrapped keys; they open until the keys of the epochs
that those were wrapped under are destroyed, outside of the database. Until then the certificate says so, with the date
where there is one. It holds ids, counts and times, no value of anybody.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec

from wellkeep.base.clock import Clock
from wellkeep.base.errors import NotFound
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action
from wellkeep.vault.calls import NIL

_TOMBSTONE = """
SELECT t.subject_id, t.event_id, t.kms_epoch, t.erased_at, t.counts::text AS counts, t.again, t.swept_at
FROM vault.tombstone AS t WHERE t.subject_id = $1
"""
_WITH = "SELECT t.subject_id FROM vault.tombstone AS t WHERE t.event_id = $1 ORDER BY t.subject_id"
_ENTRY = """
SELECT e.epoch, e.seq, e.actor, e.time, l.origin FROM ledger.entry AS e
JOIN ledger.log AS l ON l.tenant_id = e.tenant_id AND l.epoch = e.epoch
WHERE e.tenant_id = $1 AND e.event_id = $2 ORDER BY e.epoch DESC LIMIT 1
"""
_EPOCHS = """
SELECT e.epoch, e.state, e.destroy_at, e.destroyed_at, e.ordered_at FROM keys.epochs() AS e WHERE e.epoch <= $1
"""

NOT_COVERED: Final = (
    "Entries of the ledger: who did what, when and why, with opaque ids and no value; the law has them kept.",
    "The id itself: that somebody of this opaque id was here and is erased, so that no copy brings them back.",
    "Findings, and where rotations of keys stood: opaque ids, codes and times, no value.",
    "What people and programs received before: files they exported, pages they printed, answers they kept.",
    "Search tags in old backups: whoever holds one, and the live index key, can test guesses until that is rotated.",
    "Stored answers to repeated requests in old backups: they hold opaque ids, and open under the tenant's key.",
    "Refused lines of imported files, of patients without a record in that collection: they go when their time is up.",
    "Plain fields in old backups: what a collection declares as plain was never sealed.",
)
"""What an erasure does not reach, said to whoever relies on it."""

PEOPLE_NOT_COVERED: Final = (
    "Names and e-mails of the customer's own people in old backups: they were not sealed, and end with the backup.",
)
"""What the erasure of a whole tenant does not reach besides."""

State = Literal["effective", "recoverable"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The entry of the erasure, and how anybody checks it; None for the place of one that is not chained yet."""

    id: UUID
    log: str | None
    epoch: int | None
    seq: int | None
    actor: str | None
    verify: str


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """From when on no copy opens: `at` where it is so, else `until` when copies may still open, where that is known."""

    state: State
    at: datetime | None
    until: datetime | None
    epoch: int
    words: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What is certified of one erasure; `subject` is null for a whole tenant, `subjects` all ids that were erased."""

    tenant: UUID
    subject: UUID | None
    subjects: tuple[UUID, ...]
    erased_at: datetime
    made_at: datetime
    again: bool
    swept: bool
    entry: Entry
    covered: dict[str, int]
    not_covered: tuple[str, ...]
    effective: Effective


class Certificates:
    """Makes certificates for whoever may read erasures."""

    def __init__(self, *, gate: Gate, clock: Clock, waits: timedelta = timedelta()) -> None:
        """Read through `gate`; `waits` is how long the key service keeps an epoch's key that is to be destroyed."""
        self._gate = gate
        self._clock = clock
        self._waits = waits

    async def of_subject(self, caller: Caller, subject: UUID) -> Certificate:
        """Return the certificate of a subject's erasure; of one who was merged, the survivor's. Raises NotFound."""
        act = Act(Permission.ERASURE_READ, Action.ERASURE_READ, "subject", str(subject), subject=subject)
        return await self._certificate(caller, act, subject)

    async def of_erased(self, caller: Caller, subject: UUID) -> Certificate:
        """Return the certificate to who just erased `subject`, as part of that act."""
        act = Act(Permission.SUBJECT_ERASE, Action.ERASURE_READ, "subject", str(subject), subject=subject)
        return await self._certificate(caller, act, subject)

    async def of_tenant(self, caller: Caller, tenant: UUID) -> Certificate:
        """Return the certificate of a tenant's erasure. Raises NotFound."""
        away = tenant if tenant != caller.principal.tenant else None
        act = Act(Permission.ERASURE_READ, Action.ERASURE_READ, "tenant", str(tenant), tenant=away)
        return await self._certificate(caller, act, NIL)

    async def _certificate(self, caller: Caller, act: Act, subject: UUID) -> Certificate:
        decision = await self._gate.decide(caller, act)
        now = self._clock.now()
        async with self._gate.reading(decision) as connection:
            stone = await connection.fetchrow(_TOMBSTONE, subject)
            if stone is None:
                raise NotFound("Nothing of this id was erased")
            made = await _read(connection, stone, decision.tenant, now, waits=self._waits)
        await self._gate.disclose(decision)
        return made


async def _read(connection: Connection, stone: Record, tenant: UUID, now: datetime, *, waits: timedelta) -> Certificate:
    entry = await connection.fetchrow(_ENTRY, tenant, stone["event_id"])
    people = tuple(row["subject_id"] for row in await connection.fetch(_WITH, stone["event_id"]))
    epochs = await connection.fetch(_EPOCHS, stone["kms_epoch"])
    whole = stone["subject_id"] == NIL
    return Certificate(
        tenant=tenant,
        subject=None if whole else stone["subject_id"],
        subjects=() if whole else people,
        erased_at=stone["erased_at"],
        made_at=now,
        again=stone["again"],
        swept=stone["swept_at"] is not None or not whole,
        entry=_entry(stone["event_id"], entry),
        covered=json.loads(stone["counts"]),
        not_covered=(*NOT_COVERED, *PEOPLE_NOT_COVERED) if whole else NOT_COVERED,
        effective=effective(epochs, stone["kms_epoch"], now=now, waits=waits),
    )


def _entry(event: UUID, row: Record | None) -> Entry:
    return Entry(
        id=event,
        log=None if row is None else row["origin"],
        epoch=None if row is None else row["epoch"],
        seq=None if row is None else row["seq"],
        actor=None if row is None else row["actor"],
        verify=f"wellkeep ledger proof {event}",
    )


def effective(epochs: list[Record], epoch: int, *, now: datetime, waits: timedelta) -> Effective:
    """Return from when on nothing opens that was wrapped under `epochs`, which are all up to number `epoch`.

    A key service that `waits` keeps a key so much longer than the date on which its destruction is to be ordered.
    """
    destroyed = [row["destroyed_at"] for row in epochs if row["state"] == "destroyed"]
    if len(destroyed) == len(epochs) and destroyed and max(destroyed) <= now:
        when = max(destroyed)
        words = f"Effective since {when:%Y-%m-%d %H:%M} UTC: no backup opens any more."
        return Effective(state="effective", at=when, until=None, epoch=epoch, words=words)
    dates = [end_of_key(row, waits=waits, now=now) for row in epochs]
    known = [date for date in dates if date is not None]
    # A date that has come without the end it promised is none: a destruction can be taken back in a cloud.
    until = max(known) if known and len(known) == len(dates) and max(known) > now else None
    if until is not None:
        words = f"Still recoverable from backups until {until:%Y-%m-%d %H:%M} UTC, when the epoch's key is destroyed."
    else:
        words = f"Still recoverable from backups until the key of epoch {epoch} is rolled and destroyed."
    return Effective(state="recoverable", at=None, until=until, epoch=epoch, words=words)


def end_of_key(row: Record, *, waits: timedelta, now: datetime) -> datetime | None:
    """Return when the key of an epoch is, or was, gone, as far as that is known; `row` holds the epoch's dates.

    Until the destruction is ordered, a key service that `waits` adds to the day on which that will be; None where no
    day is set, and where it has come without the order.
    """
    when: datetime | None = row["destroyed_at"] or row["destroy_at"]
    if when is None or row["destroyed_at"] is not None or row["ordered_at"] is not None:
        return when
    return when + waits if when > now else None
