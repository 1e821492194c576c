"""The budget of records: a key's and a person's, nobody else's, and told once an hour."""

from __future__ import annotations

from uuid import UUID

from database import Database
from limiting.clock import HandClock
from wellkeep.access.budget import RecordBudget
from wellkeep.access.limits import HOUR, Counts
from wellkeep.base.budget import Short
from wellkeep.base.ids import uuid7
from wellkeep.base.limit_settings import LimitSettings
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.findings.findings import Findings


def principal(tenant: UUID, kind: ActorType, records: int | None = None, *, lineage: UUID | None = None) -> Principal:
    made = {"type": kind, "id": str(uuid7()), "tenant": tenant, "roles": (), "method": AuthMethod.NONE}
    return Principal(**made, records=records, lineage=lineage)  # type: ignore[arg-type]


async def test_keys_that_took_each_others_place_have_one_budget(database: Database, tenant: UUID) -> None:
    async with database.pool("wk_app") as pool:
        counts, findings = Counts(deployment=uuid7(), clock=HandClock()), Findings(pool)
        budget = RecordBudget(counts, LimitSettings(records=10), findings=findings, clock=HandClock())
        first = principal(tenant, ActorType.API_KEY)
        keys = [first, *(principal(tenant, ActorType.API_KEY, lineage=UUID(first.id)) for _ in range(3))]
        assert [await budget.spend(key, records=3, blocks=True) is None for key in keys] == [True] * 3 + [False]
        assert await budget.spend(principal(tenant, ActorType.API_KEY), records=10, blocks=True) is None
        await findings.stop()


async def test_a_key_and_a_person_have_a_budget_and_the_deployments_own_have_none(
    database: Database, tenant: UUID
) -> None:
    clock = HandClock()
    async with database.pool("wk_app") as pool:
        findings = Findings(pool)
        budget = RecordBudget(
            Counts(deployment=uuid7(), clock=clock), LimitSettings(records=10), findings=findings, clock=clock
        )
        key = principal(tenant, ActorType.API_KEY)
        assert await budget.spend(key, records=10, blocks=True) is None
        wait = await budget.spend(key, records=1, blocks=True)
        assert wait is not None
        assert wait.wait is not None
        assert 1 <= wait.wait <= 2 * HOUR, "the window moves"
        assert await budget.spend(key, records=500, blocks=False) is None, "a broken glass"
        person = principal(tenant, ActorType.PERSON)
        assert await budget.spend(person, records=11, blocks=True) == Short(None), "never, however long one waits"
        assert await budget.spend(person, records=10, blocks=True) is None, "what was refused counts nothing"
        assert await budget.spend(principal(tenant, ActorType.API_KEY, 11), records=11, blocks=True) is None
        for kind in (ActorType.OPERATOR, ActorType.SYSTEM):
            assert await budget.spend(principal(tenant, kind), records=1000, blocks=True) is None
        for _ in range(3):
            await budget.spend(person, records=11, blocks=True)
        clock.now_is += HOUR + 1
        await budget.spend(person, records=11, blocks=True)
        await findings.stop()
        counted = {one.key.partition(":")[2]: (one.count, dict(one.detail)) for one in await findings.list(tenant)}
        assert counted == {
            key.id: (1, {"credential": key.id, "count": 10}),
            person.id: (2, {"person": person.id, "count": 10}),
        }


async def test_what_no_process_may_hand_out_at_once_is_told_as_never(database: Database, tenant: UUID) -> None:
    async with database.pool("wk_app") as pool:
        counts, findings = Counts(deployment=uuid7(), clock=HandClock()), Findings(pool)
        budget = RecordBudget(counts, LimitSettings(records=10), findings=findings, clock=HandClock())
        counts.workers = 2
        key = principal(tenant, ActorType.API_KEY)
        assert await budget.spend(key, records=6, blocks=True) == Short(None), "five is a worker's share"
        assert await budget.spend(key, records=5, blocks=True) is None
        short = await budget.spend(key, records=1, blocks=True)
        assert short is not None
        assert short.wait is not None
        await findings.stop()
