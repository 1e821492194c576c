"""What a database error means for the rows that were sent: never sent, rolled back, not their fault, or unknown.

Rules: a driver's message never leaves this room (PostgreSQL's DETAIL quotes values). A change counts as rolled back
only where the server itself said ERROR: a lost connection, a FATAL or a time-out in the middle of a commit leaves the
outcome unknown, and a change whose outcome is unknown is never sent again by us.

Source: PostgreSQL documentation, appendix A (error codes) and 55.8 (fields S, V and C of an error).
"""

from __future__ import annotations

import enum
from typing import Literal

import asyncpg

from wellkeep.base.errors import DatabaseUnavailable, WellkeepError
from wellkeep.db.errors import Codes, translate

_NOT_THE_ROWS_FAULT = ("08", "53", "57", "58")
"""Connection, resources, operator intervention, system: running rows one by one would only add load."""

_TRY_AGAIN = frozenset({"40001", "40P01", "55P03"})
"""Serialisation failure, deadlock, lock not available: rolled back, and likely to succeed when tried alone."""


class Fate(enum.Enum):
    """What became of the rows of a failed call."""

    NOT_SENT = enum.auto()
    ROLLED_BACK = enum.auto()
    UNAVAILABLE = enum.auto()
    UNKNOWN = enum.auto()


def fate(error: BaseException) -> Fate:
    """Say what became of the rows of a call that raised `error`."""
    if isinstance(error, asyncpg.DataError) and error.severity_en is None:
        # The driver's own, for each error of a server has a severity: all arguments are encoded before any is sent, so
        # a value that does not fit its type never left us.
        return Fate.NOT_SENT
    if isinstance(error, asyncpg.PostgresError) and error.severity_en == "ERROR":
        state = error.sqlstate or ""
        return Fate.UNAVAILABLE if state.startswith(_NOT_THE_ROWS_FAULT) else Fate.ROLLED_BACK
    return Fate.UNKNOWN


def worth_another_try(error: BaseException) -> bool:
    """Say whether one row, rolled back, may succeed when it is simply run again."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _TRY_AGAIN


def refusal(error: BaseException, *, fate: Fate, kind: Literal["read", "write"], codes: Codes) -> WellkeepError:
    """Return what the caller of one row is told: our words, none of the driver's; `codes` are the rooms' own."""
    if fate is not Fate.UNKNOWN:
        return translate(error, codes)
    return outcome_unknown() if kind == "write" else DatabaseUnavailable()


def outcome_unknown() -> DatabaseUnavailable:
    """Return the answer to a change that may or may not have been committed."""
    return DatabaseUnavailable("The outcome is not known; repeat with the same Idempotency-Key")
