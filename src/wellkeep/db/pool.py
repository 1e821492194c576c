"""Connections of one role, lent under time limits, a tenant's only under its signed context.

Rules: whoever works for a tenant goes through `tenant_transaction`, which signs, enters and leaves; every wait has an
end (acquiring, connecting, each statement), so a server that hangs becomes a 503 within seconds and the pool mends
itself afterwards; a connection whose state is unknown is thrown away, never lent again. The driver's reset query at
each release is a hidden round trip (63-172 microseconds) and is sent only where the session was seen to be changed.

The threat is SQL injected into one tenant's transaction that leaves something behind for the next tenant on the same
connection. So names of prepared statements can't be guessed (whoever knew one could prepare another statement under
it), settings that the server reports are compared at each release, and a connection whose statements are gone, or that
refuses or cuts off what should work, is thrown away.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import UUID

import asyncpg
from asyncpg.transaction import Transaction

from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.errors import DatabaseUnavailable, Misconfigured, WellkeepError
from wellkeep.db.connection import Connection, Record
from wellkeep.db.context import ContextKey
from wellkeep.db.dsn import Endpoint
from wellkeep.db.errors import CONNECTION_ERRORS, DRIVER_ERRORS, Codes, translate

_ENTER = "SELECT wk.enter($1)"
_TYPE = "SELECT pg_catalog.to_regtype($1)::pg_catalog.oid"
_REPORTED = (
    ("default_transaction_read_only", "off"),
    ("standard_conforming_strings", "on"),
    ("client_encoding", "UTF8"),
    ("TimeZone", "UTC"),
)
"""Settings whose changes the server tells by itself, and what they are in a session of ours."""
_RESET = "CLOSE ALL; UNLISTEN *; RESET ALL;"
_SPOILT = frozenset({"25006", "26000", "42P05", "55P03", "57014"})
"""Read-only, a prepared statement gone or in the way, a lock or a statement cut off: maybe by what somebody set."""
_STATEMENTS_CACHED = 512
_QUERIES_PER_CONNECTION = 10_000_000
_IDLE_CONNECTION_SECONDS = 300.0
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections, and how long anything may take, in seconds."""

    min_size: int = 1
    max_size: int = 10
    acquire_seconds: float = 5.0
    connect_seconds: float = 5.0
    command_seconds: float = 10.0
    lock_seconds: float = 5.0
    idle_in_transaction_seconds: float = 30.0
    search_path: str = "pg_catalog, pg_temp"

    def server_settings(self, role: str) -> dict[str, str]:
        """Return what the server itself enforces on each connection."""
        return {
            "application_name": f"wellkeep/{role}",
            "search_path": self.search_path,
            "statement_timeout": _milliseconds(self.command_seconds),
            "lock_timeout": _milliseconds(self.lock_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(self.idle_in_transaction_seconds),
            "jit": "off",
            "timezone": "UTC",
        }


if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    class _DriverConnection(asyncpg.Connection[Record]):
        """The driver's connection with what its stubs leave out."""

        _protocol: Any

        def __init__(self, *arguments: Any, **named: Any) -> None: ...

        def _drop_local_statement_cache(self) -> None: ...

else:
    _DriverConnection = asyncpg.Connection


class _PooledConnection(_DriverConnection):
    """A connection that is not reset at each release; an open transaction is rolled back all the same."""

    _packed: frozenset[str] = frozenset()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take a prefix for names that nobody can guess."""
        super().__init__(*arguments, **named)
        self._prefix, self._savepoints = secrets.token_hex(16), secrets.token_hex(8)
        self._numbers = itertools.count()

    def _get_unique_id(self, prefix: str) -> str:
        """Return the name of a prepared statement, portal or savepoint; the driver would count from 1.

        A savepoint's stands in the statement's text, which other sessions of the role can read: it has another secret.
        """
        secret = self._savepoints if prefix == "savepoint" else self._prefix
        return f"wk_{prefix}_{secret}_{next(self._numbers):x}"

    def get_reset_query(self) -> str:
        """Return nothing, unless the server told of a setting that was changed for the session.

        What sessions of ours set is transaction-local, and `Connection._reset` ends transactions.
        """
        settings = self._protocol.get_settings()
        unchanged = all(getattr(settings, name, value) == value for name, value in _REPORTED)
        return "" if unchanged else _RESET

    async def take_packed(self, kinds: Sequence[str]) -> None:
        """Take values of these composite types as bytes in PostgreSQL's own binary form from now on.

        The driver's public `set_type_codec` offers this for scalar types alone; what it does for those is done here.
        """
        for kind in kinds:
            if kind not in self._packed:
                oid = await self.fetchval(_TYPE, kind)
                schema, _, name = kind.partition(".")
                settings = self._protocol.get_settings()
                settings.add_python_codec(oid, name, schema, [], "scalar", bytes, bytes, "binary")
                self._drop_local_statement_cache()
                self._packed = self._packed | {kind}


class Pool:
    """A pool of one role's connections; an async context manager that opens and closes it."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        context_key: ContextKey | None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        codes: Codes | None = None,
    ) -> None:
        """Describe a pool of `endpoint.user`'s connections.

        `context_key` signs tenants' contexts (None: this role enters none); `codes` says what the SQLSTATEs mean that
        a room's own functions raise.
        """
        self.role = endpoint.user
        self._endpoint = endpoint
        self._context_key = context_key
        self._clock = clock or SystemClock()
        self._limits = limits or Limits()
        self._codes: Codes = dict(codes or {})
        self._pool: asyncpg.Pool[Record] | None = None

    async def __aenter__(self) -> Self:
        """Open."""
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    @property
    def codes(self) -> Codes:
        """What rooms' own SQLSTATEs mean, for whoever runs statements whose errors it takes itself."""
        return self._codes

    def understand(self, codes: Codes) -> None:
        """Add what a room's own SQLSTATEs mean; each room brings its own at wiring."""
        self._codes = {**self._codes, **codes}

    async def open(self) -> None:
        """Connect `min_size` times. Raises DatabaseUnavailable where the server does not answer in time."""
        limits = self._limits
        failure: WellkeepError | None = None
        try:
            self._pool = await asyncpg.create_pool(
                **self._endpoint.arguments(),
                min_size=0,  # to keep a floor, the driver reconnects in the background and logs its own texts
                max_size=limits.max_size,
                max_queries=_QUERIES_PER_CONNECTION,
                max_inactive_connection_lifetime=_IDLE_CONNECTION_SECONDS,
                timeout=limits.connect_seconds,
                command_timeout=limits.command_seconds,
                statement_cache_size=_STATEMENTS_CACHED,
                max_cached_statement_lifetime=0,
                server_settings=limits.server_settings(self.role),
                connection_class=_PooledConnection,
            )
        except (*DRIVER_ERRORS, *CONNECTION_ERRORS, OSError) as error:
            failure = translate(error)
        if failure is not None:
            raise failure
        try:
            async with AsyncExitStack() as lent:
                for _ in range(limits.min_size):
                    await lent.enter_async_context(self.connection())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every connection; one that is still lent after five seconds is cut off."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
        except (*DRIVER_ERRORS, *CONNECTION_ERRORS, OSError):
            pool.terminate()

    def token(self, connection: Connection, *, tenant: UUID) -> str:
        """Return a tenant token for `connection`, to hand to a function that enters it by itself."""
        if self._context_key is None:
            raise Misconfigured(f"The pool of {self.role} has no context key and enters no tenant.")
        return self._context_key.token(tenant=tenant, pid=connection.get_server_pid(), now=self._clock.seconds())

    @asynccontextmanager
    async def connection(self, *, packed: Sequence[str] = ()) -> AsyncIterator[Connection]:
        """Lend a connection, each statement its own transaction; values of the types `packed` are handed over as bytes.

        Raises what `errors.translate` makes of the driver's errors; errors of the caller's own pass.
        """
        async with self._own_errors():
            connection = await self._acquire()
            try:
                if packed:
                    await take_packed(connection, packed)
                yield connection
            except CONNECTION_ERRORS:
                discard(connection)  # a statement may still be running there
                raise
            except asyncpg.PostgresError as error:
                if error.sqlstate in _SPOILT:
                    discard(connection)
                raise
            finally:
                await self._release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a READ COMMITTED transaction without a tenant."""
        async with self.connection() as connection:
            transaction = connection.transaction(isolation="read_committed")
            await transaction.start()
            try:
                yield connection
            except CONNECTION_ERRORS:
                raise  # the connection is thrown away, and the transaction with it
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            await transaction.commit()

    @asynccontextmanager
    async def tenant_transaction(self, *, tenant: UUID) -> AsyncIterator[Connection]:
        """Lend a connection inside a READ COMMITTED transaction that is signed for `tenant` and ends with it.

        The context holds 55 seconds: longer work enters again (`token` and `wk.enter`) for each batch.
        """
        async with self.transaction() as connection:
            await connection.execute(_ENTER, self.token(connection, tenant=tenant))
            yield connection

    async def _acquire(self) -> PoolConnectionProxy[Record]:
        if self._pool is None:
            raise DatabaseUnavailable
        failure: WellkeepError | None = None
        try:
            return await self._pool.acquire(timeout=self._limits.acquire_seconds)
        except (*DRIVER_ERRORS, *CONNECTION_ERRORS, OSError) as error:
            failure = translate(error)
        raise failure

    async def _release(self, connection: PoolConnectionProxy[Record]) -> None:
        if self._pool is None:
            discard(connection)
            return
        await self._pool.release(connection, timeout=self._limits.command_seconds)

    @asynccontextmanager
    async def _own_errors(self) -> AsyncIterator[None]:
        failure: WellkeepError | None = None
        try:
            yield
        except (*DRIVER_ERRORS, *CONNECTION_ERRORS) as error:
            failure = translate(error, self._codes)
        if failure is not None:
            try:
                raise failure
            finally:
                # Python hangs the driver's error onto ours; whoever prints the chain would print its text.
                failure.__context__ = None


async def _roll_back(connection: Connection, transaction: Transaction) -> None:
    try:
        await transaction.rollback()
    except (*DRIVER_ERRORS, *CONNECTION_ERRORS):
        discard(connection)


async def take_packed(connection: Connection, kinds: Sequence[str]) -> None:
    """Have a lent connection take values of these composite types as bytes, for as long as it lives."""
    await cast("_PooledConnection", connection).take_packed(kinds)


def discard(connection: Connection) -> None:
    """Cut a connection off; one that broke by itself was taken back by the pool already, and nothing is left to cut."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def is_gone(connection: Connection) -> bool:
    """Say whether a lent connection broke: the pool takes such a one back, and then even asking it raises."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
