"""How the sinks of a deployment stand, for whoever asks: the metrics of a process, the doctor, the operator's list."""

from __future__ import annotations

import asyncio

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.errors import WellkeepError
from wellkeep.base.settings import Settings
from wellkeep.db.provision import connected
from wellkeep.ledger.sinks.state import SinkState, metrics, states

_KEPT_SECONDS = 5.0
_ASK_SECONDS = 3.0


class SinkMetrics:
    """The sinks' lines of `/metrics`, asked of the database every five seconds at most."""

    def __init__(self, core: Core) -> None:
        """Ask nothing yet."""
        self._core = core
        self._text = ""
        self._asked: float | None = None

    async def text(self) -> str:
        """Return the lines; none while the database does not say."""
        sinks, now = self._core.settings.ledger.sinks, self._core.clock.monotonic()
        if sinks and (self._asked is None or now - self._asked >= _KEPT_SECONDS):
            self._asked, self._text = now, ""
            try:
                async with asyncio.timeout(_ASK_SECONDS), self._core.ledger.connection() as connection:
                    found = await states(connection, sinks)
            except (WellkeepError, TimeoutError):
                return ""
            self._text = "".join(f"{line}\n" for line in metrics(found))
        return self._text


async def sink_states(settings: Settings, database: Database) -> list[SinkState]:
    """Return how each sink of `settings` stands. Raises DatabaseUnavailable."""
    if not settings.ledger.sinks:
        return []
    async with connected(database.endpoint("wk_ledger")) as connection:
        return await states(connection, settings.ledger.sinks)


def what_to_do(state: SinkState) -> str:
    """Return what an operator does about a sink that is not fine, empty where it is."""
    if state.failing_seconds is not None:
        return (
            f"Deliveries fail since {state.failing_seconds:.0f} s ({state.error}): see docs/how-to/siem.md, and "
            "wellkeep egress test with its place"
        )
    if not state.fine:
        behind = f"{state.entries:,} entries behind, the oldest {state.lag_seconds:.0f} s old"
        return f"It is {behind}: does wellkeep serve run?"
    return ""
