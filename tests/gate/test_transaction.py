"""A transaction's work and its entries commit together, or neither does."""

from __future__ import annotations

import ast
from pathlib import Path
from uuid import UUID

import pytest

import wellkeep
from gate.trial import House, caller, reading, writing
from wellkeep.base.errors import (
    Conflict,
    DatabaseUnavailable,
    Internal,
    LedgerUnavailable,
    NotFound,
    TenantContextRefused,
    Unauthenticated,
    Unavailable,
)
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Decision
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action

INSERT = "INSERT INTO trial.note VALUES ($1, $2, 'by hand')"


async def decide(home: House, tenant: UUID) -> Decision:
    return await home.gate.decide(caller(tenant), writing())


async def test_what_is_done_and_what_is_recorded_commit_together(home: House, tenant: UUID) -> None:
    note = uuid7()
    async with home.gate.transaction(await decide(home, tenant)) as work:
        await work.connection.execute(INSERT, tenant, note)
        event_id = work.record(resource_id=str(note))
    assert note in await home.notes(tenant)
    assert await home.outbox() == 0
    assert [event["id"] for event in await home.events(tenant)] == [str(event_id)]


async def test_an_error_rolls_back_and_is_entered_as_failed(home: House, tenant: UUID) -> None:
    with pytest.raises(Conflict):  # noqa: PT012  # the body is the transaction
        async with home.gate.transaction(await decide(home, tenant)) as work:
            await work.connection.execute(INSERT, tenant, uuid7())
            work.record()
            raise Conflict
    assert await home.notes(tenant) == {}
    assert [(event["outcome"], event["error"]) for event in await home.events(tenant)] == [("failed", "conflict")]


async def test_an_act_without_an_entry_is_not_committed(home: House, tenant: UUID) -> None:
    with pytest.raises(Internal, match="records nothing"):
        async with home.gate.transaction(await decide(home, tenant)) as work:
            await work.connection.execute(INSERT, tenant, uuid7())
    assert await home.notes(tenant) == {}


async def test_a_transaction_that_has_not_begun_lends_no_connection(home: House, tenant: UUID) -> None:
    with pytest.raises(Internal):
        _ = GateTransaction(await decide(home, tenant), outboxed=home.writer.outboxed).connection


async def test_a_revoked_credential_begins_nothing(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant, credential=uuid7()), writing())
    with pytest.raises(Unauthenticated):
        async with home.gate.transaction(decision):
            pytest.fail("it began")
    assert (await home.events(tenant))[-1]["rule"] == "deny:revoked/record:create"


async def test_the_platform_acts_upon_another_tenant_under_that_tenants_wall(home: House, tenant: UUID) -> None:
    act = Act(Permission.APIKEY_REVOKE, Action.APIKEY_REVOKE, "api_key", tenant=tenant)
    decision = await home.gate.decide(caller(PLATFORM_TENANT, "operator"), act)
    async with home.gate.transaction(decision) as work:
        assert await work.connection.fetchval("SELECT wk.tenant()") == tenant
        work.record()
    assert len(await home.events(tenant)) == 1


async def test_what_two_logs_are_told_commits_together_and_is_chained_in_both(home: House, tenant: UUID) -> None:
    act = Act(Permission.APIKEY_REVOKE, Action.APIKEY_REVOKE, "api_key", tenant=tenant)
    decision = await home.gate.decide(caller(PLATFORM_TENANT, "operator"), act)
    before = len(await home.events(PLATFORM_TENANT))
    with pytest.raises(Conflict):  # noqa: PT012  # the body is the transaction
        async with home.gate.transaction(decision) as work:
            work.record()
            work.record_elsewhere(PLATFORM_TENANT)
            raise Conflict
    assert [event["outcome"] for event in await home.events(tenant)] == ["failed"]
    assert len(await home.events(PLATFORM_TENANT)) == before
    async with home.gate.transaction(decision) as work:
        work.record()
        work.record_elsewhere(PLATFORM_TENANT, count=3)
    assert await home.outbox() == 0
    (told,) = (await home.events(PLATFORM_TENANT))[before:]
    assert (told["action"], told["count"]) == ("apikey.revoke", 3)
    assert [event["outcome"] for event in await home.events(tenant)] == ["failed", "done"]


async def test_long_work_enters_its_tenant_again(home: House, tenant: UUID) -> None:
    async with home.gate.transaction(await decide(home, tenant)) as work:
        await work.connection.execute("SELECT set_config('wk.token', '', true)")
        await work.renew()
        assert await work.connection.fetchval("SELECT wk.tenant()") == tenant
        work.record()


async def test_a_connection_lost_in_the_body_is_no_unknown_outcome(home: House, tenant: UUID) -> None:
    with pytest.raises(DatabaseUnavailable) as told:  # noqa: PT012  # the body is the transaction
        async with home.gate.transaction(await decide(home, tenant)) as work:
            work.record()
            await work.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert "Idempotency-Key" not in told.value.message


async def test_a_connection_lost_in_the_commit_is_an_unknown_outcome(home: House, tenant: UUID) -> None:
    async with home.database.connect() as connection:
        await connection.execute("""
            CREATE FUNCTION trial.die() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER die AFTER INSERT ON trial.note DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION trial.die();
            GRANT EXECUTE ON FUNCTION trial.die() TO wk_app;
        """)
    with pytest.raises(DatabaseUnavailable, match="Idempotency-Key"):  # noqa: PT012  # as above
        async with home.gate.transaction(await decide(home, tenant)) as work:
            await work.connection.execute(INSERT, tenant, uuid7())
            work.record()


async def test_a_transaction_that_cant_be_chained_says_so(home: House, tenant: UUID) -> None:
    decision = await decide(home, tenant)
    home.writer.refusing = True
    with pytest.raises(LedgerUnavailable):
        async with home.gate.transaction(decision) as work:
            work.record()
    with pytest.raises(LedgerUnavailable, match="nothing was changed"):
        async with home.gate.transaction(decision):
            pytest.fail("it began")


def test_only_the_gate_makes_decisions_and_receipts() -> None:
    """Whoever could make a Decision or a Receipt of their own would go round the policy or the ledger."""
    root = Path(wellkeep.__file__).parent
    for path in root.rglob("*.py"):
        place = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "Decision":
                    assert place == "gate/policy.py"
                if node.func.id == "Receipt":
                    assert place == "gate/gate.py"
            if isinstance(node, ast.alias) and node.name == "_MINT":
                assert place == "gate/gate.py"


async def test_a_reading_sees_its_tenant_alone_and_leaves_the_entry_to_who_opens(home: House, tenant: UUID) -> None:
    note = uuid7()
    await home.put(tenant, note, "sealed")
    decision = await home.gate.decide(caller(tenant), reading(note))
    async with home.gate.reading(decision) as connection:
        assert await connection.fetchval("SELECT wk.tenant()") == tenant
        assert await connection.fetchval("SELECT body FROM trial.note") == "sealed"
    assert await home.events(tenant) == []


async def test_a_revoked_credential_reads_nothing(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant, credential=uuid7()), reading())
    with pytest.raises(Unauthenticated):
        async with home.gate.reading(decision):
            pytest.fail("it read")
    (entered,) = await home.events(tenant)
    assert (entered["outcome"], entered["rule"]) == ("denied", "deny:revoked/record:read")


async def test_what_a_reading_answers_with_is_entered_unless_it_says_nothing(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), reading())
    with pytest.raises(NotFound):
        async with home.gate.reading(decision):
            raise NotFound
    with pytest.raises(Unavailable):
        async with home.gate.reading(decision):
            raise Unavailable
    assert [(event["outcome"], event["error"]) for event in await home.events(tenant)] == [("failed", "not-found")]


async def test_a_reading_that_the_wall_refuses_is_an_alarm(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), reading())
    with pytest.raises(TenantContextRefused):
        async with home.gate.reading(decision) as connection:
            await connection.execute("CALL trial.suffer('wall')")
    await home.findings.flush()
    assert [finding.kind for finding in await home.findings.list(tenant)] == ["tenant.context_refused"]
    assert (await home.events(tenant))[-1]["error"] == "tenant-context-refused"


async def test_a_denied_decision_reads_nothing(home: House, tenant: UUID) -> None:
    settings = await home.gate.tenants.load(tenant)
    denied = home.gate.policy.decide(caller(tenant, "auditor"), reading(), settings=settings)
    with pytest.raises(Internal):
        async with home.gate.reading(denied):
            pytest.fail("it read")
