"""Watching who logs in to the database past the application: each session an entry, an unannounced one a finding.

Rules: one process watches at a time (the lock on a row is the turn); it looks at the sessions that are there, and where
the server is ours at PostgreSQL's own log too, so that a session which was over before the look is seen all the same.
A session's entry has an id that follows from the session: whoever watches next, after a restart or a kill, enters it
once more and makes no second entry. The place in the log moves on only after everything before it is entered. The
finding does not wait for the ledger.

The threat is an administrator's password in use without anybody having said so. A superuser can undo anything in the
database, the log file of its own account included; it is seen by the line that PostgreSQL writes before its first
statement, and it has a second at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from wellkeep.access import operator_sessions as sessions
from wellkeep.access.operator_sessions import Entered, Judgement
from wellkeep.assembly.core import Core
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.db.connection_log import ConnectionLog, LogPlace, Session
from wellkeep.db.pool import Pool
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.event import Event

WRITTEN_SECONDS: Final = 0.05
"""How long PostgreSQL's log collector may take to write what the list of sessions shows already."""
_REMEMBERED = timedelta(minutes=15)
_MARKED = timedelta(seconds=10)
_AT_ONCE = 250

_TAKE = "SELECT since, log, read, watched_at FROM access.take_watch()"
_SEES = "SELECT access.sees_sessions()"
_BACKENDS = "SELECT pid, started, role, name, address FROM access.backends($1)"
_WATCHED = "SELECT access.watched($1, $2)"
_HARMLESS = "SELECT rolname::text AS name FROM pg_catalog.pg_roles WHERE rolname = ANY($1::text[]) AND NOT rolsuper"
_ENTRIES = "SELECT event_id, entry FROM ledger.entry WHERE tenant_id = wk.platform() AND event_id = ANY($1::uuid[])"

_Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Turn:
    """Whose turn it is has this: since when sessions count, how far the log was read, and when."""

    since: datetime
    place: LogPlace
    watched_at: datetime | None


@dataclass(slots=True)
class _Judged:
    """What is to be entered of new sessions, and who came unannounced, by role."""

    entries: list[Event] = field(default_factory=list)
    unannounced: dict[str, list[UUID]] = field(default_factory=dict)


class SessionWatch:
    """Watches; one a process, of which one has its turn."""

    def __init__(self, *, core: Core, jobs: Pool, log: ConnectionLog | None) -> None:
        """`jobs` is a pool of wk_jobs; `log` is the embedded server's, None for a server that is not ours."""
        self._core = core
        self._jobs = jobs
        self._log = log
        self._known: dict[_Key, datetime] = {}
        self._reported: set[UUID] = set()

    async def look(self) -> bool:
        """Look once, if it is our turn, and say whether it was.

        Raises LedgerUnavailable and DatabaseUnavailable; then nothing counts as seen, and the next look sees it again.
        """
        async with self._jobs.transaction() as connection:
            row = await connection.fetchrow(_TAKE)
            if row is None:
                return False
            turn = _Turn(row["since"], LogPlace(row["log"], row["read"]), row["watched_at"])
            there = await self._there(connection)
            logged, place = await self._logged(turn)
            found = self._new(there, logged)
            if found:
                await self._enter(found, await self._superusers(connection, found))
            now = self._core.clock.now()
            if place != turn.place or turn.watched_at is None or now - turn.watched_at > _MARKED:
                await connection.execute(_WATCHED, place.name, place.read)
        self._remember([*there, *logged], now)
        return True

    def blind(self) -> None:
        """Report that nobody can look: what happens meanwhile may go unseen."""
        self._note("blind", Severity.HIGH)

    async def _there(self, connection: Connection) -> list[Session]:
        """Return the sessions that are there now. That they can't be seen is a finding."""
        if not await connection.fetchval(_SEES):
            self.blind()
        rows = await connection.fetch(_BACKENDS, self._log is not None)
        return [Session(row["pid"], row["started"], row["role"], row["name"], row["address"]) for row in rows]

    async def _logged(self, turn: _Turn) -> tuple[list[Session], LogPlace]:
        """Return the sessions that the log tells of since it was read; that something was cut from it is a finding."""
        if self._log is None:
            return [], turn.place
        await asyncio.sleep(WRITTEN_SECONDS)
        since = None if turn.watched_at is None else self._core.clock.now() - turn.watched_at
        read = await asyncio.to_thread(self._log.read, turn.place, begun=turn.since, since=since)
        if read.cut:
            self._note("log", Severity.CRITICAL)
        return [one for one in read.sessions if not sessions.is_service(one.role)], read.place

    def _new(self, there: Iterable[Session], logged: Iterable[Session]) -> list[Session]:
        """Return the sessions that were not seen before, by their start; what the log says of one goes first.

        The log has the name that a session came with; in the list it is what the session calls itself by now.
        """
        by_key = {_key(one): one for one in (*there, *logged)}
        return sorted((one for key, one in by_key.items() if key not in self._known), key=lambda one: one.started)

    async def _superusers(self, connection: Connection, found: Sequence[Session]) -> set[str]:
        """Return which roles of `found` are above row security; one that is gone may have been anything."""
        names = {one.role for one in found}
        rows = await connection.fetch(_HARMLESS, list(names))
        return names - {row["name"] for row in rows}

    async def _enter(self, found: Sequence[Session], superusers: set[str]) -> None:
        judged = _judge(found, await self._entries(found))
        for role, events in judged.unannounced.items():
            fresh = [event for event in events if event not in self._reported]
            if fresh:
                self._note(role, _severity(role, superusers), event=str(fresh[-1]), count=len(fresh))
                self._reported.update(fresh)
        for begin in range(0, len(judged.entries), _AT_ONCE):
            share = judged.entries[begin : begin + _AT_ONCE]
            await asyncio.gather(*(self._core.gate.enter(entry, tenant=PLATFORM_TENANT) for entry in share))

    async def _entries(self, found: Sequence[Session]) -> dict[UUID, Entered]:
        """Return what the root log holds of `found`: announcements, what they are bound to, what was seen before."""
        announced = [event for one in found if (event := sessions.announced_by(one)) is not None]
        wanted = [*announced, *map(sessions.bound_id, announced), *map(sessions.unannounced_id, found)]
        async with self._core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            rows = await connection.fetch(_ENTRIES, wanted)
        return {row["event_id"]: sessions.read_entry(row["entry"]) for row in rows}

    def _remember(self, seen: Iterable[Session], now: datetime) -> None:
        """Remember what is entered, for as long as it may be seen again."""
        self._known |= dict.fromkeys(map(_key, seen), now)
        if any(now - at > 2 * _REMEMBERED for at in self._known.values()):
            self._known = {key: at for key, at in self._known.items() if now - at <= _REMEMBERED}
            self._reported.clear()  # what it guards against is a ledger that is away for some looks

    def _note(self, what: str, severity: Severity, **detail: str | int) -> None:
        self._core.findings.note(
            PLATFORM_TENANT,
            kind=Kind.OPERATOR_UNRECORDED,
            severity=severity,
            key=finding_key(Kind.OPERATOR_UNRECORDED, what),
            detail={"what": what, **detail},
        )


def _judge(found: Sequence[Session], entered: Mapping[UUID, Entered]) -> _Judged:
    """Judge sessions in their order: the first that shows an announced name is bound to it."""
    judged = _Judged()
    bound = {event: one.event.digest for event, one in entered.items()}
    for one in found:
        event = sessions.announced_by(one)
        announcement = None if event is None else entered.get(event)
        binds = None if event is None else sessions.bound_id(event)
        verdict = sessions.judge(one, announcement, None if binds is None else bound.get(binds))
        if verdict is Judgement.ANNOUNCED and announcement is not None and binds is not None:
            if binds not in bound:
                bound[binds] = sessions.binding(one).hex()
                judged.entries.append(sessions.bound_entry(one, announcement))
        elif (seen := sessions.unannounced_id(one)) not in entered:
            judged.entries.append(sessions.unannounced_entry(one, verdict))
            judged.unannounced.setdefault(sessions.known_role(one.role), []).append(seen)
    return judged


def _severity(role: str, superusers: set[str]) -> Severity:
    """Return how bad it is; behind a name that the ledger does not take, anybody may be."""
    return Severity.CRITICAL if role in superusers or role == sessions.OTHER else Severity.HIGH


def _key(session: Session) -> _Key:
    return session.pid, session.started
