"""Saying that somebody of ours is about to log in to the database past the application: before, and on record."""

from __future__ import annotations

from collections.abc import Callable

from wellkeep.access import operator_sessions
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import Core
from wellkeep.assembly.reason_keeping import keep_reason
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.dsn import Announce
from wellkeep.gate.acts import Caller

_SERVER = Principal(type=ActorType.SYSTEM, id="server", tenant=PLATFORM_TENANT, roles=(), method=AuthMethod.LOCAL)


def server_itself() -> Caller:
    """Return the caller of what a server does of its own accord, such as verifying the ledger."""
    return Caller(_SERVER, None, uuid7())


def announcing(core: Core, caller: Callable[[], Caller] = this_operator) -> Announce:
    """Return what announces sessions of `caller`'s through `core`: for `Database.announce`."""

    async def announce(role: str) -> str | None:
        return None if operator_sessions.is_service(role) else await announce_session(core, caller(), role)

    return announce


async def announce_session(core: Core, caller: Caller, role: str, *, reason: str | None = None) -> str:
    """Enter that `caller` is about to log in as `role`, and return the name to log in under, good for once.

    A reason is sealed beside the ledger. Raises LedgerUnavailable, and Validation for a reason that is none.
    """
    digest = None if reason is None else await keep_reason(core, reason, request=caller.request)
    announcement = operator_sessions.announce(caller, role, reason=digest)
    await core.gate.enter(announcement.entry, tenant=PLATFORM_TENANT)
    return announcement.name
