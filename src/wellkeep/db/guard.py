"""The server's settings, judged at start: what we promise stands on them.

Rules: PostgreSQL 15 or newer; an acknowledged commit is on disk; no row, parameter or statement reaches the server's
log; READ COMMITTED, which the ledger's append needs; UTF-8; and a role that row security binds. On a server that
is not ours somebody else decides these, so they are asserted, and each refusal names the statement that mends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wellkeep.base.errors import Misconfigured
from wellkeep.db.cluster import QUIET_SETTINGS
from wellkeep.db.connection import Connection

_OLDEST = 150000
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])"
_ROLE = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
_DURABLE: Mapping[str, frozenset[str]] = {
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    "synchronous_commit": frozenset({"on", "local", "remote_write", "remote_apply"}),
}
_READ_COMMITTED = "default_transaction_isolation"
_NAMES = (
    "server_version_num",
    "server_encoding",
    "data_checksums",
    "standard_conforming_strings",
    _READ_COMMITTED,
    *_DURABLE,
    *QUIET_SETTINGS,
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What is worth reporting about a server that passed."""

    version: int
    """As PostgreSQL numbers itself: 180001 is 18.1."""
    data_checksums: bool
    """Without them a flipped bit on disk is found only by the seals; `doctor` advises, nothing refuses."""


async def problems(connection: Connection) -> list[str]:
    """Return what is wrong with the server's settings, each with the statement that mends it; empty when it is fit."""
    return _judge(await _read(connection))


async def assert_fit(connection: Connection) -> ServerFacts:
    """Return what the server is. Raises Misconfigured with every problem where there is one."""
    settings = await _read(connection)
    found = _judge(settings)
    if found:
        raise Misconfigured(
            "This PostgreSQL can't hold what wellkeep promises:\n" + "\n".join(f"- {one}" for one in found)
        )
    return ServerFacts(
        version=int(settings["server_version_num"]), data_checksums=settings.get("data_checksums") == "on"
    )


async def assert_bound(connection: Connection) -> None:
    """Raise Misconfigured where the connected role could step over row security."""
    if await connection.fetchval(_ROLE):
        raise Misconfigured(
            "The database role of this connection is above row security. As a superuser: "
            "ALTER ROLE … NOSUPERUSER NOBYPASSRLS;"
        )


async def _read(connection: Connection) -> dict[str, str]:
    return {row["name"]: row["setting"] for row in await connection.fetch(_SETTINGS, list(_NAMES))}


def _judge(settings: Mapping[str, str]) -> list[str]:
    found = []
    if int(settings["server_version_num"]) < _OLDEST:
        found.append("its version is older than 15. Upgrade it (pg_upgrade), or let wellkeep run its embedded one.")
    if settings["server_encoding"] != "UTF8":
        found.append("its encoding is not UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;")
    for name, good in _DURABLE.items():
        if settings.get(name) not in good:
            found.append(f"{name} is off, so acknowledged data can be lost: {_mend(name, 'on')}")
    for name, wanted in QUIET_SETTINGS.items():
        if settings.get(name) != wanted:
            found.append(f"{name} lets data into the server's log: {_mend(name, wanted)}")
    if settings.get(_READ_COMMITTED) != "read committed":
        found.append(f"{_READ_COMMITTED} is not READ COMMITTED: {_mend(_READ_COMMITTED, 'read committed')}")
    if settings.get("standard_conforming_strings") != "on":
        found.append(f"strings are not standard: {_mend('standard_conforming_strings', 'on')}")
    return found


def _mend(name: str, value: str) -> str:
    return f"ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf();"
