"""What a kind of sink does for the stream: take records until they have arrived, or say that they have not.

Rule: writing records out is work in bulk, in a process that answers requests: it lets others by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from wellkeep.base.turns import give_way
from wellkeep.ledger.sinks import ocsf, records
from wellkeep.ledger.sinks.records import Record

FORMATS: Final[Mapping[str, Callable[[Record], bytes]]] = {"raw": records.encode, "ocsf": ocsf.encode}
"""How a record is written, by the setting `format`."""

_AT_ONCE: Final = 16


async def written(batch: Sequence[Record], write: Callable[[Record], bytes]) -> list[bytes]:
    """Return each record of `batch` as `write` writes it, and let others work now and then."""
    found = []
    for number, record in enumerate(batch):
        if number % _AT_ONCE == 0:
            await give_way()
        found.append(write(record))
    return found


class Receiver(Protocol):
    """Where the records of one sink go."""

    async def send(self, batch: Sequence[Record]) -> None:
        """Hand `batch` over, in its order; return when all of it has arrived.

        Raises SinkTrouble, or an error of egress; then none of it counts as arrived. May be cancelled at any time.
        """
        ...
