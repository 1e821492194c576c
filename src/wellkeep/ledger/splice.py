"""Splicing: which bytes an event becomes at the end of a log. Pure: heads and events in, rows out.

Rules: an entry names the leaf before it, so the chain and the Merkle leaf are one hash; seq is the leaf's index; the
time is the batch's, and never before the head's; a tenant's first entry opens its log, and the root log says so in the
same batch; each batch ends in one seal per log. The threats are a fork (two entries on one head: the database compares
the head that was spliced onto) and a clock that jumps: more than five minutes behind the head is refused, never
clamped. Clocks of several writers differ by less, and there the head's time stands.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.clock import iso
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.merkle import Frontier
from wellkeep.ledger.actions import Action
from wellkeep.ledger.event import PreparedEvent, prepare, system_event
from wellkeep.ledger.seal import SealKey, origin
from wellkeep.ledger.told import opened_id

NO_LEAF = bytes(32)
"""What the first entry of a log names as the leaf before it."""

_LEAF_BEGUN = sha256(b"\x00")

TOLERANCE = timedelta(minutes=5)
"""How far a clock may be behind a head, or off the database's, before the ledger refuses."""


class Head(NamedTuple):
    """Where a log ends: `size` entries, the last one's leaf and time, and the Merkle frontier."""

    tenant: UUID
    epoch: int
    origin: str
    size: int
    leaf: bytes
    time: datetime
    frontier: tuple[bytes, ...]


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands in the ledger."""

    tenant: UUID
    epoch: int
    seq: int
    leaf: bytes


Place = tuple[int, int]
"""A tenant and an event id, what an event is found by; as integers, because a UUID's own hash is slow Python."""


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into the log of `tenant`; `outbox` where a row there waits to be chained."""

    tenant: UUID
    prepared: PreparedEvent
    outbox: bool

    @property
    def place(self) -> Place:
        """Return what the event is found by."""
        return self.tenant.int, self.prepared.event.id.int


@dataclass(frozen=True, slots=True)
class Spliced:
    """A batch ready for `ledger.append_batch`: the rows of its four arguments, the new heads and every event's place.

    `refused` are the tenants whose head is more than five minutes ahead of the clock, with the seconds; nothing of
    theirs is in the rows.
    """

    steps: list[tuple[Any, ...]]
    entries: list[tuple[Any, ...]]
    subjects: list[tuple[Any, ...]]
    outboxed: list[tuple[UUID, UUID]]
    heads: dict[UUID, Head]
    places: dict[Place, Appended]
    refused: dict[UUID, int]


class Splicer:
    """Splices batches for one deployment: the `host` that its logs are named after, and the key that seals them."""

    def __init__(self, *, host: str, seal_key: SealKey) -> None:
        """Take the names and the key; raises Misconfigured where `host` is no DNS name."""
        origin(host, PLATFORM_TENANT, 1)
        self._host = host
        self._seal_key = seal_key

    def splice(self, heads: Mapping[UUID, Head], batch: Sequence[Submitted], *, now: datetime) -> Spliced:
        """Splice `batch` onto `heads`; a tenant without a head gets a new log, and the root an entry that says so.

        `heads` must hold the platform's head wherever it exists. An event id may occur once for each tenant.
        """
        logs = self._by_log(heads, batch)
        written = iso(now).encode("ascii")
        result = Spliced([], [], [], [], {}, {}, {})
        for tenant in sorted(logs, key=lambda each: each.int):
            head = heads.get(tenant) or self.unopened(tenant, now)
            if head.time - now > TOLERANCE:
                result.refused[tenant] = int((head.time - now).total_seconds())
            elif head.size == 0 and PLATFORM_TENANT in result.refused:
                result.refused[tenant] = result.refused[PLATFORM_TENANT]
            else:
                time, text = (now, written) if head.time <= now else (head.time, iso(head.time).encode("ascii"))
                self._extend(head, logs[tenant], time, text, result)
        return result

    def _by_log(self, heads: Mapping[UUID, Head], batch: Sequence[Submitted]) -> dict[UUID, list[Submitted]]:
        by_number: dict[int, list[Submitted]] = {}  # a UUID's own hash is slow Python
        for submitted in batch:
            number = submitted.tenant.int
            if number in by_number:
                by_number[number].append(submitted)
            else:
                by_number[number] = [submitted]
        logs = {events[0].tenant: events for events in by_number.values()}
        opening = {tenant: _epoch_to_open(heads, tenant) for tenant in logs}
        if not any(opening.values()):
            return logs
        root = _epoch_to_open(heads, PLATFORM_TENANT)
        announced = [
            self._opened(PLATFORM_TENANT, tenant, epoch)
            for tenant, epoch in opening.items()
            if epoch and tenant != PLATFORM_TENANT
        ]
        if root:
            announced.insert(0, self._opened(PLATFORM_TENANT, PLATFORM_TENANT, root))
        logs[PLATFORM_TENANT] = announced + logs.get(PLATFORM_TENANT, [])
        for tenant, epoch in opening.items():
            if epoch and tenant != PLATFORM_TENANT:
                logs[tenant].insert(0, self._opened(tenant, tenant, epoch))
        return logs

    def announcement(self, tenant: UUID) -> Place:
        """Return what the root log's entry that the log of `tenant` was opened is found by."""
        return self._opened(PLATFORM_TENANT, tenant, 1).place

    def unopened(self, tenant: UUID, now: datetime, epoch: int = 1) -> Head:
        """Return the head of a log that has no entry yet: with it, the first one opens the log of that epoch."""
        return Head(tenant, epoch, origin(self._host, tenant, epoch), 0, NO_LEAF, now, ())

    def _opened(self, log: UUID, about: UUID, epoch: int) -> Submitted:
        """Return the event in `log` that the log of `about` was opened; its id follows from both and the epoch."""
        event = system_event(
            opened_id(log, origin(self._host, about, epoch)),
            Action.LOG_OPENED,
            actor="ledger",
            resource_type="log",
            resource_id=str(about),
            span=(epoch, 0, 0) if epoch > 1 else None,
        )
        return Submitted(log, prepare(event), outbox=False)

    def _extend(self, head: Head, batch: Sequence[Submitted], time: datetime, text: bytes, result: Spliced) -> None:
        """Splice `batch` onto `head` at `time`, which is written `text`."""
        tenant, epoch, name, seq, leaf = head.tenant, head.epoch, head.origin, head.size, head.leaf
        middle = b',"log":"%b","prev":"' % name.encode("ascii")
        end = b',"time":"%b","v":1}' % text
        number, step = tenant.int, len(result.steps) + 1
        entries, places, leaves = result.entries, result.places, []
        for submitted in batch:
            event, encoded = submitted.prepared
            entry = b"".join((b'{"event":', encoded, middle, hexlify(leaf), b'","seq":%d' % seq, end))
            hashing = _LEAF_BEGUN.copy()
            hashing.update(entry)
            leaf = hashing.digest()
            leaves.append(leaf)
            event_id = event.id
            entries.append(
                (
                    step,
                    seq,
                    event_id,
                    event.actor_id,
                    event.action,
                    event.purpose,
                    event.resource_type,
                    event.resource_id,
                    event.subject,
                    event.outcome,
                    event.request,
                    leaf,
                    entry,
                )
            )
            places[number, event_id.int] = Appended(tenant, epoch, seq, leaf)
            if event.subjects or submitted.outbox:
                self._beside(submitted, epoch, seq, time, result)
            seq += 1
        self._step(head, Head(tenant, epoch, name, seq, leaf, time, ()), leaves, result)

    def _beside(self, submitted: Submitted, epoch: int, seq: int, time: datetime, result: Spliced) -> None:
        """Put down what an entry takes beside its own row: further subjects, and the outbox row that it came from."""
        tenant, prepared = submitted.tenant, submitted.prepared
        others = prepared.named_subjects() - {prepared.event.subject}
        result.subjects.extend((tenant, other, epoch, seq, time) for other in others)
        if submitted.outbox:
            result.outboxed.append((tenant, prepared.event.id))

    def _step(self, old: Head, new: Head, leaves: list[bytes], result: Spliced) -> None:
        """Seal the log where `leaves` have brought it, and put down its way there."""
        frontier = Frontier(size=old.size, hashes=old.frontier)
        frontier.extend(leaves)
        root = frontier.root()
        mac = self._seal_key.mac(origin=new.origin, size=new.size, leaf=new.leaf, root=root)
        result.heads[new.tenant] = new._replace(frontier=tuple(frontier.hashes))
        result.steps.append(
            (
                new.tenant,
                new.epoch,
                new.origin,
                old.size,
                old.leaf,
                new.size,
                new.leaf,
                new.time,
                list(frontier.hashes),
                self._seal_key.key_id,
                root,
                mac,
            )
        )


def _epoch_to_open(heads: Mapping[UUID, Head], tenant: UUID) -> int:
    """Return which epoch of a tenant's log the next entry opens; 0 where the log is open."""
    head = heads.get(tenant)
    if head is None:
        return 1
    return 0 if head.size else head.epoch
