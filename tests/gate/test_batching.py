"""Natural batching: every caller gets exactly its own answer or an error, whatever the others do."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from database import Database
from gate.trial import READ, SLOW, House, ReadNote, WriteNote, caller, house, reading, writing
from wellkeep.base.errors import DatabaseUnavailable, Internal, TenantContextRefused, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection
from wellkeep.gate import batching
from wellkeep.gate.acts import Decision
from wellkeep.gate.calls import Answers

_KILL_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'wellkeep/wk_app'
"""
MOODS = ["well", "well", "well", "nothing", "poison", "wall", "cancelled", "misfit"]


async def decide(home: House, tenant: UUID) -> Decision:
    return await home.gate.decide(caller(tenant), reading())


def _read(home: House, decision: Decision, call: ReadNote) -> asyncio.Task[Answers]:
    return asyncio.create_task(home.gate.read(decision, call))


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(MOODS)), min_size=1, max_size=150))
def test_each_caller_gets_its_own_answer_or_its_own_error(
    batching_database: tuple[Database, list[UUID]], plan: list[tuple[int, str]]
) -> None:
    """Many tenants, many moods, one lane: no answer strays over the wall, no error spreads."""
    database, tenants = batching_database
    asyncio.run(_play(database, tenants, plan))


async def _play(database: Database, tenants: list[UUID], plan: list[tuple[int, str]]) -> None:
    async with house(database, connections=4) as home:
        notes = {tenant: [uuid7() for _ in range(4)] for tenant in tenants}
        for tenant, ids in notes.items():
            for note in ids:
                await home.put(tenant, note, f"{tenant} {note}")
        decisions = [await decide(home, tenant) for tenant in tenants]
        asked = []
        for place, (which, mood) in enumerate(plan):
            tenant = tenants[which]
            owner = tenants[1 - which] if mood == "nothing" else tenant
            note = notes[owner][place % 4]
            sent: object = 7 if mood == "misfit" else "well" if mood in ("nothing", "cancelled") else mood
            asked.append((tenant, note, mood, _read(home, decisions[which], ReadNote(note, mood=sent))))
        await asyncio.sleep(0)
        for _, _, mood, task in asked:
            if mood == "cancelled":
                task.cancel()
        answers = await asyncio.gather(*(task for *_, task in asked), return_exceptions=True)
        for (tenant, note, mood, _), answer in zip(asked, answers, strict=True):
            _check(tenant, note, mood, answer)


def _check(tenant: UUID, note: UUID, mood: str, answer: object) -> None:
    if mood == "cancelled":
        assert isinstance(answer, asyncio.CancelledError)
    elif mood in ("poison", "misfit"):
        assert type(answer) is Internal
        assert "999" not in str(answer)
    elif mood == "wall":
        assert isinstance(answer, TenantContextRefused)
    elif mood == "nothing":
        assert answer == []
    else:
        assert isinstance(answer, list)
        assert [(row["tenant_id"], row["id"], row["body"]) for row in answer] == [(tenant, note, f"{tenant} {note}")]


async def test_those_who_wait_together_share_calls(home: House, tenant: UUID) -> None:
    decision = await decide(home, tenant)
    note = uuid7()
    await home.put(tenant, note, "x")
    slow = [_read(home, decision, ReadNote(note, mood="slow"))]
    await asyncio.sleep(0.05)
    rest = [_read(home, decision, ReadNote(note, mood="slow" if n == 0 else "well")) for n in range(200)]
    await asyncio.sleep(0.05)
    lane = home.gate._lane(READ)
    assert len(lane._flights) == batching.FLIGHTS
    answers = await asyncio.gather(*slow, *rest)
    assert all(len(answer) == 1 for answer in answers)


async def test_a_connection_that_dies_while_a_call_boards_costs_nobody_an_error(
    home: House, tenant: UUID, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision, note = await decide(home, tenant), uuid7()
    await home.put(tenant, note, "x")
    board = batching.Lane._boarded
    killed: list[object] = []

    async def boarded(lane: batching.Lane) -> list[batching.Waiting]:
        batch = await board(lane)
        if not killed:
            async with database.connect() as administrator:
                killed.extend(await administrator.fetch(_KILL_ALL, database.name))
            await asyncio.sleep(0.5)  # for the driver to hear of it
        return batch

    monkeypatch.setattr(batching.Lane, "_boarded", boarded)
    answers = await asyncio.gather(*(_read(home, decision, ReadNote(note)) for _ in range(20)))
    assert killed
    assert all(len(answer) == 1 for answer in answers)


async def test_whoever_is_cancelled_while_waiting_is_never_sent(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    first = [asyncio.create_task(home.gate.change(decision, WriteNote(uuid7(), mood="slow"))) for _ in range(1)]
    await asyncio.sleep(0.05)
    first.append(asyncio.create_task(home.gate.change(decision, WriteNote(uuid7(), mood="slow"))))
    await asyncio.sleep(0.05)
    late = uuid7()
    waiting = asyncio.create_task(home.gate.change(decision, WriteNote(late)))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(*first)
    await asyncio.sleep(0.05)
    assert late not in await home.notes(tenant)
    assert len(await home.notes(tenant)) == 2


async def test_one_poisoned_change_fails_alone(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    notes = [uuid7() for _ in range(6)]
    moods = ["well", "poison", "well", "unwritable", "well", "well"]
    tasks = [home.gate.change(decision, WriteNote(note, mood=mood)) for note, mood in zip(notes, moods, strict=True)]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, Internal) for answer in answers] == [mood != "well" for mood in moods]
    stored = await home.notes(tenant)
    assert set(stored) == {note for note, mood in zip(notes, moods, strict=True) if mood == "well"}
    assert len(await home.events(tenant)) == 4
    assert await home.outbox() == 0


async def test_a_batch_of_nothing_but_unwritable_rows_is_not_sent(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    with pytest.raises(Internal):
        await home.gate.change(decision, WriteNote(uuid7(), mood="unwritable"))


async def test_a_deadlock_is_tried_again_and_not_for_ever(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    note = uuid7()
    await home.gate.change(decision, WriteNote(note, mood="twice"))
    assert note in await home.notes(tenant)
    with pytest.raises(DatabaseUnavailable):
        await home.gate.change(decision, WriteNote(uuid7(), mood="always"))


async def test_a_full_disk_is_nobodys_fault_and_nothing_is_repeated(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    tasks = [home.gate.change(decision, WriteNote(uuid7(), mood=mood)) for mood in ("well", "full", "well")]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)
    assert await home.notes(tenant) == {}


async def test_a_lost_connection_fails_its_batch_and_the_next_one_flies(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    tasks = [home.gate.change(decision, WriteNote(uuid7(), mood=mood)) for mood in ("well", "die", "well")]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all("Idempotency-Key" in str(answer) for answer in answers)
    assert await home.notes(tenant) == {}
    await home.gate.change(decision, WriteNote(uuid7()))


async def test_a_connection_lost_among_single_runs_leaves_the_rest_untouched(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    tasks = [home.gate.change(decision, WriteNote(uuid7(), mood=mood)) for mood in ("well", "die_alone", "well")]
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, list)
    assert "Idempotency-Key" in str(second)
    assert "Nothing was done" in str(third)
    assert len(await home.notes(tenant)) == 1


async def test_whoever_leaves_before_its_single_run_is_skipped(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    note = uuid7()
    tasks = [
        asyncio.create_task(home.gate.change(decision, call))
        for call in (WriteNote(uuid7(), mood="slow"), WriteNote(note), WriteNote(uuid7(), mood="poison"))
    ]
    await asyncio.sleep(1.5 * SLOW)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], list)
    assert isinstance(answers[2], Internal)
    assert note not in await home.notes(tenant)


async def test_an_answer_for_nobody_is_given_to_nobody(home: House, tenant: UUID) -> None:
    decision = await decide(home, tenant)
    tasks = [_read(home, decision, ReadNote(uuid7(), mood=mood)) for mood in ("well", "astray")]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, Internal) for answer in answers)


async def test_what_waits_is_bounded(home: House, tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    decision = await decide(home, tenant)
    monkeypatch.setattr(batching, "WAITING", 10)
    tasks = [_read(home, decision, ReadNote(uuid7())) for _ in range(12)]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(answer, DatabaseUnavailable) for answer in answers) == 2


async def test_without_a_connection_all_who_wait_are_told(database: Database, tenant: UUID) -> None:
    async with house(database, connections=1) as home:
        decision = await decide(home, tenant)
        async with home.pool.connection():
            tasks = [_read(home, decision, ReadNote(uuid7())) for _ in range(5)]
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)
        assert await home.gate.read(decision, ReadNote(uuid7())) == []


async def test_a_flight_that_is_cancelled_tells_those_aboard_and_those_who_wait(home: House, tenant: UUID) -> None:
    read, write = await decide(home, tenant), await home.gate.decide(caller(tenant), writing())
    aboard = [
        _read(home, read, ReadNote(uuid7(), mood="slow")),
        asyncio.create_task(home.gate.change(write, WriteNote(uuid7(), mood="slow"))),
    ]
    await asyncio.sleep(0.1)
    for lane in home.gate._lanes.values():
        for flight in list(lane._flights):
            flight.cancel()
    answers = await asyncio.gather(*aboard, return_exceptions=True)
    assert [isinstance(answer, DatabaseUnavailable) for answer in answers] == [True, True]
    assert "Idempotency-Key" in str(answers[1])


async def test_a_fault_of_ours_in_flight_hangs_nobody(
    home: House, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = await decide(home, tenant)
    await home.gate.read(decision, ReadNote(uuid7()))
    monkeypatch.setattr(home.gate._lane(READ), "_deliver", None)
    with pytest.raises(WellkeepError):
        await home.gate.read(decision, ReadNote(uuid7()))


async def test_stopping_refuses_who_waits_and_lets_the_rest_land(home: House, tenant: UUID) -> None:
    decision = await decide(home, tenant)
    flying = [_read(home, decision, ReadNote(uuid7(), mood="slow"))]
    await asyncio.sleep(0.05)
    flying.append(_read(home, decision, ReadNote(uuid7(), mood="slow")))
    await asyncio.sleep(0.05)
    waiting = _read(home, decision, ReadNote(uuid7()))
    await asyncio.sleep(0.01)
    await home.gate.stop()
    assert await asyncio.gather(*flying) == [[], []]
    with pytest.raises(DatabaseUnavailable):
        await waiting


async def test_whoever_leaves_a_read_in_the_air_is_forgotten(home: House, tenant: UUID) -> None:
    decision = await decide(home, tenant)
    for mood in ("slow", "slow_poison"):
        going = _read(home, decision, ReadNote(uuid7(), mood=mood))
        await asyncio.sleep(0.1)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        await asyncio.sleep(1.4 * SLOW)
    assert await home.gate.read(decision, ReadNote(uuid7())) == []


class LostConnection:
    """The driver's connection at the moment when the server is gone: what was sent may have been committed."""

    sent = 0

    def get_server_pid(self) -> int:
        return 1

    async def fetch(self, *_: object) -> list[object]:
        self.sent += 1
        raise ConnectionResetError


async def test_after_the_connection_is_lost_nothing_more_is_sent_over_it(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), writing())
    await home.gate.change(decision, WriteNote(uuid7()))
    lane = home.gate._lane(WriteNote(uuid7()).batch)
    loop = asyncio.get_running_loop()
    waiting = [batching.Waiting(tenant, lambda token: (token,), loop.create_future()) for _ in range(3)]
    lost = LostConnection()
    assert await lane._one_by_one(lost, waiting) is False  # type: ignore[arg-type]
    told = [str(one.future.exception()) for one in waiting]
    assert lost.sent == 1
    assert "Idempotency-Key" in told[0]
    assert told[1:] == ["Nothing was done; try again"] * 2


async def test_a_connection_that_is_no_good_is_not_lent_again(
    home: House, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = await decide(home, tenant)
    await home.gate.read(decision, ReadNote(uuid7()))
    lane, pids = home.gate._lane(READ), list[int]()
    serve = lane._serve

    async def serve_the_last(connection: Connection, batch: list[batching.Waiting]) -> bool:
        pids.append(connection.get_server_pid())
        await serve(connection, batch)
        return False

    monkeypatch.setattr(lane, "_serve", serve_the_last)
    for _ in range(3):
        await home.gate.read(decision, ReadNote(uuid7()))
    assert len(set(pids)) == 3
