"""Processes that kill themselves: a fork of the test's, with pools, gate and ledger of its own.

A fork, because the house's keys are in its memory and nowhere else. The child never returns: it is killed, or exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Unpack

from jobs.transfer import never
from vault.stack import Stack
from wellkeep.access.roles import load
from wellkeep.base.ids import uuid7
from wellkeep.db.queue import QueuedJob
from wellkeep.findings.findings import Findings
from wellkeep.gate.acts import Decision
from wellkeep.gate.calls import Answers, ChangeCall
from wellkeep.gate.events import Facts
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import Policy
from wellkeep.keys.ring import KeyRing
from wellkeep.ledger.writer import LedgerWriter
from wellkeep.vault.context import Context
from wellkeep.vault.imports_run import ImportRunner

EXITED = 17


def kill_myself() -> None:
    """Die as a process dies whose machine loses power: no handler, no clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingGate(Gate):
    """The real gate, in a process that dies at a named place of a change, after so many of them."""

    die_at = ""
    after = 0

    async def change(self, decision: Decision, call: ChangeCall, **facts: Unpack[Facts]) -> Answers:
        self.after -= 1
        if self.after < 0 and self.die_at == "planned":
            kill_myself()
        if self.after < 0 and self.die_at == "sent":
            asyncio.get_running_loop().call_later(0.004, kill_myself)
        return await super().change(decision, call, **facts)

    async def _chain(self, left: Any) -> None:
        if self.after < 0 and self.die_at == "committed":
            kill_myself()
        await super()._chain(left)


def in_a_fork(work: Callable[[], Awaitable[None]]) -> int:
    """Run `work` in a fork and return how that ended: the signal's number negated, or `EXITED`."""
    with warnings.catch_warnings():
        # Newer Pythons warn of threads; the child touches none of what they hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(work())  # type: ignore[arg-type]  # an awaitable made by a coroutine function
        except BaseException:  # noqa: BLE001 -- pytest must not go on in the fork
            traceback.print_exc()
        os._exit(EXITED)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextlib.asynccontextmanager
async def dying_house(stack: Stack, *, die_at: str, after: int) -> AsyncIterator[tuple[Context, Any]]:
    """Open another process's house over the same database and keys."""
    database, ring = stack.database, stack.keyring
    async with database.pool("wk_app") as pool, database.pool("wk_ledger") as ledger_pool:
        findings = Findings(pool, clock=stack.clock)
        seal = stack.writer._appender._splicer._seal_key
        writer = LedgerWriter(ledger_pool, host="localhost", seal_key=seal, clock=stack.clock, reporter=findings)
        await writer.start()
        gate = DyingGate(pool=pool, writer=writer, policy=Policy(load()), findings=findings, clock=stack.clock)
        gate.die_at, gate.after = die_at, after
        keyring = KeyRing(pool, ring._roots, ring._epochs, findings, clock=stack.clock)
        cursors = stack.vault.context.cursors
        yield Context(gate=gate, keyring=keyring, cursors=cursors, findings=findings, clock=stack.clock), pool


async def import_and_die(stack: Stack, import_id: Any, *, die_at: str, after: int) -> None:
    """Run an import until the process dies."""
    async with dying_house(stack, die_at=die_at, after=after) as (context, pool):
        runner = ImportRunner(context=context, pool=pool)
        await runner(QueuedJob(stack.tenant, uuid7(), "import", import_id, 1), never)
