"""What an anchor is to those who use it, and the words for how one fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

from wellkeep.ledger.checkpoint import Checkpoint

Consistency = Callable[[int], Awaitable[list[bytes]]]
"""Proves that the tree of an older size is a prefix of the checkpoint's; raises BadProof where there is none."""

CLOCKS_APART = timedelta(minutes=10)
"""How far the time that another party signs may be from ours."""

NEWEST = 8
"""How many notes an anchor reads back: one commits to all that lies before it, so older ones prove nothing more."""


MAX_RECEIPT_BYTES = 32 * 1024
"""A time stamp with its chain has ten; one is kept each minute, so the database takes no more (migration 0010)."""


class Trouble(StrEnum):
    """Why an anchor did not take a checkpoint, or does not hold what it took; codes of findings."""

    UNREACHABLE = "unreachable"
    EGRESS_REFUSED = "egress-refused"
    TIMED_OUT = "timed-out"
    REFUSED = "refused"
    """It answered, and the answer was no."""
    RUBBISH = "rubbish"
    """It answered with what is no answer."""
    NO_DIRECTORY = "no-directory"
    """The directory is not there: a mount that is missing must not be replaced by a directory on this volume."""
    NOT_WRITTEN = "not-written"
    SECRET = "secret-unreadable"  # noqa: S105 -- a word about it
    """The file of what it is asked with is no longer what it must be."""
    NOT_LOCKED = "not-locked"
    """The bucket or an object in it is not under COMPLIANCE until the date that was asked for."""
    NOT_KEPT = "not-kept"
    """It took a checkpoint and does not hold it."""
    ALTERED = "altered"
    """It holds other bytes in the place of a checkpoint of ours."""
    CROWDED = "crowded"
    """So much lies before what is ours, put there by somebody, that it can't be looked through."""
    WRONG_HASH = "wrong-hash"
    WRONG_NONCE = "wrong-nonce"
    NOT_PROVEN = "not-proven"
    """Its signature does not verify, or is over another text."""
    TIME_OFF = "time-off"
    FORKED = "forked"
    """It knows another history of this log than we hold: an alarm."""
    AHEAD = "ahead"
    """It knows more of this log than we hold: an alarm."""
    NOT_SIGNED = "not-signed"
    """The stored checkpoint bears no signature of ours, so it was handed to nobody."""
    INTERNAL = "internal"


ALARMS = frozenset(
    {Trouble.FORKED, Trouble.AHEAD, Trouble.ALTERED, Trouble.CROWDED, Trouble.NOT_KEPT, Trouble.NOT_SIGNED}
)
"""What an outage does not look like."""


class AnchorFailed(Exception):
    """An anchor did not do what it is for; `trouble` is all that is said of it."""

    def __init__(self, trouble: Trouble) -> None:
        """Hold the code."""
        super().__init__(trouble.value)
        self.trouble = trouble


class Evidence(NamedTuple):
    """What a receipt proves, by itself: when, and whether somebody else's signature says so."""

    at: datetime
    independent: bool


class Seen(NamedTuple):
    """What the outside holds of one log now: notes, the newest first, and the size that it speaks of.

    `trouble` is what is wrong beside them: it takes nothing from what the notes prove.
    """

    notes: tuple[bytes, ...] = ()
    size: int | None = None
    trouble: Trouble | None = None


class Anchor(Protocol):
    """One place outside. Everything raises AnchorFailed, and nothing else that is no fault of ours."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def kind(self) -> str:
        """What kind of anchor it is."""
        ...

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:
        """Hand `note`, the signed `checkpoint`, to the outside, and return a receipt that `check` accepts."""
        ...

    async def seen(self, origin: str, newest: bytes | None) -> Seen | None:
        """Return what the outside holds of the log `origin`; None where it gives nothing back.

        `newest` is our newest signed note of that log: some anchors tell what they know only to who shows one.
        """
        ...

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return what `receipt` proves about `note`, offline."""
        ...
