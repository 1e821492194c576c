"""How the sinks of a deployment stand, for whoever asks: the metrics of a process, the doctor, the operator's list."""

from __future__ import annotations

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.settings import Settings
from wellkeep.db.provision import connected
from wellkeep.ledger.sinks.state import SinkState, metrics, states


async def sink_lines(core: Core) -> str:
    """Return the sinks' lines of `/metrics`; none without sinks. Raises DatabaseUnavailable."""
    sinks = core.settings.ledger.sinks
    if not sinks:
        return ""
    async with core.ledger.connection() as connection:
        return metrics(await states(connection, sinks))


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
