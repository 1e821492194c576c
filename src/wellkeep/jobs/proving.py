"""The claims tried by themselves, so that what the trust page says is never older than the settings allow.

Rules: they are tried by a process of its own, as `wellkeep prove` is by hand: what breaks there breaks no server, and
it gives way to requests. A claim that fails is a finding, and so is a run that left no evidence. A server that was just
started has other things to do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from wellkeep.assembly.core import Core
from wellkeep.assembly.publishing import Publishing
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.queue import Interrupted, QueuedJob, Stopping
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.jobs.handlers import Handler, Periodic
from wellkeep.prove.claims import load_claims
from wellkeep.prove.evidence import State
from wellkeep.prove.registry import PROBES
from wellkeep.prove.standing import Doubt, Standing, standings

PROVE = "claims.prove"
PERIODIC = (Periodic(PROVE, "17 * * * *"),)

SETTLED_SECONDS: Final = 1800.0
"""How long a process runs before it begins to have claims tried."""
_LONGEST_SECONDS: Final = 3600.0
_LOOK_SECONDS: Final = 0.5
_END_SECONDS: Final = 12.0
_LOOK_BACK: Final = timedelta(days=2)
_RED: Final = frozenset({State.FAILED, State.UNMET})

_log = structlog.get_logger("wellkeep.jobs")


class Proving:
    """The deployment's own trials of its claims."""

    def __init__(self, core: Core, publishing: Publishing, home: Path, *, program: tuple[str, ...] = ()) -> None:
        """Try the claims of the deployment in `home`; `program` is what does so: this one, unless a test says else."""
        self._core = core
        self._publishing = publishing
        self._home = home
        self._program = program or (sys.executable, "-m", "wellkeep", "prove", "--json")
        self._began = core.clock.monotonic()

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {PROVE: self.prove}

    async def prove(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Have the claims tried where that is due, and report what does not hold, whoever tried it."""
        if self._core.clock.monotonic() - self._began < SETTLED_SECONDS:
            return
        every = self._publishing.settings.prove_every_hours
        if every and await self._oldest() <= self._core.clock.now() - timedelta(hours=every):
            await self._run(stopping)
        await self._tell(expected=bool(every))

    async def _oldest(self) -> datetime:
        """Return when that claim was tried which was not for longest: one trial by hand puts off none of the others."""
        now = self._core.clock.now()
        tried = {one.claim: min(one.at, now) for one in (await self._publishing.trials.since(now - _LOOK_BACK)).newest}
        return min(tried.get(claim, now - _LOOK_BACK) for claim in PROBES)

    async def _run(self, stopping: Stopping) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._program,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env=os.environ | {"WELLKEEP_HOME": str(self._home)},
            start_new_session=True,
        )
        with suppress(ProcessLookupError):  # it may have ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)
        try:
            await self._wait(process, stopping)
        finally:
            await _end(process)

    async def _wait(self, process: Process, stopping: Stopping) -> None:
        until = self._core.clock.monotonic() + _LONGEST_SECONDS
        while process.returncode is None and self._core.clock.monotonic() < until:
            if stopping():
                raise Interrupted
            await asyncio.sleep(_LOOK_SECONDS)
        _log.info("claims_tried", code=process.returncode)

    async def _tell(self, *, expected: bool) -> None:
        """Report what does not hold, and where it is `expected` also how many claims nobody tried for a day."""
        now = self._core.clock.now()
        tried = await self._publishing.trials.since(now - _LOOK_BACK)
        untried = 0
        for one in standings(load_claims().values(), tried, probed=PROBES, now=now):
            if one.claim.id in PROBES:
                await self._report(one)
                untried += one.doubt in (Doubt.NEVER, Doubt.LATE)
        key = finding_key(Kind.CLAIMS_UNTRIED)
        if untried and expected:
            await self._core.findings.report(
                PLATFORM_TENANT, kind=Kind.CLAIMS_UNTRIED, severity=Severity.MEDIUM, key=key, detail={"count": untried}
            )
        else:
            await self._core.findings.settle(PLATFORM_TENANT, keys=[key])

    async def _report(self, one: Standing) -> None:
        key = finding_key(Kind.CLAIM_FAILED, one.claim.id)
        if one.state in _RED or one.doubt is Doubt.ALTERED:
            await self._core.findings.report(
                PLATFORM_TENANT,
                kind=Kind.CLAIM_FAILED,
                severity=Severity.MEDIUM if one.state is State.UNMET else Severity.HIGH,
                key=key,
                detail={"claim": one.claim.id},
            )
        elif one.state in (State.PROVEN, State.PARTIAL):
            await self._core.findings.settle(PLATFORM_TENANT, keys=[key])


async def _end(process: Process) -> None:
    """Have what still runs end, and stop its scratch deployments; kill it where it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError) as ended:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if isinstance(ended, asyncio.CancelledError):
            raise
