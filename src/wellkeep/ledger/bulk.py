"""Reading many entries of a log at once; pure, a chunk of columns in, and whether all of it holds.

Rules: the same as `walk` has for one entry at a time, and not one fewer. What does not hold here is not judged here:
the walk then reads the same entries one by one and says which is wrong. So this side may refuse what is good, and must
never pass what is bad.

The columns come joined. Each row has the same number of separators, and the nulls are counted apart: a column that
holds a separator, or the mark that stands for null, makes one too many, so no two sets of rows read the same. An event
can hold neither: JSON escapes them, no entry of ours has an escape, and a chunk with one is left to the walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import repeat
from struct import error as StructError  # noqa: N812  # a class by its name
from struct import pack, unpack
from typing import Final, NamedTuple

import msgspec

from wellkeep.base.clock import iso
from wellkeep.db.composites import BEGINNING
from wellkeep.ledger.grammar import EventRefused, unpack_id
from wellkeep.ledger.told import TELLING, Told, told

SEPARATOR: Final = "\x1f"
NULL: Final = "\x1e"
"""What stands between columns, and for a column that is null."""

_START = b'\x00{"event":'
_SECOND: Final = 1_000_000
"""In the microseconds that PostgreSQL counts."""


class Bulk(NamedTuple):
    """A chunk of entries in the order of their seqs, each column as one value.

    `entries` are joined by a zero byte; `seqs` (int8), `lengths` (int4) and `times` (int8, microseconds since 2000) are
    big-endian as PostgreSQL sends them; `columns` are the search columns in the order of `walk`, nine a row, and
    `nulls` how many of them are null. All are None where there is no entry.
    """

    seqs: bytes | None
    lengths: bytes | None
    entries: bytes | None
    leaves: bytes | None
    times: bytes | None
    nulls: int | None
    columns: str | None


class Subjects(NamedTuple):
    """The patients whom an entry names in its list: its seq, the one in the column, and the list as written."""

    seq: int
    single: str
    listed: tuple[str, ...]

    def further(self) -> set[tuple[int, str]]:
        """Return seq and id of each patient who is not in the column; raises EventRefused."""
        named = {str(unpack_id("subjects", text)) for text in self.listed}
        return {(self.seq, subject) for subject in named - {self.single}}


@dataclass(frozen=True, slots=True)
class Read:
    """What a chunk holds: its leaves, the last time, further subjects, and what its entries tell of logs."""

    leaves: list[bytes]
    time: datetime
    further: set[tuple[int, str]]
    told: list[Told]


class _Actor(msgspec.Struct, frozen=True, gc=False):
    id: str


class _Resource(msgspec.Struct, frozen=True, gc=False):
    type: str = NULL
    id: str = NULL


_NOTHING = _Resource()


class _Event(msgspec.Struct, frozen=True, gc=False):
    id: str
    action: str
    actor: _Actor
    outcome: str
    request: str
    purpose: str = NULL
    resource: _Resource = _NOTHING
    subject: str = NULL
    subjects: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Event).decode


def read(bulk: Bulk, *, origin: str, size: int, leaf: bytes, time: datetime | None) -> Read | None:
    """Return what `bulk` holds where it goes on at `size` entries after `leaf` and `time`; None where anything differs.

    Checked are seqs, leaves, log, prev, seq and time in each entry, that time does not run backwards, and the columns.
    """
    try:
        count = len(bulk.seqs or b"") // 8
        if b"\\" in (bulk.entries or b"") or pack(f">{count}q", *range(size, size + count)) != bulk.seqs:
            return None
        raws = _split(bulk.entries or b"", unpack(f">{count}i", bulk.lengths or b""))
        leaves = [sha256(raw).digest() for raw in raws]
        if b"".join(leaves) != bulk.leaves:
            return None
        ends, last = _times(unpack(f">{count}q", bulk.times or b""), time)
        events = _events(raws, [leaf, *leaves], ends, origin=origin, size=size)
        return _noted(events, raws, bulk, Read(leaves, last, set(), []), size)
    except (_DiffersError, msgspec.MsgspecError, EventRefused, OverflowError, StructError):
        return None


class _DiffersError(Exception):
    """Something is not as it must be; the walk will say what."""


def _split(entries: bytes, lengths: tuple[int, ...]) -> list[bytes]:
    """Return each entry behind a zero byte, which is what a leaf hashes."""
    blob, start, raws = b"\x00" + entries, 0, []
    for length in lengths:
        stop = start + length + 1
        raws.append(blob[start:stop])
        start = stop
    return raws


def _times(times: tuple[int, ...], before: datetime | None) -> tuple[list[str], datetime]:
    """Return how each entry must end, by its time, and the last time; raises where they run backwards."""
    if list(times) != sorted(times) or (before is not None and _moment(times[0]) < before):
        raise _DiffersError
    ends: list[str] = []
    written: int | None = None
    second: int | None = None
    for time in times:
        if time != written:
            written, (whole, part) = time, divmod(time, _SECOND)
            if whole != second:
                second, text = whole, iso(_moment(whole * _SECOND)).removesuffix("000000Z")
            end = f',"time":"{text}{part:06d}Z","v":1}}'
        ends.append(end)
    return ends, _moment(times[-1])


def _moment(time: int) -> datetime:
    return BEGINNING + timedelta(microseconds=time)


def _events(raws: list[bytes], prevs: list[bytes], ends: list[str], *, origin: str, size: int) -> list[_Event]:
    """Return the events, each of an entry that names its log, the leaf before it, its seq and its time."""
    named = enumerate(zip(prevs, ends, strict=False), start=size)
    tails = [f',"log":"{origin}","prev":"{prev.hex()}","seq":{seq}{end}'.encode("ascii") for seq, (prev, end) in named]
    if not (all(map(bytes.endswith, raws, tails)) and all(map(bytes.startswith, raws, repeat(_START)))):
        raise _DiffersError
    begin = len(_START)
    return [_decode(raw[begin : -len(tail)]) for raw, tail in zip(raws, tails, strict=True)]


def _noted(events: list[_Event], raws: list[bytes], bulk: Bulk, result: Read, size: int) -> Read:
    """Compare the columns with the events, and note the further subjects and what they tell of logs."""
    rows = []
    for seq, event in enumerate(events, start=size):
        resource, subject = event.resource, event.subject
        rows.append(
            f"{event.id}\x1f{event.actor.id}\x1f{event.action}\x1f{event.purpose}\x1f{resource.type}\x1f{resource.id}"
            f"\x1f{subject}\x1f{event.outcome}\x1f{event.request}"
        )
        if event.subjects:
            result.further.update(Subjects(seq, subject, event.subjects).further())
        if event.action in TELLING:
            result.told.append(told(seq, raws[seq - size][1:]))
    columns = SEPARATOR.join(rows)
    if columns != bulk.columns or columns.count(NULL) != bulk.nulls:
        raise _DiffersError
    return result
