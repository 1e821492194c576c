"""What a sink sends: an entry as it lies in the ledger, or that entries are missing; and both as one JSON object.

    {"entry":"<stored bytes>","leaf":"<hex>","log":"<origin>","prev":"<hex>","seq":n,"time":"…","type":"entry","v":1}
    {"from":n,"log":"<origin>","reason":"missing","time":"…","to":n,"type":"gap","v":1}

Rules: the stored bytes go out as they are, whatever is in them: a receiver hashes them (leaf = SHA-256(0x00 ‖ entry)),
and what somebody tampered with must look tampered with there, too. What is told beside them is taken from them only
where it has its form: no entry, whatever somebody made of it, is one that can't be sent.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from wellkeep.base.clock import iso
from wellkeep.ledger.sinks.desk import Row

_VERSION = 1
_LEAF = re.compile(r"[0-9a-f]{64}")
_DEEPEST = 32
"""So far may parts of an entry lie in each other; ours do so four deep, and what writes JSON ends at 254."""


class Why(StrEnum):
    """What a gap comes from."""

    MISSING = "missing"
    """The entries are not in the database: pruned, or gone."""
    REWOUND = "rewound"
    """What was sent is no longer what the log says; the log is sent again."""
    RESTORED = "restored"
    """The database was put back to an older state, and an operator accepted that."""


class Gap(NamedTuple):
    """Entries `first` to before `end` of a log that are not, or no longer, what the receiver can rely on having."""

    tenant: UUID
    epoch: int
    origin: str
    first: int
    end: int
    why: Why
    time: str

    def document(self) -> dict[str, Any]:
        """Return the gap as it is sent."""
        return {
            "type": "gap",
            "v": _VERSION,
            "log": self.origin,
            "from": self.first,
            "to": self.end,
            "reason": self.why.value,
            "time": self.time,
        }


class Entry(NamedTuple):
    """One entry of a log; `body` is what its bytes say, empty where they say nothing that can be read.

    `prev` is empty where they name no leaf.
    """

    tenant: UUID
    origin: str
    seq: int
    leaf: str
    prev: str
    time: str
    text: str
    body: dict[str, Any]

    @property
    def event(self) -> dict[str, Any]:
        """What happened, as the entry says it."""
        event = self.body.get("event")
        return event if isinstance(event, dict) else {}

    def document(self) -> dict[str, Any]:
        """Return the entry as it is sent."""
        return {
            "type": "entry",
            "v": _VERSION,
            "log": self.origin,
            "seq": self.seq,
            "prev": self.prev,
            "time": self.time,
            "leaf": self.leaf,
            "entry": self.text,
        }


Record = Entry | Gap


def entry_of(tenant: UUID, origin: str, row: Row) -> Entry:
    """Return the entry that a row of the ledger holds."""
    body = _read(row.entry)
    prev = body.get("prev")
    return Entry(
        tenant=tenant,
        origin=origin,
        seq=row.seq,
        leaf=row.leaf.hex(),
        prev=prev if isinstance(prev, str) and _LEAF.fullmatch(prev) else "",
        time=iso(row.time),
        text=row.entry.decode("utf-8", "backslashreplace"),
        body=body,
    )


def encode(record: Record) -> bytes:
    """Return a record as one line of JSON, without a line feed."""
    return orjson.dumps(record.document(), option=orjson.OPT_SORT_KEYS)


def _read(entry: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(entry)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) and _is_shallow(body, _DEEPEST) else {}


def _is_shallow(part: object, left: int) -> bool:
    """Say whether nothing lies more than `left` deep in `part`."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return left > 0 and all(_is_shallow(one, left - 1) for one in inner if isinstance(one, dict | list))
