"""Records and due logs as the streams meet them, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson

from ledger.making import HOST, event
from wellkeep.ledger.seal import origin
from wellkeep.ledger.sinks.desk import Due, Row
from wellkeep.ledger.sinks.records import Entry, Gap, Why, entry_of

TENANT = UUID("0198d7b2-0000-7000-8000-000000000001")
LOG = origin(HOST, TENANT, 1)
TIME = "2026-05-03T14:02:00.123456Z"
AT = datetime(2026, 5, 3, 14, 2, 0, 123456, UTC)


def gap(first: int = 0) -> Gap:
    return Gap(TENANT, 1, LOG, first, first + 1, Why.MISSING, TIME)


def row(seq: int, *, body: dict[str, Any] | None = None, raw: bytes | None = None, **changes: Any) -> Row:
    """Return an entry's row; `body` is its event, `raw` the bytes themselves."""
    told = orjson.loads(event(**changes).encode()) if body is None else body
    entry = {"event": told, "log": LOG, "prev": "0" * 64, "seq": seq, "time": TIME, "v": 1}
    stored = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS) if raw is None else raw
    return Row(seq, AT, sha256(b"\0" + stored).digest(), stored)


def entry(seq: int = 0, **changes: Any) -> Entry:
    return entry_of(TENANT, LOG, row(seq, **changes))


def due(*, size: int, seq: int = 0, **changes: Any) -> Due:
    """Return a log of `size` entries, of which a sink was given `seq`."""
    plain = Due(TENANT, 1, LOG, size, b"h" * 32, AT, 0, seq, b"c" * 32 if seq else None, AT if seq else None, None)
    return plain._replace(**changes)
