"""Walking one log from its first entry to its head; pure, rows in and the first bad place out.

Rules: the content is read (a verifier that trusts stored hashes verifies nothing); what is hashed are the stored bytes
and never a second serialisation; each entry must name this log, the leaf before it, its own seq and a time that does
not run backwards; the search columns must say what the entry says; each seal must be ours and fit the tree at its size;
the last seal, the last entry and the head must be one. What the tree must agree with on the way is `growth`'s.

An entry's end is known before it is read: log, prev, seq and time are compared as one run of bytes. Of the event that
is parsed which the columns repeat. What is good is read in bulk; entries one by one only to say which is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from wellkeep.base.clock import iso
from wellkeep.base.ids import parse_uuid
from wellkeep.ledger.bulk import Bulk, Subjects, read
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.grammar import EventRefused
from wellkeep.ledger.growth import Claim, Growth, TileRow
from wellkeep.ledger.report import Bad, State, What
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.splice import Head
from wellkeep.ledger.told import TELLING, Told, told

_START = b'{"event":'


class _Actor(msgspec.Struct, frozen=True, gc=False):
    id: str


class _Resource(msgspec.Struct, frozen=True, gc=False):
    type: str | None = None
    id: str | None = None


class _Event(msgspec.Struct, frozen=True, gc=False):
    id: str
    action: str
    actor: _Actor
    outcome: str
    request: str
    purpose: str | None = None
    resource: _Resource = _Resource()
    subject: str | None = None
    subjects: tuple[str, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    log: str
    prev: str
    seq: int
    time: str


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode


class _Found(Exception):  # not an error: the answer
    def __init__(self, seq: int, what: What) -> None:
        super().__init__()
        self.seq = seq
        self.what = what


class LogWalk:
    """One log, fed in order: `bulk` or `entries` (or `leaves`, whose content is not read again), then `finish`."""

    def __init__(
        self,
        head: Head,
        *,
        keys: Mapping[str, SealKey] | None,
        signers: Sequence[CheckpointSigner] | None = None,
        start: State | None = None,
        ids: set[int] | None = None,
    ) -> None:
        """Take the stored head, the seal keys by their ids, and the keys that sign checkpoints.

        Without `keys` no MAC is checked, without `signers` no signature. With `start` the walk goes on from there.
        `ids` collects event ids, where nothing else sees that none stands twice.
        """
        self.head = head
        self.growth = Growth(head.origin, keys=keys, signers=signers, start=start)
        self._ids = ids
        self._time = None if start is None else start.time
        self._time_text = b"" if self._time is None else iso(self._time).encode("ascii")
        self.bad: Bad | None = None
        self.told: list[Told] = []
        self.further_subjects: set[tuple[int, str]] = set()

    @property
    def size(self) -> int:
        """How far the walk is."""
        return self.growth.size

    @property
    def seals(self) -> int:
        """How many seals held."""
        return self.growth.seals

    @property
    def state(self) -> State:
        """Where the walk is, for another to go on from."""
        return State(self.size, tuple(self.growth.frontier.hashes), self.growth.leaf, self._time)

    def expect(self, seals: Iterable[Seal] = (), claims: Iterable[Claim] = (), tiles: Iterable[TileRow] = ()) -> None:
        """Take what is said of sizes that the walk has not reached, before the entries there are fed."""
        self.growth.expect(seals, claims, tiles)

    def leaves(self, rows: Iterable[Iterable[Any]]) -> None:
        """Take entries whose content is not read again: rows of seq, leaf. The seals vouch for the leaves."""
        taken = [(seq, leaf) for seq, leaf in rows]
        leaves = [leaf for _, leaf in taken]
        in_order = [seq for seq, _ in taken] == list(range(self.size, self.size + len(taken)))
        if in_order and (not leaves or self.growth.grow(leaves) is None):
            return
        # Something does not fit, so one of them does not: what came before it is taken.
        self._note(next(found for each in taken if (found := self._misplaced(*each)) is not None))

    def bulk(self, bulk: Bulk) -> bool:
        """Take a chunk of entries where all of it holds, its seals too; otherwise say so and stay where the walk is."""
        if not bulk.seqs:
            return True
        found = read(bulk, origin=self.head.origin, size=self.size, leaf=self.growth.leaf, time=self._time)
        if found is None or self.growth.grow(found.leaves) is not None:
            return False
        self._time = found.time
        self._time_text = iso(found.time).encode("ascii")
        self.further_subjects |= found.further
        self.told += found.told
        return True

    def entries(self, rows: Iterable[Iterable[Any]]) -> None:
        """Take entries: rows of seq, leaf, entry, time, then the columns in the order of `_columns`."""
        try:
            self._entries(rows)
        except _Found as found:
            self._note(found)

    def finish(self) -> Bad | None:
        """Compare the end with the head and return the first bad place, or None."""
        if self.bad is None:
            head, growth = self.head, self.growth
            if growth.unmet:
                self._note(_Found(self.size, What.SEQ))
            elif growth.sealed != self.size:
                self._note(_Found(growth.sealed, What.UNSEALED))
            elif (head.size, head.leaf, list(head.frontier)) != (self.size, growth.leaf, growth.frontier.hashes) or (
                self._time is not None and head.time != self._time
            ):
                self._note(_Found(self.size, What.HEAD))
        return self.bad

    def _entries(self, rows: Iterable[Iterable[Any]]) -> None:
        tail = b',"log":"%b","prev":"%%b","seq":%%d,"time":"%%b","v":1}' % self.head.origin.encode("ascii")
        for seq, leaf, entry, time, *columns in rows:
            self._expect_seq(seq)
            if None in (entry, time) or sha256(b"\x00" + entry).digest() != leaf:
                raise _Found(seq, What.CONTENT)
            if time != self._time:
                self._advance(seq, time)
            end = tail % (self.growth.leaf.hex().encode("ascii"), seq, self._time_text)
            if not (entry.startswith(_START) and entry.endswith(end)):
                raise _Found(seq, self._misfit(entry, seq))
            self._compare(seq, entry, entry[len(_START) : -len(end)], columns)
            self._add(leaf)

    def _compare(self, seq: int, entry: bytes, encoded: bytes, columns: list[str | None]) -> None:
        """Compare the columns, where there are any, with the event, by reading it."""
        try:
            event = _decode_event(encoded)
            telling = told(seq, entry) if event.action in TELLING else None
        except msgspec.MsgspecError:
            raise _Found(seq, What.FORM) from None
        if columns and columns != _columns(event):
            raise _Found(seq, What.COLUMNS)
        if self._ids is not None:
            self._once(seq, event.id, self._ids)
        if event.subjects:
            self._further(seq, event)
        if telling is not None:
            self.told.append(telling)

    @staticmethod
    def _once(seq: int, event_id: str, ids: set[int]) -> None:
        found = parse_uuid(event_id)
        if found is None:
            raise _Found(seq, What.FORM)
        if found.int in ids:
            raise _Found(seq, What.EVENT_ID)
        ids.add(found.int)

    def _misplaced(self, seq: int, leaf: bytes) -> _Found | None:
        """Take one entry by its leaf, or return what is wrong with it."""
        try:
            self._expect_seq(seq)
            self._add(leaf)
        except _Found as found:
            return found
        return None

    def _expect_seq(self, seq: int) -> None:
        if seq != self.size:
            raise _Found(self.size, What.SEQ)

    def _add(self, leaf: bytes) -> None:
        misfit = self.growth.grow([leaf])
        if misfit is not None:
            raise _Found(*misfit)

    def _advance(self, seq: int, time: datetime) -> None:
        if self._time is not None and time < self._time:
            raise _Found(seq, What.TIME)
        self._time = time
        self._time_text = iso(time).encode("ascii")

    def _misfit(self, entry: bytes, seq: int) -> What:
        """Say which of log, prev, seq and time is not as it must be."""
        try:
            found = _decode_entry(entry)
        except msgspec.MsgspecError:
            return What.FORM
        if found.log != self.head.origin:
            return What.LOG
        if found.seq != seq:
            return What.SEQ
        if found.prev != self.growth.leaf.hex():
            return What.CHAIN
        return What.TIME if found.time.encode() != self._time_text else What.FORM

    def _further(self, seq: int, event: _Event) -> None:
        try:
            self.further_subjects |= Subjects(seq, event.subject or "", event.subjects).further()
        except EventRefused:
            raise _Found(seq, What.FORM) from None

    def refuse(self, seq: int, what: What) -> None:
        """Note what whoever feeds the walk has found, unless something came before it."""
        self._note(_Found(seq, what))

    def _note(self, found: _Found) -> None:
        if self.bad is None:
            self.bad = Bad(self.head.origin, found.seq, found.what)


def _columns(event: _Event) -> list[str | None]:
    """Return what the search columns must say, as text."""
    resource = event.resource
    return [
        event.id,
        event.actor.id,
        event.action,
        event.purpose,
        resource.type,
        resource.id,
        event.subject,
        event.outcome,
        event.request,
    ]
