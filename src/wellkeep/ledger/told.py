"""What entries tell about logs: opened, covered, pruned, restored; read from the entry, for verification to add up.

Rule: only what a walk has found good is read here, and read strictly: a key that says something about a log has its one
form or the entry is none of this format.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.ids import parse_uuid
from wellkeep.ledger.actions import Action

TELLING: Final = frozenset(
    {
        Action.LOG_OPENED.value,
        Action.LEDGER_COVERED.value,
        Action.LEDGER_PRUNED.value,
        Action.LEDGER_RESTORED.value,
    }
)
"""Actions whose entries say something about logs."""


class Span(NamedTuple):
    """Entries `first` to before `end` of the log of `tenant` in `epoch`, and a root of it."""

    tenant: UUID
    epoch: int
    first: int
    end: int
    digest: bytes


class Told(NamedTuple):
    """One such entry: where it stands, what it is, and what it says."""

    seq: int
    action: str
    id: UUID
    about: str
    span: tuple[int, int, int] | None
    digest: bytes
    counted: int | None
    time: datetime | None = None

    def lost_or_pruned(self) -> Span | None:
        """Return the span of a `ledger.pruned` or `ledger.restored`, None where it names none."""
        tenant = parse_uuid(self.about)
        if tenant is None or self.span is None or self.span[1] > self.span[2]:
            return None
        return Span(tenant, *self.span, self.digest)


class _Resource(msgspec.Struct, frozen=True):
    id: str = ""


class _Span(msgspec.Struct, frozen=True):
    epoch: int
    first: int = msgspec.field(name="from")
    end: int = msgspec.field(name="to")


class _Event(msgspec.Struct, frozen=True):
    id: UUID
    action: str
    resource: _Resource = _Resource()
    span: _Span | None = None
    digest: str = ""
    count: int | None = None


class _Entry(msgspec.Struct, frozen=True):
    event: _Event
    time: datetime | None = None


_decode = msgspec.json.Decoder(_Entry).decode


def told(seq: int, entry: bytes) -> Told:
    """Return what an entry tells; raises msgspec.MsgspecError where it is in no form of ours."""
    decoded = _decode(entry)
    event = decoded.event
    span = None if event.span is None else (event.span.epoch, event.span.first, event.span.end)
    try:
        digest = bytes.fromhex(event.digest)
    except ValueError:
        raise msgspec.ValidationError("not hex") from None
    return Told(seq, event.action, event.id, event.resource.id, span, digest, event.count, decoded.time)


def readable(rows: Iterable[Iterable[Any]]) -> list[Told]:
    """Return what entries (rows of seq, entry) tell that no walk has read yet; what is in no form tells nothing."""
    found = []
    for seq, entry in rows:
        with suppress(msgspec.MsgspecError):
            found.append(told(seq, entry))
    return found


def opened_id(log: UUID, origin: str) -> UUID:
    """Return the id of the entry in the log of tenant `log` that says that `origin` was opened (a UUIDv8, RFC 9562)."""
    named = f"wellkeep/ledger/opened\n{log}\n{origin}".encode("ascii")
    digest = int.from_bytes(sha256(named).digest()[:16], "big")
    return UUID(int=(digest & ~(0xF << 76) & ~(0b11 << 62)) | 0x8 << 76 | 0b10 << 62)
