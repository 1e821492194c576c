"""build.always_on: no setting, at no value, turns sealing, the ledger, the wall or administrators' second factors off.

The values are made from the types of the settings, so a setting that is added is tried by itself. Each value is first
written to a settings file and read as a server reads it; most are refused there. What is taken is put together with
others, opened as a server opens it, and used: a record is written and read, then its row, its two entries and the wall
are looked at, and an administrator who has shown a password alone asks for what administrators see. Where a start
refuses, the values are parted until each has refused or was used.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from wellkeep.access.session_door import Presented
from wellkeep.access.session_format import COOKIE
from wellkeep.assembly.anchors import open_anchoring
from wellkeep.assembly.database import Database
from wellkeep.assembly.kms import open_epochs, open_roots
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.errors import NotFound, SecondFactorRequired, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.base.settings import FILE_NAME, Settings, dump_tables, load
from wellkeep.egress.places import destinations
from wellkeep.gate.acts import Caller
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.people import Browser, Member, member
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scan import Scanner
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.setting_values import Trial, put, trials
from wellkeep.prove.stores import scan_database
from wellkeep.prove.world import World

_MOST_TOGETHER = 28
_ROW = "SELECT r::text AS record FROM vault.record r WHERE id = $1"
_ENTRIES = "SELECT count(*) FROM ledger.entry WHERE request = ANY($1::uuid[]) AND tenant_id = $2"
_COUNT = "SELECT count(*) FROM vault.record"
_HERE = "127.0.0.1"
"""Where the probe's administrator signed in from."""
_PLACE = {"name": "main", "host": "127.0.0.1", "ports": [1], "networks": ["127.0.0.0/8"], "clear": True}
"""So that what names a place can be taken; nothing listens there."""


@dataclass(slots=True)
class _Found:
    """What came of the values."""

    refused: int = 0
    used: int = 0
    starts: int = 0
    broken: list[str] = field(default_factory=list)
    unsealed: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    unwalled: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


async def run(world: World, notes: Notes) -> None:
    """Try every value of every setting on the scratch deployment's own database."""
    scratch = await world.scratch()
    canary = Canary.make("whatever the settings")
    found, made = _Found(), list(trials())
    async with member(scratch, "administrator") as somebody:
        signed = await _signed_in(scratch, somebody)
        await _tried(scratch, canary, found, made, signed)
    async with scratch.as_superuser() as connection:
        scanned = await scan_database(connection, Scanner([canary]))
    names = len({trial.path for trial in made})
    notes.check(
        f"tried {len(made):,} values of {names} settings, and switches that there are not",
        held=found.used > 0 and found.refused > 0 and not found.broken,
        seen=f"{found.refused:,} refused to start, {found.used} used in {found.starts} starts"
        + (f"; could not be tried: {', '.join(found.broken[:3])}" if found.broken else ""),
    )
    leaked = bool(scanned.found([canary.name])) or bool(found.unsealed)
    _told(notes, "where the value of a sealed field stands", "nowhere in clear", by=found.unsealed, held=not leaked)
    _told(notes, "for an entry of the write and one of the read", "both are there", by=found.unrecorded)
    _told(notes, "whether another tenant, or nobody, sees the record", "neither does", by=found.unwalled)
    _told(notes, "whether an administrator gets in by a password alone", "none does", by=found.passed)


async def _tried(scratch: Scratch, canary: Canary, found: _Found, made: list[Trial], signed: str) -> None:
    with tempfile.TemporaryDirectory(prefix="wellkeep-settings-") as folder:
        attempt = _Attempt(scratch, Path(folder), canary, found, signed)
        taken = await asyncio.to_thread(attempt.readable, made)
        for group in _together(taken):
            await attempt.use(group)
        await attempt.use([])


async def _signed_in(scratch: Scratch, somebody: Member) -> str:
    """Return the cookie of an administrator who has shown a password alone. Raises Unseen."""
    async with Browser(scratch) as browser:
        answer = await browser.sign_in(somebody)
        cookie = browser.cookie(COOKIE)
    if not answer.is_success or cookie is None:
        raise Unseen(f"the probe's administrator could not sign in (HTTP {answer.status_code})")
    return cookie


def _told(notes: Notes, looked: str, good: str, *, by: Sequence[str], held: bool = True) -> None:
    held = held and not by
    seen = f"with each of them {good}" if held else f"not so with {', '.join(by[:3]) or 'one of them'}"
    notes.check(f"looked with each value that was taken {looked}", held=held, seen=seen)


def _together(taken: Sequence[Trial]) -> list[list[Trial]]:
    """Return the trials in as few groups as may be: of one setting one value each, of a list many tables."""
    groups: list[list[Trial]] = []
    for trial in taken:
        for group in groups:
            same = [one for one in group if one.path == trial.path]
            if not same or (trial.listed and all(one.listed for one in same) and len(same) < _MOST_TOGETHER):
                group.append(trial)
                break
        else:
            groups.append([trial])
    return groups


class _Attempt:
    """The scratch deployment under other settings."""

    def __init__(self, scratch: Scratch, folder: Path, canary: Canary, found: _Found, signed: str) -> None:
        self._scratch = scratch
        self._folder = folder
        self._canary = canary
        self._found = found
        self._signed = signed
        self._stopping: set[tuple[str, ...]] = set()
        self._base: dict[str, Any] = msgspec.to_builtins(scratch.settings)
        self._base.setdefault("egress", {})["places"] = [_PLACE]

    def readable(self, made: Sequence[Trial]) -> list[Trial]:
        """Return the trials that a server reads, and whose drivers open; the others are counted as refused."""
        taken = [trial for trial in made if self._opens(self._read([trial]))]
        self._found.refused += len(made) - len(taken)
        return taken

    def _opens(self, settings: Settings | None) -> bool:
        """Say whether what a server opens before it asks the database can be opened."""
        if settings is None:
            return False
        core, home = self._scratch.operator.core, self._scratch.home
        try:
            destinations(settings.egress.places, home=home.path)
            open_roots(home, settings, egress=core.egress, clock=core.clock)
            open_epochs(home, settings, egress=core.egress, clock=core.clock)
            open_anchoring(
                home,
                settings,
                core.ledger,
                egress=core.egress,
                signers=core.checkpoint_signers,
                reporter=core.findings,
                clock=core.clock,
            )
        except WellkeepError:
            return False
        return True

    def _read(self, group: Sequence[Trial]) -> Settings | None:
        raw = msgspec.json.decode(msgspec.json.encode(self._base))
        for number, trial in enumerate(group):
            put(raw, trial, number=number)
        (self._folder / FILE_NAME).write_text(dump_tables(raw), "utf-8")
        try:
            return load(self._folder)
        except WellkeepError:
            return None

    async def use(self, trials_together: Sequence[Trial]) -> None:
        """Start with these values and use what started; where nothing starts, with each half of them.

        A setting that has stopped a start is tried alone from then on.
        """
        group = [trial for trial in trials_together if trial.path not in self._stopping]
        if len(trials_together) > 1:
            for trial in trials_together:
                if trial.path in self._stopping:
                    await self.use([trial])
        else:
            group = list(trials_together)
        if trials_together and not group:
            return
        settings = self._read(group)
        try:
            if settings is not None and await self._started(settings, group):
                return
        except Exception as error:  # noqa: BLE001 -- whatever ends it, with whichever value, is to be told
            if len(group) <= 1:
                self._found.broken += [f"{one.name} ({type(error).__name__})" for one in group]
                return
        if len(group) <= 1:
            self._refused(group)
            return
        half = len(group) // 2
        await self.use(group[:half])
        await self.use(group[half:])

    def _refused(self, group: Sequence[Trial]) -> None:
        self._found.refused += len(group)
        self._stopping |= {trial.path for trial in group if not trial.listed}

    async def _started(self, settings: Settings, group: Sequence[Trial]) -> bool:
        database, wrote = Database(self._scratch.home, settings), False
        try:
            await asyncio.to_thread(database.start)
            async with open_runtime(self._scratch.home, settings, database) as runtime:
                caller, made = await self._write(runtime)
                wrote = True
                await self._exercise(runtime, caller, made, group)
        except WellkeepError:
            if wrote:
                raise  # it works: what went wrong then is no refusal
            return False
        self._found.used += len(group)
        self._found.starts += 1
        return True

    async def _write(self, runtime: Runtime) -> tuple[Caller, UUID]:
        """Write a record; return who wrote it, and its id. Raises where these settings let nobody write."""
        caller = await self._caller(runtime, self._scratch.a.keys["integration"].reveal())
        values = person(history=self._canary.value)["fields"]
        return caller, (await runtime.records.create(caller, PEOPLE, values)).id

    async def _exercise(self, runtime: Runtime, caller: Caller, made: UUID, group: Sequence[Trial]) -> None:
        """Read the record, and look at what came of it; then knock as those who must not be let in."""
        names = sorted({one.name for one in group}) or ["the settings as they are"]
        tenant, other = self._scratch.a, self._scratch.b
        reader = await self._caller(runtime, tenant.keys["integration"].reveal())
        await runtime.records.read(reader, PEOPLE, made)
        async with self._scratch.as_superuser() as connection:
            row = await connection.fetchval(_ROW, made)
            entries = await connection.fetchval(_ENTRIES, [caller.request, reader.request], tenant.id)
        if row is None or self._shows(row):
            self._found.unsealed += names
        if entries != len([caller, reader]):
            self._found.unrecorded += names
        stranger = await self._caller(runtime, other.keys["integration"].reveal())
        if await self._seen(runtime, stranger, made):
            self._found.unwalled += names
        if await self._passes(runtime):
            self._found.passed += names

    def _shows(self, row: str) -> bool:
        text = row.encode()
        return any(pattern.needle in text for pattern in self._canary.patterns())

    @staticmethod
    async def _caller(runtime: Runtime, key: str) -> Caller:
        principal = await runtime.authenticator.authenticate(f"Bearer {key}", request=uuid7())
        return Caller(principal, None, uuid7())

    async def _passes(self, runtime: Runtime) -> bool:
        """Say whether an administrator who has shown a password alone is told anything."""
        request = uuid7()
        session = Presented(cookie=self._signed, changes=False, ours=True)
        principal = await runtime.authenticator.authenticate(None, request=request, ip=_HERE, session=session)
        try:
            await runtime.accounts.people.list(Caller(principal, None, request), tenant=self._scratch.a.id)
        except SecondFactorRequired:
            return False
        return True

    @staticmethod
    async def _seen(runtime: Runtime, stranger: Caller, record: UUID) -> bool:
        """Say whether another tenant gets the record, or anybody a row without a context."""
        try:
            await runtime.records.read(stranger, PEOPLE, record)
        except NotFound:
            pass
        else:
            return True
        try:
            async with runtime.core.app.connection() as connection:
                await connection.fetchval(_COUNT)
        except (asyncpg.PostgresError, WellkeepError):
            return False
        return True


PROBE = Probe(claim="build.always_on", where=Where.SCRATCH, run=run)
