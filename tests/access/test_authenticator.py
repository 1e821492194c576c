"""The memory of the authenticator, the last use of keys, and failures that can't flood the ledger."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from access.conftest import Door
from wellkeep.access import authenticator, failures
from wellkeep.access.api_keys import IssuedKey
from wellkeep.base.errors import LedgerUnavailable, Unauthenticated
from wellkeep.base.ids import PLATFORM_TENANT, uuid7


async def issue(door: Door, tenant: UUID) -> IssuedKey:
    return await door.keys.create(door.operator, tenant=tenant, name="bridge", roles=["integration"])


async def fail(door: Door, worker: authenticator.Authenticator, ip: str | None, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            await worker.authenticate("Bearer nonsense", request=uuid7(), ip=ip, agent="0123456789abcdef")


async def failed(door: Door) -> list[tuple[object, object]]:
    events = await door.home.events(PLATFORM_TENANT)
    return [(event.get("source"), event["count"]) for event in events if event["action"] == "auth.failed"]


async def test_the_last_use_is_written_down_in_the_background(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    worker = door.worker()
    await worker.start()
    await worker.start()
    await worker.authenticate(f"Bearer {issued.key.reveal()}", request=uuid7())
    assert (await door.keys.list(door.operator, tenant=tenant))[0].last_used_at is None
    await worker.stop()
    assert (await door.keys.list(door.operator, tenant=tenant))[0].last_used_at is not None


async def test_the_rounds_go_on_by_themselves(door: Door, tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "_ROUNDS_SECONDS", 0.05)
    issued = await issue(door, tenant)
    worker = door.worker()
    await worker.start()
    await worker.authenticate(f"Bearer {issued.key.reveal()}", request=uuid7())
    async with asyncio.timeout(30):
        while (await door.keys.list(door.operator, tenant=tenant))[0].last_used_at is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await worker.stop()


async def test_what_is_remembered_is_bounded(door: Door, tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "_KEPT", 2)
    worker = door.worker()
    for _ in range(3):
        issued = await issue(door, tenant)
        await worker.authenticate(f"Bearer {issued.key.reveal()}", request=uuid7())
    assert len(worker._known) == 2


async def test_a_flood_of_failures_is_one_entry_and_a_count(door: Door) -> None:
    worker = door.worker()
    await fail(door, worker, "192.0.2.1", times=50)
    await fail(door, worker, "192.0.2.2")
    source = {"agent": "0123456789abcdef", "ip": "192.0.2.1"}
    assert [count for _, count in await failed(door)] == [1, 1]
    assert (await failed(door))[0][0] == source
    await door.home.findings.flush()
    assert [finding.kind for finding in await door.home.findings.list(PLATFORM_TENANT)] == ["auth.failures"]
    await worker.go_round()
    assert len(await failed(door)) == 2
    await worker.stop()
    assert (await failed(door))[2] == ({"ip": "192.0.2.1"}, 49)


async def test_the_next_minute_begins_with_what_the_last_one_left(door: Door) -> None:
    worker = door.worker()
    await fail(door, worker, "192.0.2.1", times=3)
    door.clock.by = timedelta(seconds=failures.WINDOW + 1)
    await fail(door, worker, "192.0.2.1")
    assert [count for _, count in await failed(door)] == [1, 3]


async def test_addresses_beyond_the_bound_share_one_count(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_ADDRESSES", 2)
    worker = door.worker()
    for last in range(10):
        await fail(door, worker, f"192.0.2.{last}")
    assert len(worker._failures._windows) == 3
    assert [count for _, count in await failed(door)] == [1, 1, 1]
    await worker.stop()
    assert sum(count for _, count in await failed(door) if isinstance(count, int)) == 10


async def test_a_host_with_a_network_of_its_own_is_one_address_on_record(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would write an entry for each address that it has, and leave no room for anybody else's."""
    monkeypatch.setattr(failures, "_ADDRESSES", 2)
    worker = door.worker()
    for last in range(30):
        await fail(door, worker, f"2001:db8::{last + 1:x}")
    await fail(door, worker, "2001:db8:0:1::1")
    agent = {"agent": "0123456789abcdef"}
    assert await failed(door) == [(agent | {"ip": "2001:db8::1"}, 1), (agent | {"ip": "2001:db8:0:1::1"}, 1)]
    await door.home.findings.flush()
    assert [finding.kind for finding in await door.home.findings.list(PLATFORM_TENANT)] == ["auth.failures"]
    await worker.stop()
    assert (await failed(door))[2] == ({"ip": "2001:db8::1"}, 29)


async def test_a_failure_that_cant_be_entered_is_unavailable_and_counts_wait(door: Door) -> None:
    worker = door.worker()
    await fail(door, worker, "192.0.2.1", times=2)
    door.home.writer.refusing = True
    with pytest.raises(LedgerUnavailable):
        await worker.authenticate("Bearer nonsense", request=uuid7(), ip="192.0.2.2")
    await worker.stop()
    door.home.writer.refusing = False
    await worker.stop()
    assert sum(count for _, count in await failed(door) if isinstance(count, int)) == 3


async def test_a_wrong_secret_of_a_key_that_exists_names_the_key(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    with pytest.raises(Unauthenticated):
        await door.worker().authenticate(f"Bearer {issued.about.prefix}_{'0' * 64}", request=uuid7())
    event = (await door.home.events(PLATFORM_TENANT))[-1]
    assert event["resource"] == {"id": str(issued.about.id), "type": "api_key"}


async def test_the_schemes_name_is_read_in_any_case(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    for scheme in ("bearer", "BEARER", "Bearer"):
        principal = await door.worker().authenticate(f"{scheme} {issued.key.reveal()}", request=uuid7())
        assert principal.credential == issued.about.id
