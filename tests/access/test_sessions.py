"""Sessions: whose they are on each request, how they end, and what a thief of the cookie has of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import AGENT, IP, joined, person, session
from wellkeep.access import session_format
from wellkeep.access.people import People
from wellkeep.access.persons import own
from wellkeep.access.session_door import Presented
from wellkeep.access.sessions import Begun, Method, Sessions, Via, Visitor
from wellkeep.base.errors import Forbidden, NotFound, SecondFactorRequired, Unauthenticated
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Caller
from wellkeep.ledger.event import Action

OTHER_AGENT = "fedcba9876543210"


async def enter(
    door: Door,
    begun: Begun,
    *,
    ip: str | None = IP,
    agent: str | None = AGENT,
    cookie: str | None = None,
    worker: object = None,
) -> Principal:
    presented = Presented(cookie=cookie or begun.cookie.reveal(), changes=True, csrf=begun.csrf, ours=True)
    return await door.worker().authenticate(None, request=uuid7(), ip=ip, agent=agent, session=presented)


def of(principal: Principal) -> Caller:
    return Caller(principal, None, uuid7(), IP, AGENT)


async def set_back(door: Door, begun: Begun, column: str, seconds: int) -> None:
    """Let a time of a session lie `seconds` earlier, as if they had gone by."""
    statements = {
        "proved_at": "UPDATE access.session SET proved_at = proved_at - $2 * interval '1 second' WHERE id = $1",
        "idle_until": "UPDATE access.session SET idle_until = idle_until - $2 * interval '1 second' WHERE id = $1",
        "expires_at": "UPDATE access.session SET created_at = created_at - interval '1 day', "
        "expires_at = expires_at - $2 * interval '1 second' WHERE id = $1",
    }
    async with door.home.database.connect() as connection:
        await connection.execute(statements[column], begun.id, seconds)


async def test_a_session_is_its_persons_with_the_roles_that_stand(door: Door, tenant: UUID) -> None:
    who = await joined(door.home, tenant, "coach", "clinician")
    begun = await session(door.home, tenant, who)
    principal = await enter(door, begun)
    assert principal == Principal(
        type=ActorType.PERSON,
        id=str(who),
        tenant=tenant,
        roles=("clinician", "coach"),
        method=AuthMethod.SESSION,
        credential=begun.id,
        mfa=True,
        fresh=True,
    )
    entry = (await door.home.events(tenant))[-1]
    assert (entry["action"], entry["resource"]) == ("session.started", {"id": str(begun.id), "type": "session"})


async def test_what_is_stored_signs_nobody_in(door: Door, tenant: UUID) -> None:
    begun = await session(door.home, tenant, await joined(door.home, tenant, "coach"))
    async with door.home.database.connect() as connection:
        row = await connection.fetchrow(
            "SELECT s::text AS row, digest FROM access.session AS s WHERE id = $1", begun.id
        )
    assert row is not None
    value = begun.cookie.reveal()
    assert value.split(".")[1] not in row["row"]
    for forged in (
        f"{begun.id.hex}.{row['digest'].hex()}",
        row["digest"].hex(),
        value[:-1],
        value + "0",
        value.upper(),
    ):
        with pytest.raises(Unauthenticated):
            await enter(door, begun, cookie=forged)
    other = await session(door.home, tenant, begun.person)
    with pytest.raises(Unauthenticated):
        await enter(door, begun, cookie=f"{other.id.hex}.{value.split('.')[1]}")


async def test_another_site_cant_use_it_and_a_key_beside_it_is_a_guess(door: Door, tenant: UUID) -> None:
    begun = await session(door.home, tenant, await joined(door.home, tenant, "coach"))
    other = await session(door.home, tenant, begun.person)
    whole = Presented(cookie=begun.cookie.reveal(), changes=True, csrf=begun.csrf, ours=True)
    worker = door.worker()

    async def ask(presented: Presented, header: str | None = None) -> Principal:
        return await worker.authenticate(header, request=uuid7(), ip=IP, agent=AGENT, session=presented)

    assert (await ask(whole)).id == str(begun.person)
    assert (await ask(replace(whole, changes=False, csrf=None, ours=False))).id == str(begun.person)
    for forged in (
        replace(whole, csrf=None),
        replace(whole, csrf=""),
        replace(whole, csrf="é" * 64),
        replace(whole, csrf=other.csrf),
        replace(whole, ours=False),
    ):
        with pytest.raises(Forbidden):
            await ask(forged)
    with pytest.raises(Unauthenticated):
        await ask(whole, header="Bearer nonsense")


async def test_it_ends_idle_and_after_its_time_whatever_the_hosts_clock_says(door: Door, tenant: UUID) -> None:
    who = await joined(door.home, tenant, "coach")
    idle, over, used = [await session(door.home, tenant, who) for _ in range(3)]
    door.clock.by = timedelta(days=400)
    assert (await enter(door, used)).fresh
    door.clock.by = timedelta()
    await set_back(door, idle, "idle_until", 1_801)
    await set_back(door, over, "expires_at", 43_201)
    for ended in (idle, over):
        with pytest.raises(Unauthenticated):
            await enter(door, ended)


async def test_use_keeps_it_from_ending_idle_but_never_past_its_time(door: Door, tenant: UUID) -> None:
    begun = await session(door.home, tenant, await joined(door.home, tenant, "coach"))
    await set_back(door, begun, "idle_until", 1_770)
    worker = door.worker()
    presented = Presented(cookie=begun.cookie.reveal(), changes=False)
    await worker.authenticate(None, request=uuid7(), ip=IP, agent=AGENT, session=presented)

    async def left() -> tuple[float, bool]:
        async with door.home.database.connect() as connection:
            row = await connection.fetchrow(
                "SELECT extract(epoch FROM idle_until - clock_timestamp())::float8 AS s, idle_until <= expires_at AS ok"
                " FROM access.session WHERE id = $1",
                begun.id,
            )
        assert row is not None
        return row["s"], row["ok"]

    assert (await left())[0] > 1_700, "what ends within a minute and a half is pushed at once"
    await set_back(door, begun, "idle_until", 600)
    await worker.authenticate(None, request=uuid7(), ip=IP, agent=AGENT, session=presented)
    await worker.go_round()
    assert (await left())[0] > 1_700
    await set_back(door, begun, "expires_at", 42_600)
    await set_back(door, begun, "idle_until", 1_500)
    await worker.authenticate(None, request=uuid7(), ip=IP, agent=AGENT, session=presented)
    await worker.stop()
    seconds, within = await left()
    assert within
    assert seconds < 601


async def test_the_second_factor_is_fresh_for_ten_minutes_on_each_request(door: Door, tenant: UUID) -> None:
    begun = await session(door.home, tenant, await joined(door.home, tenant, "administrator"))
    worker = door.worker()
    presented = Presented(cookie=begun.cookie.reveal(), changes=False)

    async def fresh() -> bool:
        return (await worker.authenticate(None, request=uuid7(), ip=IP, agent=AGENT, session=presented)).fresh

    await set_back(door, begun, "proved_at", 580)
    assert await fresh()
    door.clock.by = timedelta(seconds=25)
    assert not await fresh(), "remembered, and worked out anew"
    door.clock.by = timedelta(seconds=31)
    assert await fresh(), "asked again, the database's clock says that 580 seconds went by"


async def test_from_elsewhere_altogether_it_ends_and_from_another_network_it_is_stale(door: Door, tenant: UUID) -> None:
    begun = await session(door.home, tenant, await joined(door.home, tenant, "administrator"))
    near, far = "192.0.2.200", "198.51.100.7"
    assert (await enter(door, begun, ip=near, agent=OTHER_AGENT)).fresh
    train = await enter(door, begun, ip=far)
    assert (train.mfa, train.fresh) == (True, False)
    with pytest.raises(Unauthenticated):
        await enter(door, begun, ip=far, agent=OTHER_AGENT)
    with pytest.raises(Unauthenticated):
        await enter(door, begun)
    await door.home.findings.flush()
    found = [(one.kind, one.detail) for one in await door.home.findings.list(tenant)]
    assert found == [("session.moved", {"person": str(begun.person)})], "a train is none"
    entry = (await door.home.events(tenant))[-1]
    assert (entry["action"], entry["outcome"], entry["source"]) == (
        "session.ended",
        "done",
        {"agent": OTHER_AGENT, "ip": far},
    )


async def test_a_role_taken_and_a_person_disabled_end_it_for_every_worker(door: Door, tenant: UUID) -> None:
    people = People(gate=door.home.gate)
    for end in ("role", "disable"):
        who = await joined(door.home, tenant, "coach")
        begun = await session(door.home, tenant, who)
        worker = door.worker()
        presented = Presented(cookie=begun.cookie.reveal(), changes=False)
        principal = await worker.authenticate(None, request=uuid7(), ip=IP, agent=AGENT, session=presented)
        if end == "role":
            await people.revoke(door.operator, tenant=tenant, person=who, role="coach")
        else:
            await people.disable(door.operator, tenant=tenant, person=who)
        still = await worker.authenticate(None, request=uuid7(), ip=IP, agent=AGENT, session=presented)
        assert still == principal, "remembered for seconds, which is safe because"
        with pytest.raises(Unauthenticated):
            await Sessions(gate=door.home.gate).list(of(still))
        with pytest.raises(Unauthenticated):
            await enter(door, begun)


async def test_a_grants_end_takes_the_role_and_not_the_session(door: Door, tenant: UUID) -> None:
    who = await joined(door.home, tenant, "coach")
    until = door.clock.now() + timedelta(seconds=5)
    await People(gate=door.home.gate).grant(door.operator, tenant=tenant, person=who, role="billing", until=until)
    begun = await session(door.home, tenant, who)
    assert (await enter(door, begun)).roles == ("billing", "coach")
    async with door.home.database.connect() as connection:
        await connection.execute(
            "UPDATE access.role_grant SET granted_at = granted_at - interval '1 h', "
            "expires_at = clock_timestamp() WHERE role = 'billing'"
        )
    assert (await enter(door, begun)).roles == ("coach",)


async def renew(door: Door, caller: Caller, *, proved: bool) -> Begun:
    decision = await door.home.gate.decide(caller, own(Action.SESSION_RENEWED, UUID(caller.principal.id)))
    async with door.home.gate.transaction(decision) as work:
        return await Sessions(gate=door.home.gate).renew(caller, proved=proved, work=work)


async def test_renewing_gives_another_id_with_the_same_end(door: Door, tenant: UUID) -> None:
    who = await joined(door.home, tenant, "coach")
    begun = await session(door.home, tenant, who, mfa=False)
    caller = of(await enter(door, begun))
    renewed = await renew(door, caller, proved=True)
    assert (renewed.id != begun.id, renewed.expires_at, renewed.mfa) == (True, begun.expires_at, True)
    with pytest.raises(Unauthenticated):
        await enter(door, begun)
    with pytest.raises(Unauthenticated):
        await renew(door, caller, proved=True)
    assert (await enter(door, renewed)).fresh


@pytest.mark.parametrize("mfa", [False, True])
async def test_renewing_without_a_proof_proves_nothing(door: Door, tenant: UUID, *, mfa: bool) -> None:
    begun = await session(door.home, tenant, await joined(door.home, tenant, "coach"), mfa=mfa)
    if mfa:
        await set_back(door, begun, "proved_at", 500)
    renewed = await renew(door, of(await enter(door, begun)), proved=False)
    assert renewed.mfa is mfa
    async with door.home.database.connect() as connection:
        rows = await connection.fetch("SELECT mfa, proved_at FROM access.session ORDER BY id")
    assert rows[0] == rows[1]
    if mfa:
        await set_back(door, renewed, "proved_at", 101)
    assert not (await enter(door, renewed)).fresh


async def test_ones_own_are_listed_and_ended_and_nobody_elses(door: Door, tenant: UUID) -> None:
    sessions = Sessions(gate=door.home.gate)
    mine = await person(door.home, tenant, "coach")
    another = await person(door.home, tenant, "administrator")
    second = await session(door.home, tenant, UUID(mine.principal.id))
    assert {one.id for one in await sessions.list(mine)} == {second.id, mine.principal.credential}
    with pytest.raises(NotFound):
        await sessions.end(mine, session=another.principal.credential)
    await sessions.end(mine, session=second.id)
    third = await session(door.home, tenant, UUID(mine.principal.id))
    assert await sessions.end_others(mine) == 1
    for ended in (second, third):
        with pytest.raises(Unauthenticated):
            await enter(door, ended)
    await sessions.end(mine)
    with pytest.raises(Unauthenticated):
        await sessions.list(mine)
    assert len(await sessions.list(another)) == 1


async def test_who_is_not_active_or_has_a_factor_gets_none_without_it(door: Door, tenant: UUID) -> None:
    invited = await People(gate=door.home.gate).invite(
        door.operator, tenant=tenant, email="sam@example.org", name="Sam", roles=()
    )
    for who in (invited.person, uuid7()):
        with pytest.raises(Unauthenticated):
            await session(door.home, tenant, who)
    who = await joined(door.home, tenant, "coach")
    async with door.home.database.connect() as connection:
        await connection.execute(
            "INSERT INTO access.factor (tenant_id, id, person_id, kind, name, sealed, created_at, confirmed_at) "
            "VALUES ($1, $2, $3, 'totp', 'app', $4, now(), now())",
            *(tenant, uuid7(), who, bytes(80)),
        )
    ways: tuple[Method, ...] = ("password", "provider", "passkey")
    for via in ways:
        with pytest.raises(SecondFactorRequired):
            await Sessions(gate=door.home.gate).begin(
                tenant=tenant,
                person=who,
                via=Via(method=via),
                mfa=False,
                visitor=Visitor(request=uuid7()),
            )


async def test_what_is_remembered_is_bounded_and_failures_are_counted(
    door: Door, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wellkeep.access.session_door._KEPT", 2)
    worker = door.worker()
    for _ in range(3):
        begun = await session(door.home, tenant, await joined(door.home, tenant, "coach"))
        presented = Presented(cookie=begun.cookie.reveal(), changes=False)
        await worker.authenticate(None, request=uuid7(), ip=IP, agent=AGENT, session=presented)
    assert len(worker._sessions._known) == 2
    for text in ("", "x" * 8_000, "\x00", f"{uuid7().hex}.{'0' * 64}"):
        with pytest.raises(Unauthenticated):
            await worker.authenticate(None, request=uuid7(), ip=IP, session=Presented(cookie=text, changes=False))
    await worker.stop()
    counts = [event["count"] for event in await door.home.events(PLATFORM_TENANT) if event["action"] == "auth.failed"]
    assert counts == [1, 3]


def test_a_value_has_one_form() -> None:
    made = session_format.new_secret(uuid7())
    assert session_format.read(made.reveal()) is not None
    assert session_format.read(made.reveal() + "\n") is None
    assert len(session_format.csrf_token(made.reveal())) == 64
