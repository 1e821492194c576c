"""What a kind of sink does for the stream: take records until they have arrived, or say that they have not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from wellkeep.ledger.sinks import ocsf, records
from wellkeep.ledger.sinks.records import Record

FORMATS: Final[Mapping[str, Callable[[Record], bytes]]] = {"raw": records.encode, "ocsf": ocsf.encode}
"""How a record is written, by the setting `format`."""


class Receiver(Protocol):
    """Where the records of one sink go."""

    async def send(self, batch: Sequence[Record]) -> None:
        """Hand `batch` over, in its order; return when all of it has arrived.

        Raises SinkTrouble, or an error of egress; then none of it counts as arrived. May be cancelled at any time.
        """
        ...

    def stop(self) -> None:
        """Let go of what is held."""
        ...
