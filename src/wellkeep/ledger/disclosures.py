"""The entries that name one patient, whichever way: what an accounting of disclosures is made of (45 CFR 164.528).

Rules: an entry belongs to a patient where it names them as its subject, as one of many subjects, or where it is a
denial of one of their records: a denial is entered before anybody looked whose record it is. What was split into parts
counts once, at the first part that names the patient. An entry that can't be read refuses the whole: an accounting that
leaves one out silently would be false.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.db.connection import Connection, Record
from wellkeep.ledger.event import Event
from wellkeep.ledger.grammar import refuse
from wellkeep.ledger.reading import parse
from wellkeep.ledger.search import Place, Window

_MOST_PARTS: Final = 64

# $1 .. $6: the window; $7: the patient's ids; $8: the ids of their records; $9: how many.
_NAMING = """
SELECT w.epoch, w.seq, e.entry FROM (
  SELECT a.epoch, a.seq, a."time" FROM (
    SELECT h.epoch, h.seq, h."time" FROM unnest($7::uuid[]) AS p (id) CROSS JOIN LATERAL (
      SELECT e.epoch, e.seq, e."time" FROM ledger.entry AS e
      WHERE (e.subject, e.epoch, e.seq) < (p.id, $1, $2) AND (e.subject, e.epoch, e.seq) >= (p.id, $3, $4)
        AND e.subject IS NOT NULL AND e."time" >= $5 AND e."time" < $6
      ORDER BY e.subject DESC, e.epoch DESC, e.seq DESC LIMIT $9
    ) AS h
    UNION
    SELECT h.epoch, h.seq, h."time" FROM unnest($7::uuid[]) AS p (id) CROSS JOIN LATERAL (
      SELECT s.epoch, s.seq, s."time" FROM ledger.entry_subject AS s
      WHERE (s.subject, s.epoch, s.seq) < (p.id, $1, $2) AND (s.subject, s.epoch, s.seq) >= (p.id, $3, $4)
        AND s."time" >= $5 AND s."time" < $6
      ORDER BY s.subject DESC, s.epoch DESC, s.seq DESC LIMIT $9
    ) AS h
    UNION
    SELECT h.epoch, h.seq, h."time" FROM unnest($8::text[]) AS r (id) CROSS JOIN LATERAL (
      SELECT e.epoch, e.seq, e."time" FROM ledger.entry AS e
      WHERE (e.resource_id, e.epoch, e.seq) < (r.id, $1, $2) AND (e.resource_id, e.epoch, e.seq) >= (r.id, $3, $4)
        AND e.outcome = 'denied' AND e."time" >= $5 AND e."time" < $6
      ORDER BY e.resource_id DESC, e.epoch DESC, e.seq DESC LIMIT $9
    ) AS h
  ) AS a
  ORDER BY a.epoch DESC, a.seq DESC LIMIT $9
) AS w
LEFT JOIN LATERAL (
  SELECT n.entry FROM ledger.entry AS n
  WHERE n.epoch = w.epoch AND n.seq = w.seq AND n."time" = w."time" AND n."time" >= $5 AND n."time" < $6 OFFSET 0
) AS e ON true
ORDER BY w.epoch DESC, w.seq DESC
"""
# A day is far more than parts that were appended together lie apart, and leaves out all months but one or two.
_PARTS = """
SELECT e.epoch, e.seq, e.entry
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::timestamptz[]) AS p (epoch, first, last, "time")
CROSS JOIN LATERAL (
  SELECT n.epoch, n.seq, n.entry FROM ledger.entry AS n
  WHERE n.epoch = p.epoch AND n.seq >= p.first AND n.seq <= p.last
    AND n."time" >= p."time" - interval '1 day' AND n."time" <= p."time" + interval '1 day' OFFSET 0
) AS e
"""


class _Entry(msgspec.Struct):
    event: msgspec.Raw
    time: datetime


_decode = msgspec.json.Decoder(_Entry).decode


@dataclass(frozen=True, slots=True)
class Naming:
    """One thing that happened to one patient's data: the entry that names them, with the lists of all its parts."""

    place: Place
    time: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class Patient:
    """Under which ids one patient stands in the ledger: `subjects`, and the `records` that are theirs."""

    subjects: frozenset[UUID]
    records: Collection[UUID]

    def is_named_by(self, event: Event) -> bool:
        """Say whether `event` names the patient."""
        return event.subject in self.subjects or not self.subjects.isdisjoint(event.subjects)


async def naming(
    connection: Connection, patient: Patient, span: Window, *, most: int
) -> tuple[list[Naming], Place | None]:
    """Return what names `patient` in `span`, the newest first, from `most` entries; and where to go on, or None.

    `connection` is wk_app's, inside a transaction under the tenant's context that was made ready by `search.PLANNED`.
    Raises EventRefused for an entry that is none.
    """
    subjects, records = sorted(patient.subjects), [str(record) for record in patient.records]
    rows = await connection.fetch(_NAMING, *span.arguments, subjects, records, most)
    found = [_read(row) for row in rows]
    parts = await _parts(connection, [one for one in found if one.event.parts is not None])
    told = [whole for one in found if (whole := _whole(one, parts, patient)) is not None]
    return told, found[-1].place if len(found) == most else None


def _read(row: Record) -> Naming:
    """Return what an entry tells; one that is not there, though somebody is said to be named in it, is none either."""
    try:
        entry = _decode(row["entry"] or b"")
    except msgspec.MsgspecError:  # which may quote a value
        raise refuse("entry") from None
    return Naming(Place(row["epoch"], row["seq"]), entry.time, parse(bytes(entry.event)).event)


async def _parts(connection: Connection, split: Sequence[Naming]) -> dict[Place, Event]:
    """Return the entries around each of `split` where its other parts were appended with it."""
    if not split:
        return {}
    spans = {(*_span(one), one.time) for one in split}
    rows = await connection.fetch(_PARTS, *(list(column) for column in zip(*spans, strict=True)))
    return {one.place: one.event for one in map(_read, rows)}


def _span(one: Naming) -> tuple[int, int, int]:
    part, parts = one.event.part or 1, min(one.event.parts or 1, _MOST_PARTS)
    first = one.place.seq - part + 1
    return one.place.epoch, first, first + parts - 1


def _whole(one: Naming, parts: dict[Place, Event], patient: Patient) -> Naming | None:
    """Return `one` with the lists of all its parts; None where an earlier part names the patient and stands for it."""
    if one.event.parts is None:
        return one
    epoch, first, last = _span(one)
    whole = [
        event
        for seq in range(first, last + 1)
        if (event := parts.get(Place(epoch, seq))) is not None and event.request == one.event.request
    ]
    if any(patient.is_named_by(event) for event in whole if (event.part or 1) < (one.event.part or 1)):
        return None
    joined = msgspec.structs.replace(
        one.event,
        fields=tuple(name for event in whole for name in event.fields),
        records=tuple(record for event in whole for record in event.records),
        subjects=tuple(subject for event in whole for subject in event.subjects),
    )
    return Naming(one.place, one.time, joined)
