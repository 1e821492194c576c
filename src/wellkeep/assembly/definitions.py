"""Which definitions are in force: entered at the start of a process that serves with others than the last one did.

Rules: the digest of the roles' file goes into the root log before the first request is answered, so that what anybody
could do at any time is told by the ledger and the file's history. Several workers that start together enter it once:
the event's id follows from the digest and from the entry before.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

import msgspec

from wellkeep.access import roles
from wellkeep.assembly.core import Core
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.event import Action
from wellkeep.ledger.search import Filters, search


class _Event(msgspec.Struct):
    id: UUID
    digest: str = ""


class _Entry(msgspec.Struct):
    event: _Event


_decode = msgspec.json.Decoder(_Entry).decode
_VARIABLE = (0xFFF << 64) | ((1 << 62) - 1)
"""The random bits of a UUID of version 7."""


async def announce(core: Core) -> UUID | None:
    """Enter that the roles of this process are in force, unless the last such entry says so; returns the event's id.

    Raises LedgerUnavailable, DatabaseUnavailable: nobody serves by definitions that are not on record.
    """
    loaded = core.gate.policy.roles
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        found = (await search(connection, Filters(action=Action.DEFINITIONS_LOADED), limit=1)).entries
    last = _decode(found[0].entry).event if found else _Event(PLATFORM_TENANT)
    if last.digest == loaded.digest.hex():
        return None
    return await roles.announce(core.gate, loaded, event=_following(last.id, loaded.digest))


def _following(last: UUID, digest: bytes) -> UUID:
    """Return the id of the entry of `digest` after the entry `last`: the same whoever makes it."""
    spread = int.from_bytes(hashlib.sha256(b"wellkeep/definitions\n" + last.bytes + digest).digest()[:16], "big")
    return UUID(int=(last.int & ~_VARIABLE) | (spread & _VARIABLE))
