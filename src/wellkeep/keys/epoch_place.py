"""Whether the settings name the place where this deployment's epoch keys are.

Rule: an epoch's key is where it was made. Before the next epoch is begun, and before the key of an old one is ordered
to be destroyed, the key of the current epoch must be usable in the place that the settings name. The threat is
`[keys.epochs]` changed to a place where none of the keys is: the old one's absence there would be called its
destruction, while it lies where it always lay, and the next one would be made apart from those that it follows.
"""

from __future__ import annotations

from wellkeep.base.errors import KeysUnavailable
from wellkeep.keys.kms import EpochKeys, EpochState

NOT_HERE = (
    "The key of the current epoch is not usable where [keys.epochs] says. Put [keys.epochs] back to where the keys "
    "were made, or that key back into its place."
)


async def require_here(epochs: EpochKeys, current: int) -> None:
    """Raise KeysUnavailable unless the key of the epoch `current` is usable there; KeysRevoked as `state` does."""
    if await epochs.state(current) is not EpochState.USABLE:
        raise KeysUnavailable(NOT_HERE, retry_after=60)
