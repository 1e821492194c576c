"""What goes out next: in order, without a hole that is not told, and again from its beginning where a log changed."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.outside import Noted, way_out
from ledger.making import HOST
from sinks.making import LOG, TENANT, TIME, due, entry, row
from wellkeep.base.sink_settings import SyslogSink
from wellkeep.ledger.actions import Action
from wellkeep.ledger.seal import origin
from wellkeep.ledger.sinks.batch import Batch, plan
from wellkeep.ledger.sinks.desk import Due, Row
from wellkeep.ledger.sinks.receiver import FORMATS
from wellkeep.ledger.sinks.records import Entry, Gap, Why, encode
from wellkeep.ledger.sinks.syslog import SyslogReceiver

MOST = 1_000_000


def planned(log: Due, *rows: Row, most: int = MOST) -> Batch:
    return plan([log], [rows], time=TIME, most=most)


def shape(batch: Batch) -> list[int | tuple[int, int, str]]:
    return [one.seq if isinstance(one, Entry) else (one.first, one.end, one.why.value) for one in batch.records]


def test_entries_go_out_in_their_order_and_the_cursor_follows() -> None:
    rows = [row(seq) for seq in range(3, 6)]
    batch = planned(due(size=9, seq=3), *rows)
    assert shape(batch) == [3, 4, 5]
    (move,) = batch.moves
    assert (move.old_seq, move.seq, move.leaf, move.first) == (3, 6, rows[-1].leaf, 0)


@pytest.mark.parametrize(
    ("seqs", "expected", "end"),
    [
        ([5, 6], [(3, 5, "missing"), 5, 6], 7),
        ([3, 6], [3, (4, 6, "missing"), 6], 7),
        ([], [(3, 9, "missing")], 9),
    ],
)
def test_what_is_not_there_is_told_where_it_would_stand(seqs: list[int], expected: list[object], end: int) -> None:
    batch = planned(due(size=9, seq=3), *(row(seq) for seq in seqs))
    assert shape(batch) == expected
    assert batch.moves[0].seq == end
    assert batch.gaps[0].document()["from"] == 3 if seqs != [3, 6] else 4


@given(there=st.sets(st.integers(0, 30)), most=st.integers(1, 5_000))
def test_entries_and_gaps_cover_a_log_without_overlap(there: set[int], most: int) -> None:
    """Whatever is in the database and however small the batches are, every entry is sent or told to be missing."""
    log, covered, size = due(size=31), [], 31
    for _ in range(70):
        if log.seq == size:
            break
        rows = [row(seq) for seq in sorted(there) if seq >= log.seq][:7]
        batch = planned(log, *rows, most=most)
        for one in batch.records:
            covered += [one.seq] if isinstance(one, Entry) else list(range(one.first, one.end))
            assert isinstance(one, Gap) or one.seq in there
        log = log._replace(seq=batch.moves[0].seq)
    assert covered == list(range(size))


def test_a_batch_ends_at_its_bound_and_holds_one_entry_at_least() -> None:
    logs = [due(size=3), due(size=3, tenant=UUID(int=9))]
    entries = [[row(0), row(1)], [row(0)]]
    tiny = plan(logs, entries, time=TIME, most=1)
    assert (shape(tiny), [move.seq for move in tiny.moves]) == ([0], [1])
    first = len(entries[0][0].entry) + len(entries[0][1].entry)
    assert [move.seq for move in plan(logs, entries, time=TIME, most=first + 1).moves] == [2]
    assert [move.seq for move in plan(logs, entries, time=TIME, most=MOST).moves] == [2, 1]


@pytest.mark.parametrize(
    ("changes", "expected", "seq", "first"),
    [
        ({"size": 4, "seq": 7}, (4, 7), 0, 0),  # shorter than what was sent
        ({"size": 4, "seq": 7, "first": 5}, (4, 7), 4, 4),  # shorter than where the sink began
        ({"size": 7, "seq": 7, "found": b"f" * 32}, (0, 7), 0, 0),  # as long, with another end
        ({"size": 9, "seq": 7, "found": b"f" * 32, "first": 2}, (2, 7), 2, 2),  # longer, another leaf before the cursor
        ({"size": 0, "seq": 7, "head_leaf": None, "head_time": None}, (0, 7), 0, None),  # gone
    ],
)
def test_a_log_that_is_another_one_is_sent_again(
    changes: dict[str, Any], expected: tuple[int, int], seq: int, first: int | None
) -> None:
    batch = planned(due(**changes), row(7))
    assert shape(batch) == [(*expected, "rewound")]
    (move,) = batch.moves
    assert (move.seq, move.first, move.leaf, move.old_seq) == (seq, first, None, 7)


def test_a_leaf_that_can_not_be_compared_is_no_sign() -> None:
    assert shape(planned(due(size=9, seq=7, found=None), row(7))) == [7]
    assert shape(planned(due(size=9, seq=7, leaf=None, found=b"f" * 32), row(7))) == [7]
    assert shape(planned(due(size=9, seq=7, found=b"c" * 32), row(7))) == [7]


def test_a_head_that_disagrees_with_its_entries_sends_nothing_again() -> None:
    """Verifying finds it; a stream that sent the log again and again would only bury that."""
    assert planned(due(size=7, seq=7, found=b"c" * 32)) == Batch([], [])
    assert planned(due(size=7, seq=7)) == Batch([], [])


def restored(about: str = str(TENANT), span: tuple[int, int, int] | None = (1, 40, 44)) -> Row:
    return row(
        1, action=Action.LEDGER_RESTORED, resource_type="log", resource_id=about, span=span, subject=None, count=None
    )


def test_what_a_restore_lost_is_told_before_its_entry() -> None:
    log = due(size=2, seq=1, epoch=2, origin=origin(HOST, TENANT, 2), found=None)
    batch = planned(log, restored())
    assert shape(batch) == [(40, 44, "restored"), 1]
    (lost,) = batch.gaps
    assert (lost.epoch, lost.origin, lost.why) == (1, LOG, Why.RESTORED)


@pytest.mark.parametrize(
    "entry_row",
    [
        restored(about="0198d7b2-0000-7000-8000-000000000002"),  # another log's: told in that log
        restored(span=(1, 4, 4)),
        restored(span=None),
        row(
            1,
            body={
                "action": "ledger.restored",
                "resource": {"id": str(TENANT)},
                "span": {"epoch": 0, "from": 1, "to": 2},
            },
        ),
        row(1, raw=b'no JSON, and yet "action":"ledger.restored"'),
        row(1, raw=b'["no object", {"action":"ledger.restored"}]'),
    ],
)
def test_a_restore_that_lost_nothing_here_is_no_gap(entry_row: Row) -> None:
    assert shape(planned(due(size=2, seq=1), entry_row)) == [1]


def test_bytes_that_somebody_broke_go_out_as_they_are() -> None:
    broken = entry(3, raw=b"\xff\x00 no entry")
    assert broken.text == "\\xff\x00 no entry"
    assert (broken.prev, broken.event, broken.time) == ("", {}, TIME)
    assert entry(3, body={"x": 1}).event == {"x": 1}
    assert entry(3, raw=b'{"event":[],"prev":7}').event == {}
    assert b'"seq":3' in encode(broken)


_LEAF = "0" * 64
_PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["action", "actor", "auth", "error", "outcome", "resource", "rule", "session", "source", "span"]
)


@given(
    event=st.dictionaries(_KEYS, _PARTS) | _PARTS, prev=st.sampled_from([_LEAF, "x" * 20_000, 7, "A" * 64, "0" * 65])
)
def test_no_entry_is_one_that_can_t_be_sent(event: Any, prev: object) -> None:
    """Whatever somebody who owns the database made of it: it goes out in each form, and holds up none behind it."""
    sent = entry(3, raw=json.dumps({"event": event, "prev": prev}).encode())
    assert sent.prev == (_LEAF if prev == _LEAF else "")
    for write in FORMATS.values():
        assert write(sent)
    messages = SyslogReceiver(SyslogSink(name="siem", place="siem"), egress=way_out(Noted()), host=HOST)._messages(sent)
    assert sum(map(len, messages)) < 3 * len(sent.text) + 8_192


@pytest.mark.parametrize(("depth", "read"), [(30, True), (31, False), (300, False), (2_000, False)])
def test_what_lies_too_deep_is_sent_and_not_read(depth: int, read: bool) -> None:  # noqa: FBT001
    """What reads JSON goes deeper than what writes it: such an entry went out as it is, and never in OCSF's form."""
    raw = b'{"event":{"action":"record.read","more":' + b"[" * depth + b"]" * depth + b'},"prev":"' + b"0" * 64 + b'"}'
    sent = entry(3, raw=raw)
    assert sent.event.get("action") == ("record.read" if read else None)
    for write in FORMATS.values():
        assert write(sent)
