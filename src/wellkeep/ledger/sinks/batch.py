"""What goes out next: from the logs that are due and the entries that were found, records and the cursors' ways.

Rules: a log's entries stand in its order; where entries are not there, a gap stands in their place and the cursor goes
past them; a log that is no more what the cursor saw is sent again from where the sink began. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wellkeep.ledger.actions import Action
from wellkeep.ledger.seal import origin
from wellkeep.ledger.sinks.desk import Due, Move, Row
from wellkeep.ledger.sinks.records import Entry, Gap, Record, Why, entry_of

_RESTORED = f'"action":"{Action.LEDGER_RESTORED.value}"'.encode("ascii")


class Batch(NamedTuple):
    """Records to be sent in this order, and how the cursors move once they have arrived."""

    records: list[Record]
    moves: list[Move]

    @property
    def gaps(self) -> list[Gap]:
        """What is missing in it."""
        return [record for record in self.records if isinstance(record, Gap)]


def is_rewound(log: Due) -> bool:
    """Say whether the log is another one than the cursor saw: gone, shorter, or with another leaf before the cursor.

    The leaf is compared with that of the stored entry, which the cursor was taken from, and not with the head's: a head
    that disagrees with its entries is tampering, and must not have the log sent again and again.
    """
    return log.size < log.seq or (None not in (log.found, log.leaf) and log.found != log.leaf)


def plan(logs: Sequence[Due], entries: Sequence[Sequence[Row]], *, time: str, most: int) -> Batch:
    """Return the next batch, of about `most` bytes of entries and one at least; `time` is when gaps were noticed."""
    batch, left = Batch([], []), most
    for log, rows in zip(logs, entries, strict=True):
        if batch.records and left <= 0:
            break
        if is_rewound(log):
            _rewind(batch, log, time)
        elif rows:
            left = _send(batch, log, rows, time, left)
        elif log.seq < log.size:
            batch.records.append(_gap(log, log.seq, log.size, Why.MISSING, time))
            end = (log.first, log.size, log.head_leaf, log.head_time)
            batch.moves.append(Move(log.tenant, log.epoch, log.origin, log.seq, *end))
    return batch


def _rewind(batch: Batch, log: Due, time: str) -> None:
    """Say that what was sent no longer holds, and begin again; a log that is gone is forgotten."""
    start = min(log.first, log.size)
    begin = log.size if log.size < log.seq else start
    batch.records.append(_gap(log, begin, log.seq, Why.REWOUND, time))
    first = None if log.head_leaf is None else start
    batch.moves.append(Move(log.tenant, log.epoch, log.origin, log.seq, first, start, None, None))


def _send(batch: Batch, log: Due, rows: Sequence[Row], time: str, left: int) -> int:
    """Add entries up to `left` bytes, the first in any case where nothing else is sent; return what is left then."""
    expected, last = log.seq, None
    for row in rows:
        if batch.records and left < len(row.entry):
            left = 0
            break
        left -= len(row.entry)
        if row.seq != expected:
            batch.records.append(_gap(log, expected, row.seq, Why.MISSING, time))
        entry = entry_of(log.tenant, log.origin, row)
        if _RESTORED in row.entry:
            batch.records.extend(_lost(entry, time))
        batch.records.append(entry)
        expected, last = row.seq + 1, row
    if last is not None:
        batch.moves.append(Move(log.tenant, log.epoch, log.origin, log.seq, log.first, expected, last.leaf, last.time))
    return left


def _lost(entry: Entry, time: str) -> list[Gap]:
    """Return what a restore lost of this very log's earlier epoch, as its entry says."""
    resource, span = entry.event.get("resource"), entry.event.get("span")
    match resource, span:
        case {"id": about}, {"epoch": int(epoch), "from": int(first), "to": int(end)}:
            if about != str(entry.tenant) or first >= end or epoch < 1:
                return []
            name = origin(entry.origin.partition("/")[0], entry.tenant, epoch)
            return [Gap(entry.tenant, epoch, name, first, end, Why.RESTORED, time)]
        case _:
            return []


def _gap(log: Due, first: int, end: int, why: Why, time: str) -> Gap:
    return Gap(log.tenant, log.epoch, log.origin, first, end, why, time)
