"""What the driver raises, in our own words.

Rule: no text of PostgreSQL or asyncpg goes on, for both quote values (the failing row, the key that exists, an argument
that does not fit). What goes on is the kind of failure, decided by SQLSTATE, and as a note for our own log the SQLSTATE
and the names of the schema's objects, which are ours. The threat is PHI in a log, a page or an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import asyncpg

from wellkeep.base.errors import Conflict, DatabaseUnavailable, Internal, TenantContextRefused, WellkeepError

Codes: TypeAlias = Mapping[str, Callable[[], WellkeepError]]
"""What a room's own SQLSTATEs (`WK…`, raised by its functions) mean."""

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError)
"""Whatever only the driver raises."""

CONNECTION_ERRORS = (TimeoutError, ConnectionError, asyncpg.InternalClientError)
"""What a connection that hangs or breaks raises in the middle of work; the last is the driver losing count then."""

_TENANT_WALL = "42501"
_UNIQUE = "23505"
_UNAVAILABLE_CLASSES = frozenset({"08", "28", "3D", "53", "57", "58"})
"""Connection; a role or database that is not there, or not for us; resources; an operator, a time-out; the system."""
_UNAVAILABLE_CODES = frozenset({"25006", "25P03", "25P04", "26000", "40001", "40P01", "42P05", "55P03"})
"""A standby, an idle or long transaction cut off, prepared statements that are not ours any more (`db.pool`), a
serialisation failure, a deadlock, a lock not granted in time."""
_GONE = ("is clos", "was closed", "has been released")
"""How the driver words that the connection, or the pool, ended while it was lent."""


def translate(error: BaseException, codes: Codes | None = None) -> WellkeepError:
    """Return the error of ours that stands for `error`, without a word of its text.

    Lost, refused, slow, full or out of connections: DatabaseUnavailable. 42501: TenantContextRefused, an alarm. 23505:
    Conflict. A room's own SQLSTATE: what `codes` says. Everything else: Internal.
    """
    if isinstance(error, WellkeepError):
        return error
    if not isinstance(error, asyncpg.PostgresError):
        return DatabaseUnavailable() if _is_connection(error) else Internal()
    ours = _by_sqlstate(error.sqlstate or "", codes or {})
    names = ", ".join(
        f"{kind} {name}"
        for kind, name in (
            ("schema", error.schema_name),
            ("table", error.table_name),
            ("column", error.column_name),
            ("constraint", error.constraint_name),
        )
        if name
    )
    ours.add_note(f"SQLSTATE {error.sqlstate}" + (f" ({names})" if names else ""))
    return ours


def _by_sqlstate(sqlstate: str, codes: Codes) -> WellkeepError:
    if sqlstate in codes:
        return codes[sqlstate]()
    if sqlstate == _TENANT_WALL:
        return TenantContextRefused()
    if sqlstate == _UNIQUE:
        return Conflict()
    if sqlstate[:2] in _UNAVAILABLE_CLASSES or sqlstate in _UNAVAILABLE_CODES:
        return DatabaseUnavailable()
    return Internal()


def _is_connection(error: BaseException) -> bool:
    if isinstance(error, asyncpg.InterfaceError):
        # The driver has one class for a connection that is gone and for misuse; only its text, which quotes nothing
        # here, tells them apart. An argument that does not fit is a class of its own.
        return type(error) is asyncpg.InterfaceError and any(sign in str(error) for sign in _GONE)
    # TimeoutError and a refused or missing socket are OSErrors.
    return isinstance(error, (OSError, asyncpg.InternalClientError))
