"""How a role reaches a database: parsed and judged; the password is never printed.

Rule: a connection that leaves the machine's kernel is TLS with the server's name verified (`sslmode=verify-full`), the
loopback included, since any local user may listen there; a Unix socket needs none. The threat is somebody who answers
in the server's place. A DSN holds a password, so it lives in a `Secret` and errors name only the part that is wrong:
where it leads to, never the account nor the password.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret

Announce = Callable[[str], Awaitable[str | None]]
"""Says on record that a session of this role is about to begin; answers the name by which it is known, or None."""

_DEFAULT_PORT = 5432
_LAST_PORT = 65_535
_LONGEST_NAME = 63
_FORM = "The database DSN can't be read. Its form is postgresql://user@host:port/database"
_PARAMETERS = frozenset({"host", "port", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One role at one database of one server.

    `host` is a name, or the absolute directory of a Unix socket. `tls` holds the paths `sslrootcert`, `sslcert` and
    `sslkey` where they were given; a name of the system's trust store needs none. `announce` is asked before each
    connection that is made outside a pool.
    """

    host: str
    port: int
    database: str
    user: str
    password: Secret[str] | None
    tls: tuple[tuple[str, str], ...] = ()
    announce: Announce | None = field(default=None, repr=False, compare=False)

    @property
    def is_socket(self) -> bool:
        """Whether this endpoint is a Unix socket."""
        return self.host.startswith("/")

    def at(self, database: str) -> Endpoint:
        """Return the same role at another database."""
        return replace(self, database=database)

    def as_role(self, role: str, password: Secret[str]) -> Endpoint:
        """Return another role at the same database."""
        return replace(self, user=role, password=password)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`; all of them, so that no PG* variable decides anything."""
        return {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": None if self.password is None else self.password.reveal(),
            "ssl": False if self.is_socket else self._context(),
        }

    def url(self) -> Secret[str]:
        """Return the endpoint as a DSN that libpq's programs understand too."""
        user = quote(self.user, safe="")
        password = "" if self.password is None else ":" + quote(self.password.reveal(), safe="")
        query: dict[str, str] = dict(self.tls)
        authority = ""
        if self.is_socket:
            query |= {"host": self.host, "port": str(self.port)}
        else:
            authority = f"{self.host}:{self.port}"
            query["sslmode"] = "verify-full"
        return Secret(f"postgresql://{user}{password}@{authority}/{quote(self.database, safe='')}?{urlencode(query)}")

    def _context(self) -> ssl.SSLContext:
        # Not `ssl.create_default_context`: it writes the session's keys to a file that the environment names.
        paths, context = dict(self.tls), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if "sslrootcert" in paths:
                context.load_verify_locations(paths["sslrootcert"])
            else:
                context.load_default_certs()
            if "sslcert" in paths:
                context.load_cert_chain(paths["sslcert"], paths.get("sslkey"))
        except (OSError, ssl.SSLError):
            raise Misconfigured(
                "A certificate named in the DSN (sslrootcert, sslcert, sslkey) can't be read."
            ) from None
        return context


def parse(dsn: Secret[str]) -> Endpoint:
    """Read a DSN of the form `postgresql://user:password@host:port/database?sslmode=verify-full`.

    A Unix socket is `postgresql://user@/database?host=/directory`. Raises Misconfigured on any other form, on a
    parameter that we do not know (it could switch a check off), and on TCP without `sslmode=verify-full`.
    """
    try:
        parts = urlsplit(dsn.reveal())
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        port = parts.port
    except ValueError:
        raise Misconfigured(_FORM) from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise Misconfigured("The database DSN must begin with postgresql://")
    parameters = dict(pairs)
    unknown = sorted(set(parameters) - _PARAMETERS)
    if unknown or len(pairs) != len(parameters):
        raise Misconfigured("The database DSN has a parameter that wellkeep does not know, or one twice.")
    host = parameters.get("host") or unquote(parts.hostname or "")
    user = parameters.get("user") or unquote(parts.username or "")
    database = parameters.get("dbname") or unquote(parts.path.lstrip("/"))
    _check_names(host, user, database, path=parts.path)
    endpoint = Endpoint(
        host=host,
        port=_port(parameters.get("port"), port),
        database=database,
        user=user,
        password=None if parts.password is None else Secret(unquote(parts.password)),
        tls=_tls(parameters),
    )
    if not endpoint.is_socket and parameters.get("sslmode") != "verify-full":
        raise Misconfigured(
            "A database reached over TCP needs sslmode=verify-full in its DSN (with sslrootcert=… for a private "
            "authority), so that nobody can answer in its place. A Unix socket needs none: ?host=/run/postgresql"
        )
    return endpoint


def _check_names(host: str, user: str, database: str, *, path: str) -> None:
    if not (host and user and database):
        raise Misconfigured("The database DSN must name a host, a user and a database.")
    # A sign that was not encoded: what follows may be half of a password.
    if any(sign in path[1:] for sign in "/@:") or not all(text.isprintable() for text in (host, user, database)):
        raise Misconfigured(f"{_FORM}; in a name or password write / @ : ? # as %2F %40 %3A %3F %23")
    if max(len(user.encode()), len(database.encode())) > _LONGEST_NAME:
        raise Misconfigured("The user or database in the DSN has a name longer than PostgreSQL's 63 bytes.")
    if "," in host:
        raise Misconfigured("The database DSN names several hosts. Name the one that takes writes.")


def _port(parameter: str | None, authority: int | None) -> int:
    if parameter is None:
        return _DEFAULT_PORT if authority is None else authority
    if not (parameter.isascii() and parameter.isdigit() and 0 < int(parameter[:6]) <= _LAST_PORT):
        raise Misconfigured("The port in the database DSN is not a number from 1 to 65535.")
    return int(parameter)


def _tls(parameters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    names = ("sslrootcert", "sslcert", "sslkey")
    chosen = tuple((name, parameters[name]) for name in names if name in parameters)
    for name, value in chosen:
        if not Path(value).is_absolute():
            raise Misconfigured(f"{name} in the database DSN must be an absolute path.")
    return chosen
