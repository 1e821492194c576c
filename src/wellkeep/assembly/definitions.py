"""Which definitions are in force: entered at the start of a process that serves with others than the last one did.

Rules: the digest of the roles' file goes into the root log before the first request is answered, so that what anybody
could do at any time is told by the ledger and the file's history. So do the digests of the places that may be connected
to and of what is stated of volumes, where any are or were listed. Several workers that start together enter it once:
the event's id follows from the digest and from the entry before.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from wellkeep.access import roles
from wellkeep.assembly.core import Core
from wellkeep.base.ids import PLATFORM_TENANT, derived
from wellkeep.base.volume_settings import digest_of_statements
from wellkeep.egress.places import digest
from wellkeep.ledger.event import Action, Event, SystemFacts, system_event
from wellkeep.ledger.search import Filters, search


class _Resource(msgspec.Struct):
    id: str = ""


class _Event(msgspec.Struct):
    id: UUID
    digest: str = ""
    resource: _Resource = msgspec.field(default_factory=_Resource)


class _Entry(msgspec.Struct):
    event: _Event


_decode = msgspec.json.Decoder(_Entry).decode
_ROLES = "roles"
_PLACES = "places"
_VOLUMES = "volumes"


async def announce(core: Core) -> UUID | None:
    """Enter that this process's roles, places and statements are in force, unless the last such entries say so.

    Returns the id of the event of the roles, None where they were entered already.

    Raises LedgerUnavailable, DatabaseUnavailable: nobody serves by definitions that are not on record.
    """
    loaded, settings = core.gate.policy.roles, core.settings
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        found = (await search(connection, Filters(action=Action.DEFINITIONS_LOADED))).entries
    last = {event.resource.id: event for event in (_decode(one.entry).event for one in reversed(found))}
    for name, listed, now in (
        (_PLACES, settings.egress.places, digest(settings.egress.places)),
        (_VOLUMES, settings.volumes.attested, digest_of_statements(settings.volumes.attested)),
    ):
        before = last.get(name, _Event(PLATFORM_TENANT))
        if before.digest != now.hex() and (listed or before.digest):
            await core.gate.enter(_loaded(name, now, _following(before.id, now)), tenant=PLATFORM_TENANT)
    before = last.get(_ROLES, _Event(PLATFORM_TENANT))
    if before.digest == loaded.digest.hex():
        return None
    return await roles.announce(core.gate, loaded, event=_following(before.id, loaded.digest))


def _loaded(name: str, listed: bytes, event: UUID) -> Event:
    facts = SystemFacts(resource_type="definition", resource_id=name, digest=listed)
    return system_event(event, Action.DEFINITIONS_LOADED, actor="wellkeep", **facts)


def _following(last: UUID, digest: bytes) -> UUID:
    """Return the id of the entry of `digest` after the entry `last`: the same whoever makes it."""
    return derived(last, b"wellkeep/definitions\n" + last.bytes + digest)
