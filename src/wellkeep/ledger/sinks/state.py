"""How each sink stands: for the operator's list, for the metrics and for the doctor.

Rule: names of sinks, codes and numbers; nothing of what was sent, nor of what a receiver said.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wellkeep.base.sink_settings import SinkSettings
from wellkeep.db.connection import Connection
from wellkeep.ledger.sinks.desk import lag, standings


class SinkState(msgspec.Struct, frozen=True, kw_only=True):
    """One sink: how far behind it is, and whether it fails. Ages are in seconds; None: never, or not at all."""

    sink: str
    kind: str
    format: str
    held: bool
    logs: int
    entries: int
    lag_seconds: float
    max_lag_seconds: int
    failing_seconds: float | None = None
    failures: int = 0
    error: str | None = None
    delivered_seconds: float | None = None

    @property
    def fine(self) -> bool:
        """Whether it gets what it is to get, in time."""
        return self.failing_seconds is None and self.lag_seconds <= self.max_lag_seconds


async def states(connection: Connection, sinks: Sequence[SinkSettings]) -> list[SinkState]:
    """Return how each of `sinks` stands; `connection` is wk_ledger's."""
    known = await standings(connection)
    found = []
    for sink in sinks:
        behind, standing = await lag(connection, sink), known.get(sink.name)
        state = SinkState(
            sink=sink.name,
            kind=str(sink.__struct_config__.tag),
            format=sink.format,
            held=standing is not None and standing.held,
            logs=behind.logs,
            entries=behind.entries,
            lag_seconds=behind.seconds,
            max_lag_seconds=sink.max_lag_seconds,
        )
        if standing is not None:
            state = msgspec.structs.replace(
                state,
                failing_seconds=standing.failing,
                failures=standing.failures,
                error=standing.error,
                delivered_seconds=standing.delivered,
            )
        found.append(state)
    return found


_GAUGES = (
    ("wellkeep_ledger_sink_lag_entries", "Entries that a sink was not given yet.", "entries"),
    ("wellkeep_ledger_sink_lag_seconds", "Age of the oldest of them.", "lag_seconds"),
    (
        "wellkeep_ledger_sink_failing_seconds",
        "For how long deliveries to a sink fail, 0 while they do not.",
        "failing_seconds",
    ),
)


def metrics(found: Sequence[SinkState]) -> str:
    """Return lines in the Prometheus text format 0.0.4; none where there is no sink."""
    lines = []
    for name, words, what in _GAUGES if found else ():
        lines += [f"# HELP {name} {words}", f"# TYPE {name} gauge"]
        lines += [f'{name}{{sink="{state.sink}"}} {getattr(state, what) or 0:g}' for state in found]
    return "".join(f"{line}\n" for line in lines)
