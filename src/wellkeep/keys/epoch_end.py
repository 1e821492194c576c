"""The end of an epoch's key: ordered outside, and written down as done only once it is seen to be gone.

Rule: a cloud waits before it destroys a key, and until then whoever administers it can take that back. So an epoch
stays retired, with the date that was promised, until the key service itself says that the key is no more; where the
date has come and it is not, the destruction is ordered again. The threat is a certificate of an erasure that calls
itself effective while the key that opens every old backup is there again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wellkeep.db.connection import Connection
from wellkeep.keys.epoch_place import require_here
from wellkeep.keys.kms import EpochKeys, EpochState

_DESTROYED = "SELECT keys.destroyed_epoch($1, $2)"
_POSTPONE = "SELECT keys.postpone_epoch($1, $2)"


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """From when on nothing opens under an epoch's key, and whether it is gone already."""

    epoch: int
    at: datetime
    gone: bool


async def order(epochs: EpochKeys, epoch: int, *, current: int) -> KeyEnd:
    """Have the key of a retired epoch destroyed outside, and look whether it is gone.

    Raises KeysUnavailable, also where the key of the epoch `current` is not there, KeysRevoked; again does no harm.
    """
    await require_here(epochs, current)
    at = await epochs.destroy(epoch)
    return KeyEnd(epoch, at, await epochs.state(epoch) is EpochState.GONE)


async def note(connection: Connection, end: KeyEnd) -> bool:
    """Write down how it stands, under the platform's context; False where that was known."""
    statement = _DESTROYED if end.gone else _POSTPONE
    return bool(await connection.fetchval(statement, end.epoch, end.at))
