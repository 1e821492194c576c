"""Why a receiver does not have what was sent: a code of ours, and never a word of what it answered."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """What went wrong, in the findings and in `wellkeep ledger sinks`; those of `egress` stand beside these."""

    REFUSED = "egress-refused"
    TIMED_OUT = "timed-out"
    BROKEN_OFF = "broken-off"
    NOT_CONFIRMED = "not-confirmed"
    BUSY = "busy"
    UNAUTHORISED = "unauthorised"
    REJECTED = "rejected"
    FAILING = "receiver-failing"
    NO_ANSWER = "no-answer"
    TOKEN = "token-unreadable"  # noqa: S105 -- a word about it
    NOT_WRITABLE = "not-writable"
    NOT_OURS = "not-ours"
    NO_SPACE = "no-space"
    IN_USE = "in-use"
    INTERNAL = "internal"


class SinkTrouble(Exception):
    """A delivery that is not known to have arrived; all of it is sent again."""

    def __init__(self, code: str, *, retry_after: float = 0.0) -> None:
        """`code` is a Trouble, or one of egress; `retry_after` what the receiver asked for, in seconds."""
        super().__init__(code)
        self.code = str(code)
        self.retry_after = retry_after
