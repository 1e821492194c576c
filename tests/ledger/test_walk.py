"""Bytes that no writer made, whose leaves are right all the same: said for what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from ledger.making import HOST, KEYS, SEAL_KEY, prepared
from wellkeep.base.clock import iso
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.growth import Claim
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import origin
from wellkeep.ledger.splice import Head, Splicer, Submitted
from wellkeep.ledger.told import readable
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


def spliced() -> tuple[dict[UUID, Head], list[tuple[Any, ...]]]:
    """Return a head and the rows of a log whose last event stands in it twice, as an export would hold them."""
    splicer, heads, rows = Splicer(host=HOST, seal_key=SEAL_KEY), dict[UUID, Head](), []
    again = prepared()[0]
    for each in (again, prepared()[0], again):
        batch = splicer.splice(heads, [Submitted(PLATFORM_TENANT, each, outbox=False)], now=NOW)
        heads.update(batch.heads)
        rows += [(seq, leaf, entry, NOW) for _, seq, *_, leaf, entry in batch.entries]
    return heads, rows


def test_an_event_that_stands_twice_is_named_where_no_index_sees_it() -> None:
    heads, rows = spliced()
    walk = LogWalk(heads[PLATFORM_TENANT], keys=KEYS, ids=set())
    walk.entries(rows)
    assert walk.bad is not None
    assert (walk.bad.seq, walk.bad.what) == (len(rows) - 1, What.EVENT_ID)
    unseen = LogWalk(heads[PLATFORM_TENANT], keys=KEYS)
    unseen.entries(rows)
    assert unseen.bad is None


def test_an_event_whose_id_is_none_is_no_entry_of_ours() -> None:
    raw = (
        '{"event":{"action":"record.read","actor":{"id":"a"},"id":"i","outcome":"done","request":"r"}' + TAIL
    ).encode()
    walk = LogWalk(HEAD, keys=KEYS, ids=set())
    walk.entries([(0, sha256(b"\x00" + raw).digest(), raw, NOW)])
    assert walk.bad is not None
    assert (walk.bad.seq, walk.bad.what) == (0, What.FORM)


def test_leaves_are_taken_up_to_the_first_that_does_not_fit() -> None:
    heads, rows = spliced()
    leaves = [(seq, leaf) for seq, leaf, *_ in rows]
    whole = LogWalk(heads[PLATFORM_TENANT], keys=KEYS)
    whole.leaves(leaves[:2])
    whole.leaves([])
    whole.leaves(leaves[2:])
    assert (whole.bad, whole.size) == (None, len(rows))
    gap = LogWalk(heads[PLATFORM_TENANT], keys=KEYS)
    gap.leaves([leaves[0], *leaves[2:]])
    assert gap.bad is not None
    assert (gap.bad.seq, gap.bad.what, gap.size) == (1, What.SEQ, 1)
    claimed = LogWalk(heads[PLATFORM_TENANT], keys=KEYS)
    claimed.expect(claims=[Claim(2, bytes(32), What.ANCHOR)])
    claimed.leaves(leaves)
    assert claimed.bad is not None
    assert (claimed.bad.seq, claimed.bad.what, claimed.size) == (1, What.ANCHOR, 1)


@pytest.mark.parametrize("said", ['"digest":"zz"', '"digest":7', '"span":{"epoch":1}', '"resource":"log"'])
def test_an_entry_that_says_something_in_no_form_of_ours_tells_nothing(said: str) -> None:
    event_id = prepared()[0].event.id
    entry = '{"event":{"action":"ledger.restored","id":"%s"%s}}'
    assert [each.seq for each in readable([(4, (entry % (event_id, "")).encode())])] == [4]
    assert readable([(4, (entry % (event_id, "," + said)).encode())]) == []


def test_a_span_of_nothing_that_is_a_log_is_none() -> None:
    [told] = readable([(4, b'{"event":{"action":"ledger.restored","id":"%s"}}' % str(PLATFORM_TENANT).encode())])
    assert told.lost_or_pruned() is None
