"""The gate's promises: no entry, no access; a change and its record commit together; a denial is durable."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from gate.trial import SLOW, House, ReadNote, WriteNote, caller, reading, writing
from wellkeep.base.errors import (
    DatabaseUnavailable,
    Forbidden,
    Internal,
    LedgerUnavailable,
    PurposeRequired,
    TenantContextRefused,
    Unauthenticated,
)
from wellkeep.base.ids import uuid7
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Decision
from wellkeep.gate.events import event
from wellkeep.gate.receipt import Receipt
from wellkeep.ledger.event import Action, Outcome


async def permitted(home: House, tenant: UUID) -> Decision:
    return await home.gate.decide(caller(tenant), reading())


async def may_write(home: House, tenant: UUID) -> Decision:
    return await home.gate.decide(caller(tenant), writing())


async def test_an_access_is_entered_before_its_receipt_exists(home: House, tenant: UUID) -> None:
    note, subject = uuid7(), uuid7()
    await home.put(tenant, note, "sealed")
    decision = await home.gate.decide(caller(tenant, "clinician", purpose=Purpose.TREATMENT), reading(note))
    rows = await home.gate.read(decision, ReadNote(note))
    receipt = await home.gate.disclose(decision, records=(note,), subject=subject, fields=("family_name",), count=1)
    assert [row["body"] for row in rows] == ["sealed"]
    assert receipt.covers(note)
    assert not receipt.covers(uuid7())
    assert (receipt.tenant, receipt.resource_id) == (tenant, str(note))
    assert receipt.groups == decision.groups
    entered = (await home.events(tenant))[-1]
    assert entered["id"] == str(receipt.event_id)
    assert entered["outcome"] == "authorised"
    assert entered["purpose"] == "TREAT"
    assert entered["rule"] == "role:clinician/record:read"
    assert entered["subject"] == str(subject)


async def test_a_ledger_that_refuses_gives_no_receipt(home: House, tenant: UUID) -> None:
    decision = await permitted(home, tenant)
    home.writer.refusing = True
    with pytest.raises(LedgerUnavailable):
        await home.gate.disclose(decision, records=(uuid7(),))


async def test_what_does_not_fit_one_entry_becomes_several(home: House, tenant: UUID) -> None:
    decision = await permitted(home, tenant)
    records = tuple(uuid7() for _ in range(1500))
    receipt = await home.gate.disclose(decision, records=records, fields=("note",), count=len(records))
    parts = [entered for entered in await home.events(tenant) if "part" in entered]
    assert len(parts) > 1
    assert {entered["request"] for entered in parts} == {str(receipt.request)}
    assert all(receipt.covers(record) for record in records)


async def test_a_denial_is_durable_before_it_is_told(home: House, tenant: UUID) -> None:
    with pytest.raises(Forbidden):
        await home.gate.decide(caller(tenant, "administrator"), reading(uuid7()))
    entered = (await home.events(tenant))[-1]
    assert (entered["action"], entered["outcome"]) == ("access.denied", "denied")
    assert entered["rule"] == "deny:no-role/record:read"


async def test_a_denial_that_cant_be_entered_is_unavailable(home: House, tenant: UUID) -> None:
    home.writer.refusing = True
    with pytest.raises(LedgerUnavailable):
        await home.gate.decide(caller(tenant, "administrator"), reading())


async def test_a_denied_request_for_what_is_no_id_is_entered_without_it(home: House, tenant: UUID) -> None:
    act = reading()
    odd = type(act)(act.permission, act.action, "record", "Not An Id")
    with pytest.raises(Forbidden):
        await home.gate.decide(caller(tenant, "administrator"), odd)
    entered = (await home.events(tenant))[-1]
    assert entered["resource"] == {"type": "record"}


async def test_a_denied_decision_opens_no_door(home: House, tenant: UUID) -> None:
    settings = await home.gate.tenants.load(tenant)
    denied = home.gate.policy.decide(caller(tenant, "auditor"), reading(), settings=settings)
    with pytest.raises(Internal):
        await home.gate.read(denied, ReadNote(uuid7()))
    with pytest.raises(Internal):
        await home.gate.disclose(denied)
    with pytest.raises(Internal):
        await home.gate.change(denied, WriteNote(uuid7()))
    with pytest.raises(Internal):
        async with home.gate.transaction(denied):
            pass


async def test_a_tenant_that_demands_a_purpose_gets_one(home: House, tenant: UUID) -> None:
    async with home.database.connect() as connection:
        await connection.execute(
            "UPDATE wk.tenants SET settings = '{\"purpose_required\": true}' WHERE id = $1", tenant
        )
    with pytest.raises(PurposeRequired):
        await home.gate.decide(caller(tenant), reading())
    assert await home.gate.decide(caller(tenant, purpose=Purpose.TREATMENT), reading())
    assert await home.gate.decide(caller(tenant), writing())


async def test_settings_are_read_anew_when_they_are_forgotten(home: House, tenant: UUID) -> None:
    await permitted(home, tenant)
    async with home.database.connect() as connection:
        await connection.execute("UPDATE wk.tenants SET state = 'closed' WHERE id = $1", tenant)
    assert await permitted(home, tenant)
    home.gate.tenants.forget(tenant)
    with pytest.raises(Forbidden, match="closed"):
        await permitted(home, tenant)


async def test_a_tenant_that_is_not_there_counts_as_closed(home: House) -> None:
    with pytest.raises(Forbidden):
        await permitted(home, uuid7())


async def test_a_change_and_its_entry_commit_together(home: House, tenant: UUID) -> None:
    note = uuid7()
    decision = await may_write(home, tenant)
    await home.gate.change(decision, WriteNote(note), resource_id=str(note), records=(note,), revision=1)
    assert note in await home.notes(tenant)
    assert await home.outbox() == 0
    entered = (await home.events(tenant))[-1]
    assert (entered["action"], entered["outcome"], entered["revision"]) == ("record.create", "done", 1)


async def test_a_change_that_cant_be_chained_says_what_was_stored_and_stops_further_ones(
    home: House, tenant: UUID
) -> None:
    note = uuid7()
    decision = await may_write(home, tenant)
    home.writer.refusing = True
    with pytest.raises(LedgerUnavailable, match="Idempotency-Key") as told:
        await home.gate.change(decision, WriteNote(note), resource_id=str(note))
    assert told.value.resource == note
    assert home.gate.holds_changes
    with pytest.raises(LedgerUnavailable, match="nothing was changed"):
        await home.gate.change(decision, WriteNote(uuid7()))
    assert list(await home.notes(tenant)) == [note]
    await asyncio.sleep(0.7)
    assert home.gate.holds_changes
    home.writer.refusing = False
    await _until_released(home)
    assert (await home.events(tenant))[-1]["resource"] == {"id": str(note), "type": "record"}
    await home.gate.change(decision, WriteNote(uuid7()))


async def test_an_old_outbox_stops_its_tenant_s_changes_and_nobody_else_s(
    home: House, tenant: UUID, other_tenant: UUID
) -> None:
    decision, other = await may_write(home, tenant), await may_write(home, other_tenant)
    home.writer.hold = (tenant, 2.5)
    with pytest.raises(LedgerUnavailable):
        await home.gate.change(decision, WriteNote(uuid7()))
    await home.gate.change(other, WriteNote(uuid7()))
    assert not home.gate.holds_changes
    home.writer.hold = None
    await home.gate.change(decision, WriteNote(uuid7()))


async def test_a_tenant_whose_entries_the_ledger_refuses_is_held_alone(
    home: House, tenant: UUID, other_tenant: UUID
) -> None:
    """Its log is gone: what it changed waits in the outbox, and others neither wait nor hear of it."""
    decision, other = await may_write(home, tenant), await may_write(home, other_tenant)
    await home.gate.change(decision, WriteNote(uuid7()))
    async with home.database.connect() as administrator:
        log = await administrator.fetchrow("DELETE FROM ledger.log WHERE tenant_id = $1 RETURNING *", tenant)
        with pytest.raises(LedgerUnavailable, match="Idempotency-Key"):
            await home.gate.change(decision, WriteNote(uuid7()))
        with pytest.raises(LedgerUnavailable, match="nothing was changed"):
            await home.gate.change(decision, WriteNote(uuid7()))
        await home.gate.change(other, WriteNote(uuid7()))
        await asyncio.sleep(0.7)
        await home.gate.change(other, WriteNote(uuid7()))
        assert not home.gate.holds_changes
        with pytest.raises(LedgerUnavailable, match="nothing was changed"):
            await home.gate.change(decision, WriteNote(uuid7()))
        assert await home.outbox() == 1
        assert log is not None
        await administrator.execute("INSERT INTO ledger.log VALUES ($1, $2, $3, $4, $5, $6, $7)", *log.values())
    await _until_chained(home, decision)
    assert await home.outbox() == 0


async def _until_chained(home: House, decision: Decision) -> None:
    for _ in range(600):
        try:
            await home.gate.change(decision, WriteNote(uuid7()))
        except LedgerUnavailable:
            await asyncio.sleep(0.1)
        else:
            return
    pytest.fail("the brake did not let the tenant go")


async def _until_released(home: House) -> None:
    for _ in range(600):
        if not home.gate.holds_changes:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the brake did not let go")


async def test_a_refused_change_is_entered_as_failed_without_a_digest(home: House, tenant: UUID) -> None:
    decision = await may_write(home, tenant)
    rows = await home.gate.change(decision, WriteNote(uuid7(), mood="conflict"), digest=bytes(32), revision=2)
    assert rows[0]["status"] == "conflict"
    entered = (await home.events(tenant))[-1]
    assert (entered["outcome"], entered["error"]) == ("failed", "conflict")
    assert "digest" not in entered
    assert "revision" not in entered


async def test_a_quiet_status_leaves_no_entry(home: House, tenant: UUID) -> None:
    decision = await may_write(home, tenant)
    await home.gate.change(decision, WriteNote(uuid7(), mood="replay"))
    assert await home.events(tenant) == []


async def test_a_change_without_a_status_is_a_fault(home: House, tenant: UUID) -> None:
    with pytest.raises(Internal):
        await home.gate.change(await may_write(home, tenant), WriteNote(uuid7(), mood="mute"))


async def test_names_that_dont_fit_a_change_give_way_to_their_number(home: House, tenant: UUID) -> None:
    fields = tuple(f"a_field_with_quite_a_long_name_that_fills_the_entry_{n}" for n in range(1000))
    await home.gate.change(await may_write(home, tenant), WriteNote(uuid7()), fields=fields)
    entered = (await home.events(tenant))[-1]
    assert entered["count"] == 1000
    assert "fields" not in entered


async def test_many_names_that_fit_a_change_stay(home: House, tenant: UUID) -> None:
    fields = tuple(f"f{n}" for n in range(600))
    await home.gate.change(await may_write(home, tenant), WriteNote(uuid7()), fields=fields)
    assert len((await home.events(tenant))[-1]["fields"]) == 600  # type: ignore[arg-type]


async def test_a_revoked_credential_reads_and_changes_nothing(home: House, tenant: UUID) -> None:
    gone = uuid7()
    decision = await may_write(home, tenant)
    with pytest.raises(Unauthenticated):
        await home.gate.read(decision, ReadNote(uuid7(), credential=gone))
    with pytest.raises(Unauthenticated):
        await home.gate.change(decision, WriteNote(uuid7(), credential=gone))
    assert await home.notes(tenant) == {}
    assert {entered["rule"] for entered in await home.events(tenant)} == {"deny:revoked/record:create"}


async def test_a_refusal_at_the_tenant_wall_is_an_alarm(home: House, tenant: UUID) -> None:
    decision = await may_write(home, tenant)
    with pytest.raises(TenantContextRefused) as told:
        await home.gate.read(decision, ReadNote(uuid7(), mood="wall"))
    assert told.value.code == "internal"
    with pytest.raises(TenantContextRefused):
        await home.gate.change(decision, WriteNote(uuid7(), mood="wall"))
    with pytest.raises(TenantContextRefused):
        async with home.gate.transaction(decision) as work:
            await work.connection.execute("SELECT digest FROM access.api_key")
    await home.findings.flush()
    found = await home.findings.list(tenant)
    assert [finding.kind for finding in found] == ["tenant.context_refused"]
    assert [entered["error"] for entered in await home.events(tenant)] == ["tenant-context-refused"] * 3


async def test_a_caller_who_leaves_after_the_commit_leaves_an_entry(home: House, tenant: UUID) -> None:
    note = uuid7()
    decision = await may_write(home, tenant)
    going = asyncio.create_task(home.gate.change(decision, WriteNote(note, mood="slow"), resource_id=str(note)))
    await asyncio.sleep(SLOW / 2)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    await asyncio.sleep(1.4 * SLOW)
    await home.gate.stop()
    assert note in await home.notes(tenant)
    assert await home.outbox() == 0
    assert len(await home.events(tenant)) == 1


async def test_an_orphaned_change_that_was_refused_leaves_nothing(home: House, tenant: UUID) -> None:
    decision = await may_write(home, tenant)
    slow = asyncio.create_task(home.gate.change(decision, WriteNote(uuid7(), mood="slow")))
    other = asyncio.create_task(home.gate.change(decision, WriteNote(uuid7(), mood="replay")))
    await asyncio.sleep(SLOW / 2)
    other.cancel()
    await asyncio.gather(slow, other, return_exceptions=True)
    await home.gate.stop()
    assert len(await home.events(tenant)) == 1


async def test_a_caller_who_leaves_with_the_answer_in_hand_leaves_an_entry(home: House, tenant: UUID) -> None:
    """The future is done and the task not yet resumed: the narrowest gap between a commit and its entry."""
    note = uuid7()
    decision = await may_write(home, tenant)
    going = asyncio.create_task(home.gate.change(decision, WriteNote(note)))
    lane = home.gate._lane(WriteNote(note).batch)
    deliver = lane._deliver

    def deliver_and_leave(*arguments: object) -> None:
        deliver(*arguments)  # type: ignore[arg-type]
        going.cancel()

    lane._deliver = deliver_and_leave  # type: ignore[method-assign,assignment]
    with pytest.raises(asyncio.CancelledError):
        await going
    await home.gate.stop()
    assert note in await home.notes(tenant)
    assert await home.outbox() == 0


async def test_a_caller_who_leaves_while_its_change_is_chained_leaves_one_entry(home: House, tenant: UUID) -> None:
    decision = await may_write(home, tenant)
    going = asyncio.create_task(home.gate.change(decision, WriteNote(uuid7())))
    append = home.writer.append

    async def append_and_leave(*arguments: object, **named: object) -> object:
        going.cancel()
        return await append(*arguments, **named)  # type: ignore[arg-type]

    home.writer.append = append_and_leave  # type: ignore[assignment]
    with pytest.raises(asyncio.CancelledError):
        await going
    await home.gate.stop()
    assert await home.outbox() == 0
    assert len(await home.events(tenant)) == 1


async def test_an_orphan_that_cant_be_chained_pulls_the_brake(home: House, tenant: UUID) -> None:
    decision = await may_write(home, tenant)
    going = asyncio.create_task(home.gate.change(decision, WriteNote(uuid7(), mood="slow")))
    await asyncio.sleep(SLOW / 2)
    going.cancel()
    home.writer.refusing = True
    await asyncio.gather(going, return_exceptions=True)
    async with asyncio.timeout(60):
        while not home.gate.holds_changes:  # noqa: ASYNC110 -- what went on without its caller sets no event
            await asyncio.sleep(0.05)


async def test_an_unknown_outcome_is_told_and_never_repeated(home: House, tenant: UUID) -> None:
    decision = await may_write(home, tenant)
    with pytest.raises(DatabaseUnavailable, match="Idempotency-Key"):
        await home.gate.change(decision, WriteNote(uuid7(), mood="die"))
    with pytest.raises(DatabaseUnavailable) as told:
        await home.gate.read(decision, ReadNote(uuid7(), mood="die"))
    assert "Idempotency-Key" not in told.value.message
    await home.gate.change(decision, WriteNote(uuid7()))


async def test_entries_of_no_act_go_straight_to_the_log(home: House, tenant: UUID) -> None:
    decision = await permitted(home, tenant)
    await home.gate.failed(decision, error="integrity-broken", action=Action.OPEN_FAILED)
    assert [entered["action"] for entered in await home.events(tenant)] == ["open.failed"]


async def test_a_receipt_is_made_by_the_gate_alone(home: House, tenant: UUID) -> None:
    receipt = await home.gate.disclose(await permitted(home, tenant))
    with pytest.raises(Internal):
        Receipt(
            object(),
            tenant=tenant,
            event_id=uuid7(),
            request=uuid7(),
            resource_id=None,
            records=frozenset(),
            groups=frozenset(),
        )
    with pytest.raises(Internal):
        receipt.tenant = uuid7()
    with pytest.raises(Internal):
        del receipt.tenant
    with pytest.raises(Internal):
        receipt.__reduce__()


async def test_what_is_no_decided_act_is_entered_too(home: House, tenant: UUID) -> None:
    entry = event(await permitted(home, tenant), outcome=Outcome.DONE, action=Action.LEDGER_VERIFIED)
    await home.gate.enter(entry, tenant=tenant)
    assert [found["id"] for found in await home.events(tenant)] == [str(entry.id)]


async def test_pulling_the_brake_twice_probes_once(home: House, tenant: UUID) -> None:
    brake = home.gate._brake
    home.writer.refusing = True
    brake.pull(tenant)
    probe = brake._probe
    brake.pull(tenant)
    assert brake._probe is probe


async def test_what_is_remembered_of_tenants_is_bounded(
    home: House, tenant: UUID, other_tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wellkeep.gate.tenants._KEPT", 1)
    await permitted(home, tenant)
    await permitted(home, other_tenant)
    assert home.gate.tenants.known(tenant) is None
    assert home.gate.tenants.known(other_tenant) is not None
