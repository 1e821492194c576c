"""A command of the operator's, on record: before it does anything, and how it ended.

Rules: it is in the journal before the database is started, and in the root log before its work begins, wherever the
ledger takes entries; where it does not (a database that is being mended, a ledger that is behind) the journal keeps it
until it does. An entry holds the command's name and an error's code, never what the command was given. While it works,
what it connects as beside a server's own roles is announced. The threat is the quiet hand at the machine.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import structlog

from wellkeep.access.operators import this_operator
from wellkeep.assembly.announcing import announcing
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.journal import Journal, Journaled
from wellkeep.base.errors import Forbidden, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.base.settings import Settings
from wellkeep.ledger.event import Action, Outcome

_INTERRUPTED = "interrupted"
_INTERNAL = "internal"
_AWAY = (WellkeepError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

_log = structlog.get_logger("wellkeep.operator")


class CommandRecord:
    """The record of one command: `begin`, `open`, whatever it does, `end`."""

    def __init__(
        self,
        home: Home,
        command: str,
        *,
        begins: Action = Action.OPERATOR_COMMAND,
        ends: Action = Action.OPERATOR_COMMAND,
    ) -> None:
        """Describe the command by its dotted name (`db.migrate`). Raises Forbidden for an account without a name."""
        caller = this_operator()
        self.request = caller.request
        self.core: Core | None = None
        self._account = caller.principal.id
        self._home = home
        self._command = command
        self._begins = begins
        self._ends = ends
        self._journal = Journal(home.path)
        self._stack = AsyncExitStack()
        self._database: Database | None = None

    def begin(self) -> None:
        """Write down that the command begins. Raises OSError where that can't be done: then it must not."""
        self._write(self._begins, Outcome.AUTHORISED, None)

    async def open(self, settings: Settings, database: Database) -> None:
        """Enter it, if the ledger takes it, and announce from now on what connects over `database`."""
        self._database = database
        try:
            core = await self._stack.enter_async_context(open_core(self._home, settings, database, migrated=False))
            await self._journal.enter(core)
        except _AWAY as error:
            # What is wrong is the command's to say, if it needs what is away; the journal keeps the record meanwhile.
            _log.info("command.journaled", kind=type(error).__name__)
            await self.close()
            return
        self.core = core
        database.announce = announcing(core)

    async def close(self) -> None:
        """Give back what `open` opened."""
        self.core = None
        if self._database is not None:
            self._database.announce = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def end(self, settings: Settings, database: Database, error: BaseException | None) -> None:
        """Write down how the command ended, and enter that; a database that was away may be there by now."""
        self._write(self._ends, *_told(error))
        if self.core is not None and await self._entered(self.core):
            return
        if self._database is None:
            return
        await self.close()
        try:
            await asyncio.to_thread(database.start)
        except _AWAY as gone:
            _log.info("command.journaled", kind=type(gone).__name__)
            return
        await self.open(settings, database)

    async def _entered(self, core: Core) -> bool:
        try:
            await self._journal.enter(core)
        except _AWAY:
            return False
        return True

    def _write(self, action: Action, outcome: Outcome, error: str | None) -> None:
        self._journal.write(
            Journaled(
                id=uuid7(),
                action=action,
                account=self._account,
                outcome=outcome,
                request=self.request,
                command=self._command,
                error=error,
            )
        )


def _told(error: BaseException | None) -> tuple[Outcome, str | None]:
    """Return how an entry tells `error`: by a stable code, never by its text."""
    match error:
        case None:
            return Outcome.DONE, None
        case Forbidden():
            return Outcome.DENIED, error.code
        case WellkeepError():
            return Outcome.FAILED, error.code
        case KeyboardInterrupt() | asyncio.CancelledError():
            return Outcome.FAILED, _INTERRUPTED
        case _:
            return Outcome.FAILED, _INTERNAL
