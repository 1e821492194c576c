"""Bytes that no writer made, whose leaves are right all the same: said for what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from ledger.making import HOST, KEYS, SEAL_KEY, prepared
from wellkeep.base.clock import iso
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import origin
from wellkeep.ledger.splice import Splicer, Submitted
from wellkeep.ledger.walk import LogWalk

NOW = datetime(2026, 5, 4, tzinfo=UTC)
LOG = origin(HOST, PLATFORM_TENANT, 1)
HEAD = (
    Splicer(host=HOST, seal_key=SEAL_KEY)
    .splice({}, [Submitted(PLATFORM_TENANT, prepared()[0], outbox=False)], now=NOW)
    .heads[PLATFORM_TENANT]
)
TAIL = f',"log":"{LOG}","prev":"{"0" * 64}","seq":0,"time":"{iso(NOW)}","v":1}}'
NO_COLUMNS: list[Any] = ["i", "a", "record.read", None, None, None, None, "done", "r"]


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("no entry at all", What.FORM),
        ('{"event":{]' + TAIL, What.FORM),
        ('{"event":{}' + TAIL.replace("0" * 64, "1" * 64), What.CHAIN),
        ('{"event":{}' + TAIL.replace('"v":1', '"v":2'), What.FORM),
        ('{"event":{}' + TAIL.replace(iso(NOW)[:4], "2025"), What.TIME),
        (
            '{"event":{"action":"record.read","actor":{"id":"a"},"id":"i","outcome":"done","request":"r","subjects":["x"]}'
            + TAIL,
            What.FORM,
        ),
    ],
)
def test_what_no_writer_wrote_is_named(entry: str, what: What) -> None:
    raw = entry.encode()
    walk = LogWalk(HEAD, keys=KEYS)
    walk.entries([(0, sha256(b"\x00" + raw).digest(), raw, NOW, *NO_COLUMNS)])
    bad = walk.finish()
    assert bad is not None
    assert (bad.log, bad.seq, bad.what) == (LOG, 0, what)


def test_time_that_runs_backwards_is_named() -> None:
    walk = LogWalk(HEAD, keys=KEYS)
    raw = (
        '{"event":{"action":"record.read","actor":{"id":"a"},"id":"i","outcome":"done","request":"r"}' + TAIL
    ).encode()
    leaf = sha256(b"\x00" + raw).digest()
    walk.entries([(0, leaf, raw, NOW, *NO_COLUMNS)])
    walk.entries([(1, sha256(b"\x00").digest(), b"", NOW.replace(year=2025), *NO_COLUMNS)])
    walk.entries([(2, leaf, raw, NOW, *NO_COLUMNS)])
    assert walk.bad is not None
    assert (walk.bad.seq, walk.bad.what) == (1, What.TIME)
