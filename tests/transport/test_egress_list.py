"""Where the deployment connects to takes two people, holds everywhere soon, and is shown to whom it serves alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from database import Database
from egress.outside import HOST, LOOPBACK, POLITE, Certificates, Names, Noted, place, serving
from vault.stack import Stack, open_stack
from wellkeep.access.approvals import Approvals
from wellkeep.access.operators import operator
from wellkeep.assembly.egress_list import EgressList, Listed
from wellkeep.assembly.egress_watch import EgressWatch
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import ApprovalNeeded, Conflict, DatabaseUnavailable, Forbidden, NotFound, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.settings import Place
from wellkeep.db.pool import Pool
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, Reason
from wellkeep.gate.acts import Caller

_CHANGES = """
SELECT convert_from(entry, 'UTF8')::jsonb #>> '{event,digest}' IS NOT NULL AS told FROM ledger.entry
WHERE tenant_id = $1 AND action = 'egress.changed' AND outcome = 'done'
"""
PLACE = Place(name="identity", host="login.example.org", ports=(443,))
OURS = Place(name="siem", host="siem.example.org", ports=(6514,))


class Clock(SystemClock):
    """A clock that can be set forward."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()


class Rig:
    """The list of one worker, and the way out of another."""

    def __init__(self, stack: Stack, settled: tuple[Place, ...] = (OURS,)) -> None:
        self.stack, self.clock = stack, Clock()
        self.here, self.there = (Egress(places=settled, denials=Noted()) for _ in range(2))
        self.approvals = Approvals(gate=stack.gate, clock=self.clock)
        self.listing = EgressList(
            gate=stack.gate, approvals=self.approvals, egress=self.here, settled=settled, clock=self.clock
        )

    async def agreed(self, wanted: Place = PLACE, *, asks: str = "ada", agrees: str = "grace") -> Listed:
        await self.listing.propose(person(asks), wanted)
        return await self.listing.approve(person(agrees), wanted.name)

    async def digests(self) -> int:
        """Return how many changes of the list the root log has."""
        rows = await self.stack.as_superuser(_CHANGES, PLATFORM_TENANT)
        assert all(row["told"] for row in rows)
        return len(rows)


def person(name: str) -> Caller:
    return Caller(operator(name), None, uuid7())


def of(tenant: UUID, role: str = "administrator") -> Caller:
    """Return somebody's key in `tenant`; that keys stand is not asked here."""
    return Caller(Principal(ActorType.API_KEY, str(uuid7()), tenant, (role,), AuthMethod.API_KEY), None, uuid7())


@pytest.fixture
async def rig(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Rig]:
    async with open_stack(database, tenant, other_tenant) as opened:
        yield Rig(opened)


async def test_one_proposes_another_approves_and_nobody_does_both(rig: Rig) -> None:
    first = await rig.listing.propose(person("ada"), PLACE)
    assert await rig.listing.propose(person("ada"), PLACE) == first
    assert list(rig.here.places) == ["siem"]
    with pytest.raises(Forbidden, match="yourself"):
        await rig.listing.approve(person("ada"), PLACE.name)
    assert list(rig.here.places) == ["siem"]
    given = await rig.listing.approve(person("grace"), PLACE.name)
    assert (given.state, given.proposed_by, given.approved_by) == ("approved", "operator:ada", "operator:grace")
    assert sorted(rig.here.places) == ["identity", "siem"]
    with pytest.raises(NotFound):
        await rig.listing.approve(person("grace"), PLACE.name)
    assert await rig.digests() == 3


async def test_one_that_was_approved_under_its_id_is_still_put_in_force_by_who_approved_it(rig: Rig) -> None:
    proposed = await rig.listing.propose(person("ada"), PLACE)
    await rig.approvals.decide(person("grace"), proposed.approval, give=True)
    assert "identity" not in rig.here.places
    for name in ("ada", "bob"):  # one who asked, and one who has nothing to do with it
        with pytest.raises(ApprovalNeeded):
            await rig.listing.approve(person(name), PLACE.name)
    await rig.listing.approve(person("grace"), PLACE.name)
    assert "identity" in rig.here.places


async def test_a_refusal_a_late_approval_and_a_withdrawn_proposal_open_nothing(rig: Rig) -> None:
    proposed = await rig.listing.propose(person("ada"), PLACE)
    await rig.approvals.decide(person("grace"), proposed.approval, give=False)
    with pytest.raises(ApprovalNeeded):
        await rig.listing.approve(person("grace"), PLACE.name)
    again = await rig.listing.propose(person("ada"), PLACE)
    assert again.approval != proposed.approval
    rig.clock.ahead = timedelta(days=8)
    with pytest.raises(ApprovalNeeded):
        await rig.listing.approve(person("grace"), PLACE.name)
    rig.clock.ahead = timedelta()
    await rig.listing.withdraw(person("bob"), PLACE.name)
    with pytest.raises(NotFound):
        await rig.listing.approve(person("grace"), PLACE.name)
    assert list(rig.here.places) == ["siem"]


async def test_a_change_waits_under_the_same_name_and_takes_the_earlier_ones_place(rig: Rig) -> None:
    await rig.agreed()
    moved = Place(name="identity", host="other.example.org", ports=(8443,))
    await rig.listing.propose(person("ada"), moved)
    assert rig.here.places["identity"].host == "login.example.org"
    with pytest.raises(Conflict, match="waits"):
        await rig.listing.propose(person("bob"), PLACE)
    await rig.listing.approve(person("grace"), "identity")
    assert rig.here.places["identity"].host == "other.example.org"
    assert [one.state for one in await rig.listing.listed(person("ada")) if one.name == "identity"] == ["approved"]


async def test_two_approvals_at_once_are_one(rig: Rig) -> None:
    await rig.listing.propose(person("ada"), PLACE)
    results = await asyncio.gather(
        *(rig.listing.approve(person(name), PLACE.name) for name in ("grace", "bob", "eve")), return_exceptions=True
    )
    assert len([one for one in results if isinstance(one, Listed)]) == 1
    assert all(isinstance(one, Listed | Conflict | NotFound | ApprovalNeeded) for one in results)


async def test_only_the_platform_decides_and_a_tenant_is_shown_what_is_bound_to_it(
    rig: Rig, tenant: UUID, other_tenant: UUID
) -> None:
    bound = Place(name="identity", host="login.example.org", ports=(443,), tenants=(tenant,), networks=("10.1.0.0/16",))
    for caller in (of(tenant), of(tenant, "integration"), of(other_tenant, "privacy_officer")):
        with pytest.raises(Forbidden):
            await rig.listing.propose(caller, bound)
        with pytest.raises(Forbidden):
            await rig.listing.withdraw(caller, "identity")
    await rig.listing.propose(person("ada"), bound)
    with pytest.raises(Forbidden):
        await rig.listing.approve(of(tenant), "identity")
    assert await rig.listing.listed(of(tenant)) == []
    await rig.listing.approve(person("grace"), "identity")
    for role in ("administrator", "privacy_officer"):
        assert await rig.listing.listed(of(tenant, role)) == [
            Listed(name="identity", host="login.example.org", ports=(443,), state="approved")
        ]
    assert await rig.listing.listed(of(other_tenant)) == []
    with pytest.raises(Forbidden):
        await rig.listing.listed(of(tenant, "clinician"))
    assert [one.name for one in await rig.listing.listed(person("ada"))] == ["siem", "identity"]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (Place(name="siem", host="x.example.org", ports=(1,)), Conflict),
        (Place(name="a", host="x.example.org", ports=(1,), networks=("0.0.0.0/0",)), Validation),
        (Place(name="a", host="x.example.org", ports=(1,), networks=("169.254.0.0/16",)), Validation),
        (Place(name="a", host="x.example.org", ports=(1,), networks=("10.0.0.1/8",)), Validation),
        (Place(name="a", host="x.example.org", ports=(1,), networks=("10.0.0.0/8",), clear=True), Validation),
        (Place(name="a", host="x.example.org", ports=(1,), ca="/etc/shadow"), Validation),
        (Place(name="a", host="x.example.org", ports=(1,), tenants=(UUID(int=7),)), Validation),
    ],
)
async def test_what_the_settings_could_not_open_nobody_proposes(
    rig: Rig, wanted: Place, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await rig.listing.propose(person("ada"), wanted)
    assert [one.state for one in await rig.listing.listed(person("ada"))] == ["settings"]


async def test_a_place_of_the_settings_is_withdrawn_there_and_an_unknown_one_nowhere(rig: Rig) -> None:
    with pytest.raises(Conflict, match=r"wellkeep\.toml"):
        await rig.listing.withdraw(person("ada"), "siem")
    with pytest.raises(NotFound):
        await rig.listing.withdraw(person("ada"), "identity")


async def test_the_database_holds_it_too(rig: Rig, database: Database) -> None:
    """Whoever reaches the table as the application does: no row approves itself, changes, or comes back."""
    await rig.agreed()
    async with database.entered(PLATFORM_TENANT) as connection:
        for statement in (
            "UPDATE access.egress_place SET host = 'evil.example.org'",
            "UPDATE access.egress_place SET serves = '{}'",
            "DELETE FROM access.egress_place",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(statement)
    async with database.entered(PLATFORM_TENANT) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE access.egress_place SET approved_by = proposed_by")
    await rig.listing.withdraw(person("ada"), "identity")
    async with database.entered(PLATFORM_TENANT) as connection:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute("UPDATE access.egress_place SET state = 'approved'")
    assert refused.value.sqlstate == "WK020"


async def test_another_tenant_finds_no_row(rig: Rig, database: Database, tenant: UUID) -> None:
    await rig.agreed()
    async with database.entered(tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM access.egress_place") == 0


async def test_other_workers_hear_of_it_and_close_when_they_can_not(rig: Rig, pool: Pool) -> None:
    watch = EgressWatch(pool, rig.there, clock=rig.clock)
    await rig.agreed()
    await watch.look()
    assert sorted(rig.there.places) == ["identity", "siem"]
    await rig.listing.withdraw(person("ada"), "identity")
    await watch.look()
    assert list(rig.there.places) == ["siem"]
    await rig.agreed()
    await watch.look()
    deaf = EgressWatch(Deaf(), rig.there, clock=rig.clock)  # type: ignore[arg-type]  # a pool that has no connection
    await deaf.look()
    assert "identity" in rig.there.places
    rig.clock.ahead += timedelta(seconds=31)
    await EgressWatch(None, rig.there, clock=rig.clock).look()  # type: ignore[arg-type]  # one that just began
    assert "identity" in rig.there.places
    await deaf.look()
    assert list(rig.there.places) == ["siem"]


class Deaf:
    """A pool whose database is away."""

    def connection(self) -> object:
        raise DatabaseUnavailable


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with database.pool("wk_app") as opened:
        yield opened


async def test_a_place_that_was_withdrawn_is_not_reached_over_what_was_kept(tmp_path: Path) -> None:
    """A client that somebody holds, and the connection that it kept, end with the place."""
    certificates, noted = Certificates.make(tmp_path), Noted()
    async with serving(POLITE, certificates.context()) as server:
        wanted = place(server, certificates)
        way_out = Egress(places=(wanted,), denials=noted, resolver=Names([["127.0.0.1"]]))
        async with way_out.http(wanted.name) as client:
            assert (await client.get("/")).status_code == 200
            way_out._places = {}  # a place with authorities of its own can't be approved, so none can be withdrawn
            with pytest.raises(EgressRefused) as refused:
                await client.get("/")
        assert refused.value.reason is Reason.UNKNOWN_PLACE
        assert (noted.reasons, server.connections) == ([Reason.UNKNOWN_PLACE], 1)


async def test_a_place_of_other_tenants_is_refused_for_this_one(tenant_ids: tuple[UUID, UUID]) -> None:
    mine, other = tenant_ids
    noted = Noted()
    egress = Egress(places=(OURS,), denials=noted)
    left_out = egress.approve([
        Place(name="identity", host=HOST, ports=(1,), tenants=(mine,)),
        Place(name="siem", host="evil.example.org", ports=(1,)),
        Place(name="wide", host=HOST, ports=(1,), networks=(*LOOPBACK, "8.8.8.0/24")),
    ])  # fmt: skip
    assert left_out == ["siem", "wide"]
    assert egress.places["siem"].host == "siem.example.org"
    async with egress.http("identity", tenant=mine), egress.http("siem", tenant=other):
        pass
    with pytest.raises(EgressRefused, match="other tenants"):
        async with egress.http("identity", tenant=other):
            pass
    assert noted.reasons == [Reason.OTHER_TENANT]


@pytest.fixture
def tenant_ids() -> tuple[UUID, UUID]:
    return uuid7(), uuid7()
