"""API keys: shown once, stored as a digest, gone everywhere with the next request once revoked."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from access.conftest import Door
from gate.trial import ReadNote, caller, reading
from wellkeep.access import key_format
from wellkeep.access.api_keys import IssuedKey
from wellkeep.access.bootstrap import bootstrap_administrator
from wellkeep.access.tenants import Tenants
from wellkeep.base.errors import Conflict, Forbidden, LedgerUnavailable, NotFound, Unauthenticated, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import Principal
from wellkeep.gate.acts import Caller


async def issue(door: Door, tenant: UUID, *roles: str, **more: object) -> IssuedKey:
    return await door.keys.create(
        door.operator,
        tenant=tenant,
        name="bridge",
        roles=roles or ("integration",),
        **more,  # type: ignore[arg-type]
    )


def header(issued: IssuedKey) -> str:
    return f"Bearer {issued.key.reveal()}"


async def sign_in(door: Door, presented: str | None) -> Principal:
    return await door.worker().authenticate(presented, request=uuid7(), ip="192.0.2.9")


async def test_a_key_signs_in_and_its_making_is_an_entry_of_its_tenant(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant, "clinician", scopes=[Permission.RECORD_READ])
    principal = await sign_in(door, header(issued))
    assert (principal.tenant, principal.roles, principal.credential) == (tenant, ("clinician",), issued.about.id)
    assert principal.scopes == frozenset({Permission.RECORD_READ})
    event = (await door.home.events(tenant))[-1]
    assert event["action"] == "apikey.create"
    assert event["actor"] == {"id": "root", "type": "operator", "roles": ["operator"]}
    assert event["fields"] == ["clinician"]
    assert event["resource"] == {"id": str(issued.about.id), "type": "api_key"}


async def test_neither_key_nor_secret_is_anywhere_in_the_database(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    secret = issued.key.reveal().rsplit("_", 1)[1]
    async with door.home.database.connect() as connection:
        stored = await connection.fetchval("SELECT string_agg(k::text, '') FROM access.api_key k")
        entries = await connection.fetchval("SELECT string_agg(encode(entry, 'escape'), '') FROM ledger.entry")
    assert secret not in stored
    assert secret not in entries
    assert issued.key.reveal() not in repr(issued)


async def test_a_stolen_digest_does_not_sign_in(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    digest = key_format.digest(issued.key.reveal()).hex()
    for stolen in (digest, f"{issued.about.prefix}_{digest}"):
        with pytest.raises(Unauthenticated):
            await sign_in(door, f"Bearer {stolen}")


async def test_the_application_can_neither_read_nor_change_a_digest(door: Door, tenant: UUID) -> None:
    await issue(door, tenant)
    for statement in ("SELECT digest FROM access.api_key", "UPDATE access.api_key SET digest = ''"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with door.home.database.entered(tenant) as connection:
                await connection.execute(statement)


async def test_a_revoked_key_stays_revoked(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    await door.keys.revoke(door.operator, tenant=tenant, key_id=issued.about.id)
    with pytest.raises(NotFound):
        await door.keys.revoke(door.operator, tenant=tenant, key_id=issued.about.id)
    with pytest.raises(asyncpg.PostgresError, match="stays revoked"):
        async with door.home.database.entered(tenant) as connection:
            await connection.execute("UPDATE access.api_key SET revoked_at = NULL")


async def test_a_revocation_holds_with_the_next_request_on_every_worker(door: Door, tenant: UUID) -> None:
    """The second worker still remembers the key; the database does not let it read."""
    issued = await issue(door, tenant)
    other = door.worker()
    principal = await other.authenticate(header(issued), request=uuid7())
    asking = Caller(principal, None, uuid7())
    decision = await door.home.gate.decide(asking, reading())
    call = ReadNote(uuid7(), credential=principal.credential)
    assert await door.home.gate.read(decision, call) == []
    await door.keys.revoke(door.operator, tenant=tenant, key_id=issued.about.id)
    assert await other.authenticate(header(issued), request=uuid7()) is principal
    with pytest.raises(Unauthenticated):
        await door.home.gate.read(decision, call)
    door.clock.by = timedelta(seconds=61)
    with pytest.raises(Unauthenticated):
        await other.authenticate(header(issued), request=uuid7())


async def test_a_revoked_key_of_the_platform_is_not_told_which_tenants_there_are(door: Door, tenant: UUID) -> None:
    issued = await issue(door, PLATFORM_TENANT, "administrator")
    asking = Caller(await sign_in(door, header(issued)), None, uuid7())
    with pytest.raises(NotFound):
        await door.keys.create(asking, tenant=uuid7(), name="a", roles=["clinician"])
    await door.keys.revoke(door.operator, tenant=PLATFORM_TENANT, key_id=issued.about.id)
    for one in (uuid7(), tenant):
        with pytest.raises(Unauthenticated):
            await door.keys.create(asking, tenant=one, name="a", roles=["clinician"])


async def test_revoking_twice_at_once_revokes_once(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    revoked = await asyncio.gather(
        *(door.keys.revoke(door.operator, tenant=tenant, key_id=issued.about.id) for _ in range(5)),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in revoked) == ["NoneType", *["NotFound"] * 4]


async def test_an_expired_key_is_refused_even_where_it_is_remembered(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant, days=1)
    worker = door.worker()
    door.clock.by = timedelta(days=1) - timedelta(seconds=20)
    await worker.authenticate(header(issued), request=uuid7())
    door.clock.by = timedelta(days=1)
    with pytest.raises(Unauthenticated):
        await worker.authenticate(header(issued), request=uuid7())


async def test_a_key_of_another_environment_is_refused(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    with pytest.raises(Unauthenticated):
        await door.worker(environment="production").authenticate(header(issued), request=uuid7())


async def test_whatever_is_wrong_gets_one_answer(door: Door, tenant: UUID) -> None:
    issued = await issue(door, tenant)
    key = issued.key.reveal()
    unknown = f"wk_test_{uuid7().hex}_{'0' * 64}"
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    told = set()
    for presented in (None, "", "Basic x", "Bearer ", "Bearer nonsense", f"Bearer {unknown}", f"Bearer {wrong}"):
        with pytest.raises(Unauthenticated) as refused:
            await sign_in(door, presented)
        told.add((refused.value.message, refused.value.status, refused.value.code))
    assert len(told) == 1


async def test_the_list_shows_prefixes_and_is_an_entry(door: Door, tenant: UUID, other_tenant: UUID) -> None:
    issued = await issue(door, tenant, days=400)
    await issue(door, other_tenant)
    listed = await door.keys.list(door.operator, tenant=tenant)
    assert [key.id for key in listed] == [issued.about.id]
    assert listed[0].prefix == key_format.prefix("test", issued.about.id)
    assert (await door.home.events(tenant))[-1]["action"] == "apikey.list"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"roles": ["root"]}, "/roles/0"),
        ({"roles": ["operator"]}, "/roles/0"),
        ({"roles": []}, "/roles"),
        ({"roles": ["coach", "coach"]}, "/roles"),
        ({"days": 0}, "/days"),
        ({"days": 401}, "/days"),
        ({"name": "Jane Doe"}, "/name"),
    ],
)
async def test_what_does_not_fit_is_refused_by_its_path(
    door: Door, tenant: UUID, change: dict[str, object], path: str
) -> None:
    given: dict[str, object] = {"name": "bridge", "roles": ["integration"], **change}
    with pytest.raises(Validation) as refused:
        await door.keys.create(door.operator, tenant=tenant, **given)  # type: ignore[arg-type]
    assert [problem.path for problem in refused.value.fields] == [path]


async def test_a_narrowed_key_issues_none_that_may_do_more(door: Door, tenant: UUID) -> None:
    narrowed = caller(tenant, "administrator", scopes=frozenset({Permission.APIKEY_CREATE}))
    for scopes in (None, [Permission.COLLECTION_CREATE]):
        with pytest.raises(Forbidden):
            await door.keys.create(narrowed, tenant=tenant, name="wider", roles=["administrator"], scopes=scopes)
    await door.keys.create(
        narrowed, tenant=tenant, name="same", roles=["administrator"], scopes=[Permission.APIKEY_CREATE]
    )


async def test_no_tenant_manages_anothers_keys(door: Door, tenant: UUID, other_tenant: UUID) -> None:
    foreign = caller(other_tenant, "administrator")
    with pytest.raises(Forbidden):
        await door.keys.create(foreign, tenant=tenant, name="x", roles=["integration"])
    issued = await issue(door, tenant)
    with pytest.raises(NotFound):
        await door.keys.revoke(foreign, tenant=other_tenant, key_id=issued.about.id)


async def test_a_ledger_that_refuses_tells_no_key(door: Door, tenant: UUID) -> None:
    door.home.writer.refusing = True
    with pytest.raises(LedgerUnavailable):
        await issue(door, tenant)


async def test_the_first_administrator_manages_and_reads_no_record(door: Door) -> None:
    issued = await bootstrap_administrator(door.keys, door.operator, tenant=PLATFORM_TENANT)
    principal = await sign_in(door, header(issued))
    with pytest.raises(Forbidden):
        await door.home.gate.decide(Caller(principal, None, uuid7()), reading())
    assert issued.about.roles == ("administrator",)


async def test_the_platforms_key_acts_upon_a_tenant_while_it_stands(door: Door, tenant: UUID) -> None:
    issued = await bootstrap_administrator(door.keys, door.operator, tenant=PLATFORM_TENANT)
    asking = Caller(await sign_in(door, header(issued)), None, uuid7())
    theirs = [(await issue(door, tenant)).about.id for _ in range(2)]
    await door.keys.revoke(asking, tenant=tenant, key_id=theirs[0])
    await door.keys.revoke(door.operator, tenant=PLATFORM_TENANT, key_id=issued.about.id)
    with pytest.raises(Unauthenticated):
        await door.keys.revoke(asking, tenant=tenant, key_id=theirs[1])


def tenants_of(door: Door) -> Tenants:
    async def keyless(_: UUID) -> None:
        """Make no keys: none are needed to close a tenant."""

    return Tenants(gate=door.home.gate, provision=keyless, environment="test")


async def test_no_key_is_issued_for_a_tenant_that_is_not_there_or_closed(door: Door, tenant: UUID) -> None:
    nobody = uuid7()
    with pytest.raises(NotFound):
        await door.keys.create(door.operator, tenant=nobody, name="ghost", roles=("clinician",))
    assert await door.home.events(nobody) == []
    await tenants_of(door).close(door.operator, tenant=tenant)
    with pytest.raises(Conflict):
        await door.keys.create(door.operator, tenant=tenant, name="late", roles=("clinician",))


async def test_a_narrowed_key_passes_on_no_role_but_its_own(door: Door, tenant: UUID) -> None:
    scopes = frozenset({Permission.APIKEY_CREATE, Permission.RECORD_READ})
    narrowed = caller(tenant, "administrator", scopes=scopes)
    with pytest.raises(Forbidden):
        await door.keys.create(
            narrowed, tenant=tenant, name="wider", roles=("integration",), scopes=[Permission.RECORD_READ]
        )
    issued = await door.keys.create(
        narrowed, tenant=tenant, name="same", roles=("administrator",), scopes=[Permission.RECORD_READ]
    )
    assert issued.about.roles == ("administrator",)
