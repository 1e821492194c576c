"""Announcements hold for one session, of one role, within minutes; everything else is said to be unannounced."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.access import operator_sessions as sessions
from wellkeep.access.operator_sessions import Announcement, Entered, Judgement
from wellkeep.access.operators import commanding, operator, this_operator
from wellkeep.base.ids import uuid7
from wellkeep.db.connection_log import Session
from wellkeep.gate.acts import Caller

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CALLER = Caller(operator("ada"), None, uuid7())
_POSTGRES_NAME_BYTES = 63


def announced(role: str = "wk_admin") -> tuple[Announcement, Entered]:
    """Make an announcement, and what is read of its entry."""
    made = sessions.announce(CALLER, role)
    text = json.dumps({"event": json.loads(made.entry.encode()), "time": NOW.isoformat(), "seq": 1})
    return made, sessions.read_entry(text)


def session(name: str, *, role: str = "wk_admin", pid: int = 77, after: float = 1) -> Session:
    started = int((NOW + timedelta(seconds=after)).timestamp())
    return Session(pid=pid, started=started, role=role, name=name, address=None)


def test_the_first_session_under_a_name_is_announced_and_stays_it() -> None:
    made, entry = announced()
    assert len(made.name) == _POSTGRES_NAME_BYTES, "PostgreSQL would cut a longer one off"
    one = session(made.name)
    assert sessions.announced_by(one) == made.entry.id
    assert sessions.judge(one, entry, None) is Judgement.ANNOUNCED
    bound = sessions.bound_entry(one, entry)
    assert (bound.actor_id, bound.request, bound.id) == ("ada", CALLER.request, sessions.bound_id(made.entry.id))
    assert bound.digest is not None
    assert sessions.judge(one, entry, bound.digest.hex()) is Judgement.ANNOUNCED


def test_whoever_comes_next_is_not() -> None:
    made, entry = announced()
    bound = sessions.binding(session(made.name)).hex()
    assert sessions.judge(session(made.name, pid=78), entry, bound) is Judgement.REPLAYED
    assert sessions.judge(session(made.name, after=2), entry, bound) is Judgement.REPLAYED, "the pid given again"


@pytest.mark.parametrize("after", [-301, 301, 86_400])
def test_an_announcement_is_good_for_minutes(after: float) -> None:
    made, entry = announced()
    assert sessions.judge(session(made.name, after=after), entry, None) is Judgement.LATE


def test_an_announcement_is_good_for_its_role() -> None:
    made, entry = announced("wk_migrate")
    assert sessions.judge(session(made.name), entry, None) is Judgement.OTHER_ROLE


def test_nothing_else_is_an_announcement() -> None:
    made, entry = announced()
    other, _ = announced()
    for name in ("", "psql", made.name[:-1], made.name + "x", "wk-session-" + "0" * 52):
        one = session(name)
        assert sessions.judge(one, None, None) is Judgement.UNANNOUNCED
    guessed = made.name[:-1] + ("A" if made.name[-1] != "A" else "B")
    assert sessions.judge(session(guessed), entry, None) is Judgement.UNANNOUNCED, "the id alone is in the ledger"
    assert sessions.judge(session(other.name), entry, None) is Judgement.UNANNOUNCED
    bound = msgspec.convert({"event": msgspec.to_builtins(entry.event) | {"outcome": "done"}, "time": NOW}, Entered)
    assert sessions.judge(session(made.name), bound, None) is Judgement.UNANNOUNCED, "a binding announces nothing"


@given(st.integers(1, 2**22), st.integers(1, 2**33), st.integers(1, 2**22), st.integers(1, 2**33))
def test_an_entry_of_a_session_has_its_own_id(pid: int, started: int, other: int, later: int) -> None:
    one = Session(pid=pid, started=started, role="wk_admin", name="x", address=None)
    two = Session(pid=other, started=later, role="wk_admin", name="x", address=None)
    same = (pid, started) == (other, later)
    assert (sessions.unannounced_id(one) == sessions.unannounced_id(two)) is same
    made = sessions.unannounced_id(one)
    assert (made.version, made.int >> 80) == (7, started * 1000)
    assert sessions.unannounced_entry(one, Judgement.UNANNOUNCED).encode()


@given(st.text(max_size=70), st.text(max_size=70))
def test_no_name_of_a_role_or_address_is_refused_by_the_ledger(role: str, address: str) -> None:
    one = Session(pid=1, started=1_700_000_000, role=role, name="", address=address)
    assert json.loads(sessions.unannounced_entry(one, Judgement.UNANNOUNCED).encode())["actor"]["id"] == "watch"


@pytest.mark.parametrize(("address", "told"), [(None, None), ("10.0.0.7", "10.0.0.7"), ("fe80::1%eth0", "fe80::1")])
def test_where_a_session_came_from(address: str | None, told: str | None) -> None:
    one = Session(pid=1, started=1_700_000_000, role="wk_admin", name="", address=address)
    assert sessions.unannounced_entry(one, Judgement.UNANNOUNCED).ip == told


def test_all_that_a_command_does_is_told_under_one_request() -> None:
    request = UUID("01a203e3-7cd0-7c07-991b-b9aed1ed459b")
    with commanding(request):
        assert this_operator().request == this_operator().request == request
    assert this_operator().request != this_operator().request
