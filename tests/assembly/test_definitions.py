"""What is in force is on record before anybody is served by it, once for each change."""

from __future__ import annotations

import asyncio
from datetime import date

import msgspec

from assembly.conftest import Installed
from wellkeep.assembly.definitions import announce
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.volume_settings import AttestedVolume, VolumeSettings, digest_of_statements
from wellkeep.cli.serving import worker_runtime
from wellkeep.gate.policy import Policy
from wellkeep.ledger.event import Action
from wellkeep.ledger.search import Filters, search


async def announced(runtime: Runtime) -> list[str]:
    """Return the digests that were entered, oldest first."""
    async with runtime.core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        found = (await search(connection, Filters(action=Action.DEFINITIONS_LOADED))).entries
    return [msgspec.json.decode(one.entry)["event"]["digest"] for one in reversed(found)]


async def test_a_server_enters_the_roles_it_starts_with_where_they_have_changed(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        gate = runtime.core.gate
        shipped, changed = gate.policy.roles, msgspec.structs.replace(gate.policy.roles, digest=b"\x01" * 32)
        assert await announce(runtime.core) is None, "init entered it"
        gate.policy = Policy(changed)
        # Whoever comes at the same moment enters the same event; whoever comes a moment later sees that it is there.
        entered = {*await asyncio.gather(announce(runtime.core), announce(runtime.core))} - {None}
        assert len(entered) == 1, "two workers, one entry"
        assert await announce(runtime.core) is None
        assert await announced(runtime) == [shipped.digest.hex(), changed.digest.hex()]
    for _ in range(2):
        async with worker_runtime(installed.home.path) as runtime:
            assert await announced(runtime) == [one.digest.hex() for one in (shipped, changed, shipped)]


async def test_what_is_stated_of_volumes_is_entered_when_it_changes(installed: Installed) -> None:
    stated = AttestedVolume(path=".", by="AWS", reference="vol-1", until=date(2027, 1, 1))
    for volumes, entered in ((VolumeSettings(attested=(stated,)), 1), (VolumeSettings(), 2), (VolumeSettings(), 2)):
        settings = msgspec.structs.replace(installed.settings, volumes=volumes)
        async with open_runtime(installed.home, settings, installed.database) as runtime:
            await announce(runtime.core)
            async with runtime.core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                found = (await search(connection, Filters(action=Action.DEFINITIONS_LOADED))).entries
        events = [msgspec.json.decode(one.entry)["event"] for one in found]
        told = [event["digest"] for event in events if event["resource"]["id"] == "volumes"]
        assert len(told) == entered
        assert told[0] == digest_of_statements(volumes.attested).hex()
