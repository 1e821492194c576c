"""What `keys status` knows: ages and due dates, seals against budgets, rows that still carry a key, and epochs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from assembly.conftest import Installed
from assembly.test_running import caller
from vault.stack import WARDS
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import Core
from wellkeep.assembly.keys_status import epochs, tenant_keys
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.key_settings import AwsEpochs
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES, TENANT_PURPOSES, KeyPurpose
from wellkeep.keys.streams import new_stream

STORE_SUBJECT = """
INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
VALUES ($1, $2, 1, $3, $4, $5)
"""

_RETIRED = "INSERT INTO keys.epoch (epoch, state, retired_at, destroy_at) VALUES (9, 'retired', clock_timestamp(), $1)"


async def made(runtime: Runtime) -> UUID:
    tenant = await runtime.tenants.create(this_operator(), name=f"t-{uuid4().hex[:8]}")
    await runtime.core.ring.load(tenant)
    return tenant


async def with_subjects(core: Core, tenant: UUID, count: int) -> None:
    keys = await core.ring.load(tenant)
    async with core.app.tenant_transaction(tenant=tenant) as connection:
        for subject in (uuid4() for _ in range(count)):
            new = await keys.new_subject_key(subject)
            await connection.execute(STORE_SUBJECT, tenant, subject, new.kid, new.wrapped, new.wrap_epoch)


async def test_a_tenants_keys_with_age_seals_root_and_rows(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        core = runtime.core
        tenant = await made(runtime)
        await with_subjects(core, tenant, 3)
        await new_stream(await core.ring.load(tenant), blob=uuid4())
        plain = await tenant_keys(core, tenant)
        counted = {key.purpose: key for key in await tenant_keys(core, tenant, rows=True)}
        driver, root = core.roots.deployment.describe().driver, core.roots.deployment.describe().root
    assert sorted(key.purpose for key in plain) == sorted(TENANT_PURPOSES)
    assert all(key.rows is None for key in plain)
    assert {(key.state, key.epoch, key.kms_epoch, key.driver, key.root, key.overdue) for key in plain} == {
        ("active", 1, 1, driver, root, False)
    }
    wrap = counted[KeyPurpose.WRAP]
    assert (wrap.rows, wrap.seals, wrap.age_days) == (3, 4_096, 0)
    assert wrap.used_percent == pytest.approx(100 * 4_096 / 2**32, abs=1e-6)
    assert wrap.due == wrap.created_at + timedelta(days=installed.settings.keys.rotate_days)
    assert counted[KeyPurpose.FILE].seals == 4_096
    assert (counted[KeyPurpose.INDEX].rows, counted[KeyPurpose.INDEX].seals) == (0, None)
    assert counted[KeyPurpose.DATA].rows == 0
    assert (counted[KeyPurpose.BACKUP].rows, counted[KeyPurpose.BACKUP].due) == (None, None)


async def test_states_answers_and_tags_name_the_keys_that_they_carry(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        tenant = await made(runtime)
        administrator = await caller(runtime, tenant, "administrator")
        integration = await caller(runtime, tenant, "integration")
        await runtime.collections.create(administrator, WARDS)
        first = await runtime.records.create(integration, "wards", {"title": "east", "beds": 3})
        await runtime.records.create(integration, "wards", {"title": "west", "beds": 4}, idempotency_key="once-1")
        await runtime.records.change(integration, "wards", first.id, {"beds": 5}, expected=1)
        counted = {key.purpose: key for key in await tenant_keys(runtime.core, tenant, rows=True)}
    assert counted[KeyPurpose.DATA].rows == 2 + 1 + 1, "two records, one older state, one answer"
    assert counted[KeyPurpose.INDEX].rows == 2
    assert counted[KeyPurpose.WRAP].rows == 0


async def test_a_key_past_its_days_is_overdue_and_one_of_a_foreign_root_has_no_driver(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        tenant = await made(runtime)
        endpoint = installed.database.administrator()
        assert endpoint is not None
        connection = await asyncpg.connect(**endpoint.at("wellkeep").arguments())
        try:
            await connection.execute(
                "UPDATE keys.tenant_key SET created_at = $2 WHERE tenant_id = $1 AND purpose = 'DATA'",
                tenant,
                SystemClock().now() - timedelta(days=91),
            )
            await connection.execute(
                "UPDATE keys.tenant_key SET root = 'local:0123456789abcdef' WHERE tenant_id = $1 AND purpose = 'FILE'",
                tenant,
            )
        finally:
            await connection.close()
        found = {key.purpose: key for key in await tenant_keys(runtime.core, tenant)}
    assert (found[KeyPurpose.DATA].overdue, found[KeyPurpose.DATA].age_days) == (True, 91)
    assert not found[KeyPurpose.WRAP].overdue
    assert found[KeyPurpose.FILE].driver is None


async def test_the_deployments_own_keys_and_epochs(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        own = await tenant_keys(runtime.core, PLATFORM_TENANT, rows=True)
        (epoch,) = await epochs(runtime.core)
        installed.home.secrets.joinpath("epoch-1.key").rename(installed.home.secrets / "away")
        try:
            (away,) = await epochs(runtime.core)
        finally:
            installed.home.secrets.joinpath("away").rename(installed.home.secrets / "epoch-1.key")
    assert {key.purpose for key in own} == {*DEPLOYMENT_PURPOSES, *TENANT_PURPOSES}
    assert all(key.driver == "local" for key in own)
    assert {key.kms_epoch for key in own if key.purpose in DEPLOYMENT_PURPOSES} == {0}
    assert (epoch.epoch, epoch.state, epoch.outside, epoch.overdue) == (1, "active", "usable", False)
    assert epoch.rows >= len(TENANT_PURPOSES)
    assert epoch.due == epoch.created_at + timedelta(days=installed.settings.keys.rotate_days)
    assert away.outside == "gone"


async def test_an_epochs_end_is_said_with_the_days_that_a_cloud_waits(installed: Installed) -> None:
    """The certificate of an erasure says the same day; a status that leaves the wait out promises too much."""
    day = SystemClock().now() + timedelta(days=30)
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        aws = AwsEpochs(place="aws", region="eu-central-1", wait_days=9)
        keys = msgspec.structs.replace(runtime.core.settings.keys, epochs=aws)
        cloudy = replace(runtime.core, settings=msgspec.structs.replace(runtime.core.settings, keys=keys))
        endpoint = installed.database.administrator()
        assert endpoint is not None
        connection = await asyncpg.connect(**endpoint.at("wellkeep").arguments())
        try:
            await connection.execute(_RETIRED, day)
            local, before = (await epochs(runtime.core))[-1], (await epochs(cloudy))[-1]
            await connection.execute("UPDATE keys.epoch SET ordered_at = clock_timestamp() WHERE epoch = 9")
            ordered = (await epochs(cloudy))[-1]
        finally:
            await connection.execute("DELETE FROM keys.epoch WHERE epoch = 9")
            await connection.close()
    assert (local.destroy_at, before.destroy_at, ordered.destroy_at) == (day, day + timedelta(days=9), day)
