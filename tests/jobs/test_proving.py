"""Promise: the claims are tried by themselves in time, and what does not hold, or was not tried, is noticed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from api.stack import Stack, stack
from database import Database
from wellkeep.assembly.core import Core
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.trust_settings import TrustSettings
from wellkeep.db.provision import connected
from wellkeep.db.queue import Interrupted, QueuedJob
from wellkeep.jobs import proving
from wellkeep.jobs.proving import SETTLED_SECONDS, Proving
from wellkeep.prove.documents import read, written
from wellkeep.prove.evidence import Evidence, Step, Where
from wellkeep.prove.registry import PROBES

NOTHING = (sys.executable, "-c", "")
JOB = cast("QueuedJob", None)


class Shifted(SystemClock):
    """The machine's clock, some time on."""

    on = timedelta()

    def now(self) -> datetime:
        return super().now() + self.on

    def monotonic(self) -> float:
        return super().monotonic() + self.on.total_seconds()


@pytest.fixture
def clock() -> Shifted:
    return Shifted()


@pytest.fixture
async def opened(database: Database, clock: Shifted) -> AsyncIterator[Stack]:
    async with stack(database, clock=clock) as process:
        yield process


@pytest.fixture
def job(opened: Stack, clock: Shifted, tmp_path: Path) -> Callable[..., Proving]:
    """Return the job of a process that has run for a while, with a program in place of `wellkeep prove`."""

    def made(*program: str, hours: int = 8, settled: bool = True) -> Proving:
        opened.publishing.settings = msgspec.convert({"prove_every_hours": hours}, TrustSettings)
        core: Any = type("Core", (), {"clock": clock, "findings": opened.findings})()
        proved = Proving(cast("Core", core), opened.publishing, tmp_path, program=program or NOTHING)
        if settled:
            proved._began -= SETTLED_SECONDS
        return proved

    return made


async def keep(opened: Stack, *, held: bool, claims: tuple[str, ...] = tuple(PROBES), ours: bool = True) -> None:
    """Keep a trial of each claim, as `wellkeep prove` does."""
    for claim in claims:
        step = Step("tried", "seen", held=held, ours=ours)
        document = written(Evidence(claim, Where.LIVE, opened.publishing.clock.now(), 0.1, (step,), None))
        state = read(document).state.name.lower()
        await opened.publishing.trials.keep(opened.operator, claim, document, state=state, steps=1)


async def found(opened: Stack) -> list[tuple[str, str, dict[str, Any]]]:
    return sorted(
        (one.key, one.severity, dict(one.detail))
        for one in await opened.findings.list(PLATFORM_TENANT)
        if one.kind.startswith("claim")
    )


def marked(path: Path, *, code: int = 0) -> tuple[str, ...]:
    """Return a program that leaves the home that it was told in a file."""
    script = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['WELLKEEP_HOME'])"
    return sys.executable, "-c", f"{script}; sys.exit({code})", str(path)


def on() -> bool:
    """Say that the worker goes on."""
    return False


async def test_a_run_that_leaves_no_evidence_is_a_finding_until_one_does(
    opened: Stack, job: Callable[..., Proving], tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    await job(*marked(ran, code=1)).prove(JOB, on)
    assert ran.read_text() == str(tmp_path)
    assert await found(opened) == [("claims.untried", "medium", {"count": len(PROBES)})]
    await keep(opened, held=True)
    await job().prove(JOB, on)
    assert await found(opened) == []


@pytest.mark.parametrize("hours", [8, 0], ids=["by itself", "by hand alone"])
async def test_a_claim_that_fails_is_a_finding_until_it_holds(
    opened: Stack, job: Callable[..., Proving], hours: int
) -> None:
    await keep(opened, held=True)
    await keep(opened, held=False, claims=("rest.fields",))
    await keep(opened, held=False, claims=("rest.volumes",), ours=False)
    await job(hours=hours).prove(JOB, on)
    assert await found(opened) == [
        ("claim.failed:rest.fields", "high", {"claim": "rest.fields"}),
        ("claim.failed:rest.volumes", "medium", {"claim": "rest.volumes"}),
    ]
    await keep(opened, held=True)
    await job(hours=hours).prove(JOB, on)
    assert await found(opened) == []


async def test_evidence_that_was_altered_is_a_finding(opened: Stack, job: Callable[..., Proving]) -> None:
    await keep(opened, held=True)
    async with connected(opened.database.superuser) as connection:
        await connection.execute("DELETE FROM wk.evidence WHERE claim = 'rest.fields'")
    await job().prove(JOB, on)
    assert await found(opened) == [("claim.failed:rest.fields", "high", {"claim": "rest.fields"})]


async def test_one_trial_by_hand_puts_off_none_of_the_others(
    opened: Stack, job: Callable[..., Proving], tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    await keep(opened, held=True, claims=("rest.fields",))
    await job(*marked(ran)).prove(JOB, on)
    assert ran.exists()


@pytest.mark.parametrize(
    ("hours", "age", "runs"),
    [(8, 7.9, False), (8, 8.1, True), (1, 1.1, True), (20, 19.9, False), (0, 40, False)],
    ids=["not due", "due", "often", "once a day", "never by itself"],
)
async def test_they_are_tried_when_it_is_time(
    opened: Stack, clock: Shifted, job: Callable[..., Proving], tmp_path: Path, *, hours: int, age: float, runs: bool
) -> None:
    ran = tmp_path / "ran"
    await keep(opened, held=True)
    one = job(*marked(ran), hours=hours)
    clock.on = timedelta(hours=age)
    await one.prove(JOB, on)
    assert ran.exists() is runs


async def test_a_server_that_was_just_started_tries_nothing(
    job: Callable[..., Proving], clock: Shifted, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    one = job(*marked(ran), settled=False)
    await one.prove(JOB, on)
    assert not ran.exists()
    clock.on = timedelta(seconds=SETTLED_SECONDS + 1)
    await one.prove(JOB, on)
    assert ran.exists()


SLEEPS = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"


def told(path: Path) -> int | None:
    """Return the process id that a program has left."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text else None


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("how", ["told", "cancelled", "too long", "deaf"])
async def test_a_run_ends_with_the_server_and_never_hangs(
    job: Callable[..., Proving], clock: Shifted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    left = tmp_path / "pid"
    one = job(sys.executable, "-c", DEAF if how == "deaf" else SLEEPS, str(left))
    monkeypatch.setattr(proving, "_END_SECONDS", 1.0 if how == "deaf" else 60.0)
    running = asyncio.create_task(one.prove(JOB, lambda: how in ("told", "deaf") and told(left) is not None))
    async with asyncio.timeout(60):
        while (pid := told(left)) is None:  # noqa: ASYNC110 -- another process's file
            await asyncio.sleep(0.05)
        if how == "cancelled":
            running.cancel()
        if how == "too long":
            clock.on = timedelta(hours=2)
        ended = (await asyncio.gather(running, return_exceptions=True))[0]
    expected = {"cancelled": asyncio.CancelledError, "too long": type(None)}
    assert type(ended) is expected.get(how, Interrupted)
    assert not lives(pid)


def test_it_is_looked_at_each_hour() -> None:
    assert [(one.kind, one.expression) for one in proving.PERIODIC] == [(proving.PROVE, "17 * * * *")]
