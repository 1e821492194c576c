"""The embedded server's own log of who connected: sessions that were over before anybody looked are in it.

Rules: PostgreSQL writes the line when it has let somebody in and before the first statement runs; the file is the
server account's own, and nobody else's. What was read is remembered as a name and a length, so a reader that comes back
goes on where it was, over any number of daily files. A file that is shorter than what was read of it, or gone, within
the week in which its name is used once was cut by somebody: that is told, for a hole in it may have been a session.

The lines are JSON: the name of a role or a program that holds a line break, or looks like another field, stays inside
its own string. Source: PostgreSQL documentation, 19.8.4 (log_destination jsonlog; a session's id is the hexadecimal
time of its start and its process id).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

MOST_BYTES: Final = 8_000_000
"""Of one reading; the next one goes on."""

_REUSED_AFTER = timedelta(days=6)
_TIME = "%Y-%m-%d %H:%M:%S.%f UTC"
_MARK = b"connection authorized: "
_AUTHORISED = re.compile(r"(?:replication )?connection authorized: user=")
_PROGRAM = re.compile(r" application_name=([!-~]+)(?: SSL enabled \(.*| GSS \(.*)?", flags=re.DOTALL)
_SESSION = re.compile(r"(?P<started>[0-9a-f]{1,16})\.(?P<pid>[0-9a-f]{1,8})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class LogPlace(msgspec.Struct, frozen=True):
    """How far the log was read: the file's name in the log's directory, and bytes of it. No name: nothing was read."""

    name: str | None = None
    read: int = 0


class Session(msgspec.Struct, frozen=True):
    """Somebody who was let in: `started` is in seconds since 1970, `address` None where it came over a socket."""

    pid: int
    started: int
    role: str
    name: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Read:
    """What was read: sessions in their order, up to where, and whether something had been cut from the log before."""

    sessions: list[Session]
    place: LogPlace
    cut: bool = False


_Told = tuple[datetime, Session]


class _Line(msgspec.Struct):
    timestamp: str
    session_id: str
    message: str
    user: str = ""
    remote_host: str = ""


_decode = msgspec.json.Decoder(_Line).decode


class ConnectionLog:
    """The log of the embedded server whose data directory is `data`."""

    def __init__(self, data: Path) -> None:
        """Describe it; nothing is read before `read`."""
        self._data = data

    def read(self, place: LogPlace, *, begun: datetime, since: timedelta | None) -> Read:
        """Return who was let in after `place`, and not before `begun`; `since` is how long ago that was read last.

        A reader that has no place, and never read, begins with the current file. Raises OSError where the log can't be
        read.
        """
        current = self._current() or place.name
        if current is None:
            return Read([], place)
        if place.name is None:
            place = LogPlace(current)
        sessions: list[Session] = []
        cut = False
        for name in self._after(place.name or current, current):
            begin = place.read if name == place.name else 0
            size = self._size(name)
            if (size or 0) < begin:
                cut = cut or (since is not None and since < _REUSED_AFTER)
                begin = 0
            end = begin
            if size is not None:
                found, end = self._lines(name, begin)
                sessions += [one for at, one in found if at >= begun]
            place = LogPlace(name, end)
            if size is not None and end - begin >= MOST_BYTES:
                break
        return Read(sessions, place, cut)

    def _current(self) -> str | None:
        """Return the name of the file that was written to last, None where there is none.

        The collector's own note of it (`current_logfiles`) is not asked: whoever bent that would be seen no more.
        """
        return max(self._files(), key=self._changed, default=None)

    def _files(self) -> list[str]:
        return [path.name for path in (self._data / "log").glob("*.json") if _NAME.fullmatch(path.name)]

    def _after(self, first: str, current: str) -> list[str]:
        """Return the files from `first` to `current`, by the time of their last line."""
        if first == current:
            return [current]
        begun = self._changed(first)
        between = [
            (changed, name)
            for name in self._files()
            if name not in (first, current) and (changed := self._changed(name)) > begun > 0
        ]
        return [first, *(name for _, name in sorted(between)), current]

    def _changed(self, name: str) -> int:
        try:
            return (self._data / "log" / name).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _size(self, name: str) -> int | None:
        try:
            return (self._data / "log" / name).stat().st_size
        except FileNotFoundError:
            return None

    def _lines(self, name: str, begin: int) -> tuple[list[_Told], int]:
        """Return the sessions in the whole lines from `begin` on, and where the first line begins that is not whole."""
        with (self._data / "log" / name).open("rb") as stream:
            stream.seek(begin)
            text = stream.read(MOST_BYTES)
        whole = text.rfind(b"\n") + 1
        if not whole and len(text) == MOST_BYTES:
            return [], begin + len(text)
        lines = text[:whole].split(b"\n")
        return [found for line in lines if _MARK in line and (found := _session(line)) is not None], begin + whole


def _session(line: bytes) -> _Told | None:
    """Return the session that `line` tells of, and when; None where it tells of something else."""
    try:
        read = _decode(line)
        at = datetime.strptime(read.timestamp, _TIME).replace(tzinfo=UTC)
    except ValueError:  # of which msgspec's is one
        return None
    named = _SESSION.fullmatch(read.session_id)
    if named is None or _AUTHORISED.match(read.message) is None:
        return None
    program = _PROGRAM.search(read.message)
    session = Session(
        pid=int(named["pid"], 16),
        started=int(named["started"], 16),
        role=read.user,
        name="" if program is None else program[1],
        address=None if read.remote_host in ("", "[local]") else read.remote_host,
    )
    return at, session
