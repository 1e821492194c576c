"""A key in AWS that was disabled, or scheduled for deletion, and is there again: who was revoked opens by itself."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from anchors.world import answering
from keys.providers.aws_fake import FakeAws, Key
from keys.providers.drivers import aws_calls
from keys.rig import Bench, SetClock, under_way
from local_keys import SCOPE
from wellkeep.base.errors import KeysRevoked
from wellkeep.findings.grammar import Kind
from wellkeep.keys import epoch_end
from wellkeep.keys.aws import AwsEpochKeys, AwsKms
from wellkeep.keys.kms import EpochState, OneRoot
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.ring_states import TenantState

SOFT = 300
BACK_WITHIN = 61
"""Seconds: the longest pause between two tries, and the second in which somebody asks."""


async def _found(bench: Bench, tenant: UUID) -> set[str]:
    await bench.findings.flush()
    return {found.kind for found in await bench.findings.list(tenant)}


async def _asked_until(ring: KeyRing, clock: SetClock, tenant: UUID, state: TenantState, *, within: int) -> None:
    """Have somebody ask once a second until the tenant stands so; no later than that."""
    for _ in range(within):
        clock.passed += 1
        with suppress(KeysRevoked):
            await ring.load(tenant)
        await under_way(ring)
        if ring.state(tenant) is state:
            return
    pytest.fail(f"it stands as {ring.state(tenant)} after {within} seconds")


@pytest.mark.parametrize("which", ["root", "epoch"])
@pytest.mark.parametrize("course", [["Disabled"], ["PendingDeletion", "Disabled"]], ids=["disabled", "cancelled"])
@pytest.mark.parametrize("service", ["refuses", "opens all the same"])
async def test_a_tenant_comes_back_within_a_minute_of_its_key(
    bench: Bench, tenant: UUID, which: str, course: list[str], service: str
) -> None:
    """A deletion that is cancelled leaves the key disabled, and only when it is enabled is it there."""
    fake, clock = FakeAws(opens_disabled=service == "opens all the same"), bench.clock
    keys: dict[str, Key] = {"root": fake.add()}
    async with answering(fake.handle) as server:
        epochs = AwsEpochKeys(aws_calls(server.port), scope=SCOPE, wait_days=7, clock=clock)
        await epochs.create(1)
        keys["epoch"] = fake.keys[fake.aliases[f"alias/wellkeep-{SCOPE.deployment}-epoch-1"]]
        root = OneRoot(AwsKms(aws_calls(server.port), arn=keys["root"].arn, scope=SCOPE, clock=clock))
        ring = KeyRing(bench.pool, root, epochs, bench.findings, clock=clock)
        await ring.provision(tenant)
        for state in course:
            keys[which].state = state
            await _asked_until(ring, clock, tenant, TenantState.REVOKED, within=SOFT)
            assert Kind.KEYS_REVOKED in await _found(bench, tenant)
            for _ in range(15):  # so long that the pauses are as long as they get
                clock.passed += 60
                with pytest.raises(KeysRevoked):
                    await ring.load(tenant)
        keys[which].state = "Enabled"
        await _asked_until(ring, clock, tenant, TenantState.OK, within=BACK_WITHIN)
        assert Kind.KEYS_REVOKED not in await _found(bench, tenant)
        await ring.stop()


async def test_a_cancelled_destruction_of_an_epoch_is_ordered_again_though_the_key_stays_disabled() -> None:
    fake, clock = FakeAws(), SetClock()
    async with answering(fake.handle) as server:
        epochs = AwsEpochKeys(aws_calls(server.port), scope=SCOPE, wait_days=7, clock=clock)
        for epoch in (1, 2):
            await epochs.create(epoch)
        old = fake.keys[fake.aliases[f"alias/wellkeep-{SCOPE.deployment}-epoch-1"]]
        first = await epoch_end.order(epochs, 1, current=2)
        old.state, old.deletion = "Disabled", None
        assert await epochs.state(1) is EpochState.PENDING, "no use, and not gone"
        again = await epoch_end.order(epochs, 1, current=2)
        assert old.state == "PendingDeletion"
        assert fake.calls["ScheduleKeyDeletion"] == 2
        assert not first.gone
        assert not again.gone
        assert again.at == datetime.fromtimestamp(4_000_000_000, UTC) + timedelta(days=7)
        old.state, old.deletion = "Enabled", None
        assert not (await epoch_end.order(epochs, 1, current=2)).gone
        assert fake.calls["ScheduleKeyDeletion"] == 3
