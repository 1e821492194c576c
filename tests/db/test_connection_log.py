"""The server's own log: every session is read once, over days and restarts, and a log that was cut is told."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from database import Database
from wellkeep.db import connection_log
from wellkeep.db.connection_log import ConnectionLog, LogPlace, Read

BEGUN = datetime(2026, 3, 1, tzinfo=UTC)
NEVER = None
JUST_NOW = timedelta(seconds=1)


def line(pid: int = 7, *, user: str = "wk_admin", message: str | None = None, **fields: object) -> str:
    said = message or f"connection authorized: user={user} database=wellkeep application_name=psql"
    told = {"timestamp": "2026-03-01 12:00:00.123 UTC", "session_id": f"65e1c2c0.{pid:x}", "user": user} | fields
    return json.dumps(told | {"remote_host": "[local]", "message": said} | fields) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a data directory with a log."""
    (tmp_path / "log").mkdir()
    return tmp_path


def write(data: Path, text: str, name: str = "postgresql-Sun.json", *, at: int | None = None) -> None:
    path = data / "log" / name
    with path.open("a") as stream:
        stream.write(text)
    if at is not None:
        os.utime(path, (at, at))


def read(data: Path, place: LogPlace, since: timedelta | None = JUST_NOW) -> Read:
    return ConnectionLog(data).read(place, begun=BEGUN, since=since)


def pids(found: Read) -> list[int]:
    return [one.pid for one in found.sessions]


def test_each_line_is_read_once_and_half_a_line_later(data: Path) -> None:
    write(data, line(1) + line(2)[:40])
    first = read(data, LogPlace(), NEVER)
    assert (pids(first), first.place.name, first.cut) == ([1], "postgresql-Sun.json", False)
    write(data, line(2)[40:] + line(3, message="connection received: host=[local]"))
    second = read(data, first.place)
    assert pids(second) == [2]
    assert pids(read(data, second.place)) == []


def test_what_a_line_says(data: Path) -> None:
    write(data, line(0x1F, remote_host="10.0.0.7", message=_MESSAGE + " SSL enabled (protocol=TLSv1.3, bits=256)"))
    write(data, line(5, message="replication connection authorized: user=wk_admin application_name=pg_basebackup"))
    one, other = read(data, LogPlace(), NEVER).sessions
    assert (one.pid, one.started, one.role, one.name, one.address) == (31, 0x65E1C2C0, "wk_admin", "psql", "10.0.0.7")
    assert (other.pid, other.name, other.address) == (5, "pg_basebackup", None)


_MESSAGE = "connection authorized: user=wk_admin database=wellkeep application_name=psql"


def test_what_is_no_such_line_is_passed_over(data: Path) -> None:
    write(data, "no JSON, connection authorized: user=x\n")
    write(data, line(1, message='statement: select "connection authorized: user=x"'))
    write(data, line(2, session_id="x.y"))
    write(data, line(3, timestamp="yesterday"))
    write(data, line(4, timestamp="2026-02-28 23:59:59.999 UTC"))
    assert pids(read(data, LogPlace(), NEVER)) == [], "before the beginning, or no line of ours"


def test_the_log_is_followed_over_days(data: Path) -> None:
    write(data, line(1), at=1_000)
    first = read(data, LogPlace(), NEVER)
    write(data, line(2), at=1_001)
    write(data, line(9), "postgresql-Sat.json", at=500)
    write(data, line(3), "postgresql-Mon.json", at=1_002)
    write(data, line(4), "postgresql-Tue.json", at=1_003)
    second = read(data, first.place)
    assert (pids(second), second.place.name, second.cut) == ([2, 3, 4], "postgresql-Tue.json", False)


def test_a_log_that_was_cut_is_told_and_read_again(data: Path) -> None:
    write(data, line(1) + line(2))
    first = read(data, LogPlace(), NEVER)
    (data / "log" / "postgresql-Sun.json").write_text(line(3))
    cut = read(data, first.place)
    assert (pids(cut), cut.cut) == ([3], True)
    a_week_later = read(data, first.place, timedelta(days=7))
    assert (pids(a_week_later), a_week_later.cut) == ([3], False), "the name of a day comes again"
    (data / "log" / "postgresql-Sun.json").unlink()
    gone = read(data, cut.place)
    assert (gone.cut, gone.place.read) == (True, 0)
    assert not read(data, gone.place).cut, "told once"


def test_a_day_that_is_gone_is_told(data: Path) -> None:
    write(data, line(1))
    first = read(data, LogPlace(), NEVER)
    (data / "log" / "postgresql-Sun.json").unlink()
    write(data, line(2), "postgresql-Mon.json")
    assert (pids(found := read(data, first.place)), found.cut) == ([2], True)


def test_no_note_says_which_file_it_is(data: Path) -> None:
    """Whoever bends the collector's own note of it is seen all the same, and who touches a file hides no other."""
    (data / "current_logfiles").write_text("jsonlog log/postgresql-Sat.json\n")
    write(data, line(9), "postgresql-Sat.json", at=500)
    write(data, line(1), at=1_000)
    first = read(data, LogPlace(), NEVER)
    assert (pids(first), first.place.name) == ([1], "postgresql-Sun.json")
    write(data, "", "postgresql-Sat.json", at=1_001)
    touched = read(data, first.place)
    assert pids(touched) == [9]
    write(data, line(2), at=1_002)
    found = read(data, touched.place)
    assert (pids(found), found.place.name, found.cut) == ([1, 2], "postgresql-Sun.json", False)


def test_without_a_log_there_is_nothing_to_read(data: Path) -> None:
    assert read(data, LogPlace(), NEVER) == Read([], LogPlace())


def test_a_reading_is_bounded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_log, "MOST_BYTES", 700)
    write(data, "".join(line(pid) for pid in range(1, 21)))
    place, seen, rounds = LogPlace(), list[int](), 0
    while len(seen) < 20 and rounds < 50:
        found = read(data, place, NEVER)
        seen += pids(found)
        place, rounds = found.place, rounds + 1
    assert seen == list(range(1, 21))
    write(data, "x" * 5_000)
    assert read(data, place).place.read == place.read + 700, "a line without an end holds nothing up"


async def test_the_embedded_server_writes_it(database: Database) -> None:
    server = database.server.embedded
    if server is None:
        pytest.skip("the server of this run is not the embedded one")
    log = ConnectionLog(server.data)
    settings = {"application_name": "wk-probe\nconnection authorized: user=nobody"}
    begun = datetime.now(UTC) - timedelta(seconds=1)
    place = log.read(LogPlace(), begun=begun, since=None).place
    while (after := log.read(place, begun=begun, since=None).place) != place:
        place = after
    for role in ("wk_app", "wk_migrate"):
        connection = await asyncpg.connect(**database.endpoint(role).arguments(), server_settings=settings)
        pid = connection.get_server_pid()
        await connection.close()
    seen: list[connection_log.Session] = []
    for _ in range(600):
        found = log.read(place, begun=begun, since=None)
        place = found.place
        seen += found.sessions
        if any(one.pid == pid for one in seen):
            break
        await asyncio.sleep(0.1)
    one = next(one for one in seen if one.pid == pid)
    assert (one.role, one.address, one.name[:8]) == ("wk_migrate", None, "wk-probe")
    assert "nobody" not in {one.role for one in seen}
