"""Reading in bulk passes what the walk passes and nothing else; what differs leaves the walk where it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import pack
from typing import Any
from uuid import UUID

import pytest

from ledger.making import HOST, KEYS, SEAL_KEY, prepared
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.ledger.bulk import NULL, SEPARATOR, Bulk, read
from wellkeep.ledger.seal import Seal
from wellkeep.ledger.splice import Head, Spliced, Splicer, Submitted
from wellkeep.ledger.walk import LogWalk

NOW = datetime(2026, 5, 4, tzinfo=UTC)
TIME = (NOW - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
EVENTS = [*prepared(3), *prepared(1, subject=None, subjects=(uuid7(), uuid7())), *prepared(1)]
SPLICED = Splicer(host=HOST, seal_key=SEAL_KEY).splice(
    {}, [Submitted(PLATFORM_TENANT, each, outbox=False) for each in EVENTS], now=NOW
)
ENTRIES = len(EVENTS) + 1


def bulk_of(spliced: Spliced) -> Bulk:
    """Return the chunk that the database would make of these entries."""
    seqs, lengths, entries, leaves, columns = [], [], [], [], []
    for _, seq, *values, leaf, entry in spliced.entries:
        seqs.append(seq)
        lengths.append(len(entry))
        entries.append(entry)
        leaves.append(leaf)
        columns += [NULL if value is None else str(value) for value in values]
    count = len(seqs)
    return Bulk(
        seqs=pack(f">{count}q", *seqs),
        lengths=pack(f">{count}i", *lengths),
        entries=b"\x00".join(entries),
        leaves=b"".join(leaves),
        times=pack(f">{count}q", *[TIME] * count),
        nulls=columns.count(NULL),
        columns=SEPARATOR.join(columns),
    )


def seals() -> list[Seal]:
    *_, size, leaf, _, _, key_id, root, mac = SPLICED.steps[0]
    return [Seal(size, key_id, leaf, root, mac)]


def walk() -> LogWalk:
    return LogWalk(SPLICED.heads[PLATFORM_TENANT], keys=KEYS)


GOOD = bulk_of(SPLICED)


def test_what_is_good_is_read_at_once() -> None:
    good = walk()
    good.expect(seals())
    assert good.bulk(GOOD)
    assert good.bulk(Bulk(None, None, None, None, None, None, None))
    assert good.finish() is None
    assert (good.size, good.seals, len(good.further_subjects)) == (ENTRIES, 1, 2)
    assert [(told.seq, told.about) for told in good.told] == [(0, str(PLATFORM_TENANT))]


STEPS = (0, 1, 999_999, 1_000_000, 61_000_001)
"""Microseconds after a second began: of the same one, and of others."""


def test_each_entry_may_have_a_time_of_its_own() -> None:
    splicer, chunks = Splicer(host=HOST, seal_key=SEAL_KEY), []
    heads: dict[UUID, Head] = {}
    for step, event in zip(STEPS, prepared(len(STEPS)), strict=True):
        now = NOW + timedelta(microseconds=step)
        spliced = splicer.splice(heads, [Submitted(PLATFORM_TENANT, event, outbox=False)], now=now)
        heads = spliced.heads
        chunks.append((bulk_of(spliced), [TIME + step] * len(spliced.entries)))
    times = [time for _, some in chunks for time in some]
    joined = Bulk(
        seqs=b"".join(chunk.seqs or b"" for chunk, _ in chunks),
        lengths=b"".join(chunk.lengths or b"" for chunk, _ in chunks),
        entries=b"\x00".join(chunk.entries or b"" for chunk, _ in chunks),
        leaves=b"".join(chunk.leaves or b"" for chunk, _ in chunks),
        times=pack(f">{len(times)}q", *times),
        nulls=sum(chunk.nulls or 0 for chunk, _ in chunks),
        columns=SEPARATOR.join(chunk.columns or "" for chunk, _ in chunks),
    )
    found = read(joined, origin=spliced.heads[PLATFORM_TENANT].origin, size=0, leaf=bytes(32), time=NOW)
    assert found is not None
    assert (len(found.leaves), found.time) == (len(times), NOW + timedelta(microseconds=STEPS[-1]))
    for number in range(len(times)):
        shifted = [time + (number == place) for place, time in enumerate(times)]
        other = joined._replace(times=pack(f">{len(times)}q", *shifted))
        assert read(other, origin=spliced.heads[PLATFORM_TENANT].origin, size=0, leaf=bytes(32), time=NOW) is None


def edited(value: bytes, old: bytes, new: bytes) -> bytes:
    assert value.count(old)
    return value.replace(old, new, 1)


assert GOOD.entries is not None
assert GOOD.columns is not None
FIRST_NULL = GOOD.columns.replace(NULL, "something", 1)
BAD: list[tuple[str, dict[str, Any]]] = [
    ("a seq twice, though first, last and count are right", {"seqs": pack(">6q", 0, 1, 1, 3, 4, 5)}),
    ("no entries", {"entries": None}),
    ("a length missing", {"lengths": pack(">1i", 5)}),
    ("a time missing", {"times": pack(">1q", TIME)}),
    ("a time that is none", {"times": pack(">6q", *[TIME] * 5, 2**63 - 1)}),
    ("another time", {"times": pack(">6q", *[TIME] * 5, TIME + 1)}),
    ("time that runs backwards", {"times": pack(">6q", TIME + 1, *[TIME] * 5)}),
    ("content", {"entries": edited(GOOD.entries, b'"count":1', b'"count":2')}),
    ("a leaf", {"leaves": bytes(32 * ENTRIES)}),
    ("a null that became text", {"columns": FIRST_NULL}),
    ("a null that became the mark for null", {"nulls": (GOOD.nulls or 0) - 1}),
    ("a row's columns missing", {"columns": GOOD.columns.rpartition(SEPARATOR)[0]}),
    ("all columns missing", {"columns": None}),
]


@pytest.mark.parametrize("changes", [case[1] for case in BAD], ids=[case[0] for case in BAD])
def test_what_differs_is_left_to_the_walk(changes: dict[str, Any]) -> None:
    left = walk()
    left.expect(seals())
    assert not left.bulk(GOOD._replace(**changes))
    assert (left.size, left.seals, left.bad) == (0, 0, None)
    assert left.bulk(GOOD)
    assert left.finish() is None


def test_an_event_with_the_mark_for_null_is_no_null() -> None:
    """Sealed or not: JSON can spell the mark, and the column beside it is null."""
    origin = "wellkeep.test/ledger/root"
    for purpose, passes in (("TREAT", True), (r"\u001e", False)):
        raw = (
            f'{{"event":{{"action":"a","actor":{{"id":"a"}},"id":"i","outcome":"o","purpose":"{purpose}","request":"r"}}'
            f',"log":"{origin}","prev":"{"0" * 64}","seq":0,"time":"2026-05-04T00:00:00.000000Z","v":1}}'
        ).encode()
        columns = ["i", "a", "a", "TREAT" if passes else NULL, NULL, NULL, NULL, "o", "r"]
        chunk = Bulk(
            seqs=pack(">1q", 0),
            lengths=pack(">1i", len(raw)),
            entries=raw,
            leaves=sha256(b"\x00" + raw).digest(),
            times=pack(">1q", TIME),
            nulls=columns.count(NULL),
            columns=SEPARATOR.join(columns),
        )
        found = read(chunk, origin=origin, size=0, leaf=bytes(32), time=None)
        assert (found is not None) is passes


def test_seals_that_do_not_hold_are_left_to_the_walk() -> None:
    (good,) = seals()
    wrongs: list[dict[str, Any]] = [
        {"mac": bytes(32)},
        {"mac": None},
        {"root": bytes(32)},
        {"leaf": bytes(32)},
        {"key_id": "another"},
        {"key_id": None},
    ]
    for wrong in ([good, good], *([good._replace(**one)] for one in wrongs)):
        left = walk()
        left.expect(wrong)
        assert not left.bulk(GOOD)
        assert left.size == 0


def test_entries_without_a_seal_are_read_and_then_named() -> None:
    unsealed = walk()
    assert unsealed.bulk(GOOD)
    assert unsealed.finish() is not None
