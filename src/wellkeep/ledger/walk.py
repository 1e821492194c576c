"""Walking one log from its first entry to its head; pure, rows in and the first bad place out.

Rules: the content is read (a verifier that trusts stored hashes verifies nothing); what is hashed are the stored bytes
and never a second serialisation; each entry must name this log, the leaf before it, its own seq and a time that does
not run backwards; the search columns must say what the entry says; each seal must be ours and fit the tree at its size;
the last seal, the last entry and the head must be one.

An entry's end is known before it is read: log, prev, seq and time are compared as one run of bytes. Of the event that
is parsed which the columns repeat. What is good is read in bulk; entries one by one only to say which is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from wellkeep.base.clock import iso
from wellkeep.crypto.merkle import Frontier
from wellkeep.ledger.bulk import Bulk, Subjects, read
from wellkeep.ledger.event import Action
from wellkeep.ledger.grammar import EventRefused
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.splice import NO_LEAF, Head

_START = b'{"event":'
_OPENED = Action.LOG_OPENED.value


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

    def __init__(self, head: Head, *, keys: Mapping[str, SealKey]) -> None:
        """Take the stored head and the seal keys by their ids."""
        self._head = head
        self._keys = keys
        self._frontier = Frontier()
        self._leaf = NO_LEAF
        self._time: datetime | None = None
        self._time_text = b""
        self._sealed = 0
        self._seals: list[Seal] = []
        self.size = 0
        self.bad: Bad | None = None
        self.seals = 0
        self.announced: dict[str, int] = {}
        self.further_subjects: set[tuple[int, str]] = set()

    def expect(self, seals: Iterable[Seal]) -> None:
        """Take further seals, in the order of their sizes, before the entries that they cover are fed."""
        self._seals.extend(seals)
        self._seals.sort(reverse=True)

    def leaves(self, rows: Iterable[Iterable[Any]]) -> None:
        """Take entries whose content is not read again: rows of seq, leaf. The seals vouch for the leaves."""
        try:
            for seq, leaf in rows:
                self._expect_seq(seq)
                self._add(leaf)
        except _Found as found:
            self._note(found)

    def bulk(self, bulk: Bulk) -> bool:
        """Take a chunk of entries where all of it holds, its seals too; otherwise say so and stay where the walk is."""
        if not bulk.seqs:
            return True
        found = read(bulk, origin=self._head.origin, size=self.size, leaf=self._leaf, time=self._time)
        if found is None or not self._sealed_in_bulk(found.leaves):
            return False
        self._leaf, self._time = found.leaves[-1], found.time
        self._time_text = iso(found.time).encode("ascii")
        self.size += len(found.leaves)
        self.further_subjects |= found.further
        self.announced |= found.announced
        return True

    def _sealed_in_bulk(self, leaves: list[bytes]) -> bool:
        """Grow the tree by `leaves` where each seal within them holds; otherwise leave it as it is."""
        frontier = Frontier(size=self.size, hashes=self._frontier.hashes)
        done, reach = 0, self.size + len(leaves)
        due = [seal for seal in reversed(self._seals) if seal.size <= reach]
        for seal in due:
            upto = seal.size - self.size
            if upto <= done:
                return False
            frontier.extend(leaves[done:upto])
            if not self._holds(seal, leaves[upto - 1], frontier):
                return False
            done = upto
        frontier.extend(leaves[done:])
        self._frontier = frontier
        if due:
            del self._seals[-len(due) :]
            self._sealed = due[-1].size
            self.seals += len(due)
        return True

    def _holds(self, seal: Seal, leaf: bytes, frontier: Frontier) -> bool:
        fits = (seal.size, seal.leaf, seal.root) == (frontier.size, leaf, frontier.root())
        return fits and seal.holds(origin=self._head.origin, keys=self._keys)

    def entries(self, rows: Iterable[Iterable[Any]]) -> None:
        """Take entries: rows of seq, leaf, entry, time, then the columns in the order of `_columns`."""
        try:
            self._entries(rows)
        except _Found as found:
            self._note(found)

    def finish(self) -> Bad | None:
        """Compare the end with the head and return the first bad place, or None."""
        if self.bad is None:
            head = self._head
            if self._seals:
                self._note(_Found(self.size, What.SEQ))
            elif self._sealed != self.size:
                self._note(_Found(self._sealed, What.UNSEALED))
            elif (head.size, head.leaf, list(head.frontier)) != (self.size, self._leaf, self._frontier.hashes) or (
                self._time is not None and head.time != self._time
            ):
                self._note(_Found(self.size, What.HEAD))
        return self.bad

    def _entries(self, rows: Iterable[Iterable[Any]]) -> None:
        tail = b',"log":"%b","prev":"%%b","seq":%%d,"time":"%%b","v":1}' % self._head.origin.encode("ascii")
        for seq, leaf, entry, time, *columns in rows:
            if seq != self.size:
                raise _Found(self.size, What.SEQ)
            if None in (entry, time) or sha256(b"\x00" + entry).digest() != leaf:
                raise _Found(seq, What.CONTENT)
            if time != self._time:
                self._advance(seq, time)
            end = tail % (self._leaf.hex().encode("ascii"), seq, self._time_text)
            if not (entry.startswith(_START) and entry.endswith(end)):
                raise _Found(seq, self._misfit(entry, seq))
            self._compare(seq, entry[len(_START) : -len(end)], columns)
            self._add(leaf)

    def _compare(self, seq: int, encoded: bytes, columns: list[str | None]) -> None:
        """Compare the columns with the event, by reading it."""
        try:
            event = _decode_event(encoded)
        except msgspec.MsgspecError:
            raise _Found(seq, What.FORM) from None
        if columns != _columns(event):
            raise _Found(seq, What.COLUMNS)
        if event.subjects:
            self._further(seq, event)
        if event.action == _OPENED:
            self.announced[event.resource.id or ""] = seq

    def _expect_seq(self, seq: int) -> None:
        if seq != self.size:
            raise _Found(self.size, What.SEQ)

    def _add(self, leaf: bytes) -> None:
        self._frontier.append(leaf)
        self._leaf = leaf
        self.size += 1
        if self._seals and self._seals[-1].size <= self.size:
            self._check_seal(self._seals.pop())

    def _check_seal(self, seal: Seal) -> None:
        if not self._holds(seal, self._leaf, self._frontier):
            raise _Found(self._sealed, What.SEAL)
        self._sealed = self.size
        self.seals += 1

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
        if found.log != self._head.origin:
            return What.LOG
        if found.seq != seq:
            return What.SEQ
        if found.prev != self._leaf.hex():
            return What.CHAIN
        return What.TIME if found.time.encode() != self._time_text else What.FORM

    def _further(self, seq: int, event: _Event) -> None:
        try:
            self.further_subjects |= Subjects(seq, event.subject or "", event.subjects).further()
        except EventRefused:
            raise _Found(seq, What.FORM) from None

    def _note(self, found: _Found) -> None:
        if self.bad is None:
            self.bad = Bad(self._head.origin, found.seq, found.what)


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
