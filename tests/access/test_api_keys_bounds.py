"""Bounds of keys: networks, rotation with an overlap, and nobody who widens what they were given."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from access.conftest import Door
from gate.trial import caller
from wellkeep.access import key_bounds
from wellkeep.access.api_keys import ApiKey, Bounds, IssuedKey
from wellkeep.base.errors import Conflict, Forbidden, NotFound, Unauthenticated, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Caller

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"
BOUND = Bounds(("192.0.2.0/24",), 600, 5000)


async def issue(door: Door, tenant: UUID, bounds: Bounds = BOUND, **more: object) -> IssuedKey:
    given: dict[str, object] = {"name": "bridge", "roles": ["integration"], **more}
    return await door.keys.create(door.operator, tenant=tenant, bounds=bounds, **given)  # type: ignore[arg-type]


async def sign_in(door: Door, issued: IssuedKey, ip: str | None, worker: object = None) -> Principal:
    asked = door.worker() if worker is None else worker
    return await asked.authenticate(f"Bearer {issued.key.reveal()}", request=uuid7(), ip=ip)  # type: ignore[attr-defined, no-any-return]


async def test_a_key_from_elsewhere_is_as_good_as_unknown_and_on_record(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    worker = door.worker()
    principal = await sign_in(door, issued, HERE, worker)
    assert (principal.networks, principal.requests, principal.records) == (("192.0.2.0/24",), 600, 5000)
    for ip in (ELSEWHERE, "2001:db8::1", None):
        for asked in (worker, door.worker()):  # one that remembers the key, one that looks it up
            with pytest.raises(Unauthenticated):
                await sign_in(door, issued, ip, asked)
    event = (await door.home.events(PLATFORM_TENANT))[-1]
    assert event["action"] == "auth.failed"
    assert event["resource"] == {"id": str(issued.about.id), "type": "api_key"}


async def test_networks_that_are_none_let_nobody_in(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    async with door.home.database.entered(tenant) as connection:
        await connection.execute("UPDATE access.api_key SET networks = '{rubbish}'")
    with pytest.raises(Unauthenticated):
        await sign_in(door, issued, HERE)


@pytest.mark.parametrize(
    ("bounds", "path"),
    [
        (Bounds(("192.0.2.1/24",)), "/networks/0"),
        (Bounds(("0.0.0.0/0", "here")), "/networks/1"),
        (Bounds(tuple(f"192.0.2.{n}/32" for n in range(33))), "/networks"),
        (Bounds(requests=0), "/requests"),
        (Bounds(records=key_bounds.MOST_RECORDS + 1), "/records"),
    ],
)
async def test_bounds_that_do_not_fit_are_refused_by_their_path(
    door: Door, tenant: UUID, bounds: Bounds, path: str
) -> None:
    with pytest.raises(Validation) as refused:
        await issue(door, tenant, bounds)
    assert [problem.path for problem in refused.value.fields] == [path]


async def test_an_unknown_scope_is_refused_and_permits_nothing_where_one_is_read(door: Door, tenant: UUID) -> None:
    for scope in ("system/patients.sr", "patient/*.read", "record:fly", "system/Patients.r", "system/patients."):
        with pytest.raises(Validation) as refused:
            await issue(door, tenant, scopes=["record:read", scope])
        assert [(one.path, one.code) for one in refused.value.fields] == [("/scopes/1", "unknown-scope")]
    issued = await issue(door, tenant, scopes=["system/patients.r", "record:search"])
    principal = await sign_in(door, issued, HERE)
    assert principal.scopes == frozenset({Permission.RECORD_SEARCH})
    assert principal.within == {("patients", Permission.RECORD_READ), ("patients", Permission.COLLECTION_READ)}


async def test_a_rotation_leaves_both_keys_working_until_the_overlap_is_over(door: Door, tenant: UUID) -> None:
    old = await issue(door, tenant, scopes=["record:read"], days=30)
    new = await door.keys.rotate(door.operator, tenant=tenant, key_id=old.about.id, overlap=timedelta(hours=24))
    about: dict[UUID, ApiKey] = {key.id: key for key in await door.keys.list(door.operator, tenant=tenant)}
    assert about[old.about.id].replaced_by == new.about.id
    assert about[old.about.id].expires_at == new.old_ends
    same = ("name", "roles", "scopes", "bounds")
    assert all(getattr(about[new.about.id], name) == getattr(old.about, name) for name in same)
    assert new.about.expires_at - new.about.created_at == timedelta(days=30)
    worker = door.worker()
    for issued in (old, new):
        await sign_in(door, issued, HERE, worker)
    door.clock.by = timedelta(hours=24, seconds=1)
    await sign_in(door, new, HERE, worker)
    for asked in (worker, door.worker()):
        with pytest.raises(Unauthenticated):
            await sign_in(door, old, HERE, asked)
    told = [(event["action"], event["resource"]) for event in await door.home.events(tenant)]
    assert ("apikey.rotate", {"id": str(old.about.id), "type": "api_key"}) in told
    assert ("apikey.create", {"id": str(new.about.id), "type": "api_key"}) in told


async def test_however_often_a_key_is_rotated_its_successors_count_as_one(door: Door, tenant: UUID) -> None:
    first = latest = await issue(door, tenant, Bounds(requests=600))
    for _ in range(3):
        latest = await door.keys.rotate(
            door.operator, tenant=tenant, key_id=latest.about.id, overlap=timedelta(hours=1)
        )
        assert (await sign_in(door, latest, HERE)).lineage == first.about.id
    assert (await sign_in(door, first, HERE)).lineage is None
    assert (await sign_in(door, await issue(door, tenant), HERE)).lineage is None


async def test_a_key_is_rotated_once_however_many_try_at_once(door: Door, tenant: UUID) -> None:
    old = await issue(door, tenant)
    tried = await asyncio.gather(
        *(door.keys.rotate(door.operator, tenant=tenant, key_id=old.about.id, overlap=timedelta()) for _ in range(4)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in tried) == ["Conflict", "Conflict", "Conflict", "IssuedKey"]
    assert len(await door.keys.list(door.operator, tenant=tenant)) == 2


async def test_what_has_ended_is_not_there_or_is_too_long_is_not_rotated(
    door: Door, tenant: UUID, other_tenant: UUID
) -> None:
    old = await issue(door, tenant)
    with pytest.raises(NotFound):
        await door.keys.rotate(door.operator, tenant=other_tenant, key_id=old.about.id, overlap=timedelta())
    for overlap in (timedelta(days=31), timedelta(seconds=-1)):
        with pytest.raises(Validation):
            await door.keys.rotate(door.operator, tenant=tenant, key_id=old.about.id, overlap=overlap)
    await door.keys.revoke(door.operator, tenant=tenant, key_id=old.about.id)
    with pytest.raises(Conflict):
        await door.keys.rotate(door.operator, tenant=tenant, key_id=old.about.id, overlap=timedelta())
    with pytest.raises(Conflict):
        await door.keys.change(door.operator, tenant=tenant, key_id=old.about.id, bounds=Bounds())


async def test_an_overlap_lengthens_no_keys_days(door: Door, tenant: UUID) -> None:
    old = await issue(door, tenant, days=1)
    new = await door.keys.rotate(door.operator, tenant=tenant, key_id=old.about.id, overlap=timedelta(days=9))
    assert new.old_ends == old.about.expires_at
    with pytest.raises(asyncpg.PostgresError, match="or sooner"):
        async with door.home.database.entered(tenant) as connection:
            await connection.execute("UPDATE access.api_key SET expires_at = expires_at + interval '1 second'")


async def test_bounds_are_changed_on_record_and_shown(door: Door, tenant: UUID, other_tenant: UUID) -> None:
    issued = await issue(door, tenant, Bounds())
    await door.keys.change(door.operator, tenant=tenant, key_id=issued.about.id, bounds=BOUND)
    assert (await door.home.events(tenant))[-1]["action"] == "apikey.change"
    assert (await door.keys.read(door.operator, tenant=tenant, key_id=issued.about.id)).bounds == BOUND
    with pytest.raises(NotFound):
        await door.keys.read(door.operator, tenant=other_tenant, key_id=issued.about.id)
    with pytest.raises(NotFound):
        await door.keys.change(door.operator, tenant=other_tenant, key_id=issued.about.id, bounds=BOUND)


async def test_changed_bounds_hold_within_half_a_minute_on_every_worker_and_a_revocation_at_once(
    door: Door, tenant: UUID
) -> None:
    """What a worker remembers of a key is no older than that. What is urgent is a revocation: the database is asked."""
    issued = await issue(door, tenant, Bounds())
    workers = [door.worker() for _ in range(2)]
    for worker in workers:
        await sign_in(door, issued, HERE, worker)
    await door.keys.change(door.operator, tenant=tenant, key_id=issued.about.id, bounds=BOUND)
    door.clock.by = timedelta(seconds=30)
    for worker in workers:
        principal = await sign_in(door, issued, HERE, worker)
        assert key_bounds.of(principal) == BOUND
        with pytest.raises(Unauthenticated):
            await sign_in(door, issued, ELSEWHERE, worker)
    await door.keys.revoke(door.operator, tenant=tenant, key_id=issued.about.id)
    for worker in workers:
        principal = await sign_in(door, issued, HERE, worker)  # it remembers; the database does not
        async with door.home.database.entered(tenant) as connection:
            assert not await connection.fetchval("SELECT access.stands($1)", principal.credential)


def bounded(tenant: UUID, bounds: Bounds) -> Caller:
    principal = Principal(
        type=ActorType.API_KEY,
        id=str(uuid7()),
        tenant=tenant,
        roles=("administrator",),
        method=AuthMethod.API_KEY,
        networks=bounds.networks,
        requests=bounds.requests,
        records=bounds.records,
    )
    return Caller(principal, None, uuid7())


async def test_a_bounded_key_passes_on_nothing_less_bounded(door: Door, tenant: UUID) -> None:
    asking = bounded(tenant, BOUND)
    given = {"tenant": tenant, "name": "next", "roles": ["integration"]}
    inherited = await door.keys.create(asking, **given)  # type: ignore[arg-type]
    assert inherited.about.bounds == BOUND
    inside = Bounds(("192.0.2.128/25",), 5, 5)
    assert (await door.keys.create(asking, **given, bounds=inside)).about.bounds == inside  # type: ignore[arg-type]
    for wider in (
        Bounds(("192.0.0.0/16",)),
        Bounds(("2001:db8::/32",)),
        Bounds(requests=601),
        Bounds(records=5001),
    ):
        with pytest.raises(Forbidden):
            await door.keys.create(asking, **given, bounds=wider)  # type: ignore[arg-type]


async def test_who_is_narrowed_or_bounded_changes_no_bounds(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    narrowed = caller(tenant, "administrator", scopes=frozenset({Permission.APIKEY_CREATE}))
    for asking in (narrowed, bounded(tenant, BOUND)):
        with pytest.raises(Forbidden):
            await door.keys.change(asking, tenant=tenant, key_id=issued.about.id, bounds=Bounds())
    other = await issue(door, tenant, scopes=["record:read"])
    with pytest.raises(Forbidden):
        await door.keys.rotate(narrowed, tenant=tenant, key_id=other.about.id, overlap=timedelta())
