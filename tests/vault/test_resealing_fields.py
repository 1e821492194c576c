"""A field that became sealed or indexed: what is stored follows in the background, and is searched when it has."""

from __future__ import annotations

from uuid import UUID

import pytest

from vault.stack import Stack, field
from vault.test_resealing import engine, read, replayed
from wellkeep.base.errors import Conflict, PreconditionFailed, Validation
from wellkeep.vault.declaration import CollectionChange, CollectionSpec, IndexSpec
from wellkeep.vault.resealing import Rotation

VISITS = CollectionSpec(
    name="visits",
    subject="required",
    fields=(
        field("place", cls="plain"),
        field("room", cls="plain", index="exact"),
        field("member", cls="pii"),
        field("sex", cls="pii"),
    ),
)
CLEAR = """
SELECT count(*) AS n FROM (SELECT plain FROM vault.record UNION ALL SELECT plain FROM vault.revision) s
WHERE s.plain::text LIKE '%Aisle%'
"""


@pytest.fixture
async def person(stack: Stack) -> UUID:
    await stack.declare(VISITS)
    return (await stack.vault.subjects.create(stack.integration)).id


async def visit(stack: Stack, person: UUID, **fields: str) -> UUID:
    made = await stack.vault.records.create(stack.integration, "visits", dict(fields), subject=person)
    return made.id


async def change(stack: Stack, **what: object) -> None:
    await stack.vault.collections.change(stack.administrator, "visits", CollectionChange(**what))  # type: ignore[arg-type]


async def finish(stack: Stack) -> Rotation:
    (running,) = [one for one in await engine(stack).status(stack.tenant) if one.running]
    return await engine(stack).run(stack.tenant, running.id)


async def found(stack: Stack, **where: str) -> list[UUID]:
    page = await stack.vault.search.search(stack.integration, "visits", where)
    return [one.id for one in page.records]


async def test_a_plain_field_is_sealed_and_no_value_of_it_stays_in_the_clear(stack: Stack, person: UUID) -> None:
    first = await visit(stack, person, place="Aisle 1", room="7")
    second = await visit(stack, person, place="Aisle 2", room="8")
    await stack.vault.records.change(stack.integration, "visits", first, {"place": "Aisle 3"}, expected=1)
    await change(stack, field_class={"place": "phi"})
    third = await visit(stack, person, place="Aisle 4", room="7")
    assert await read(stack, first, "visits") == {"place": "Aisle 3", "room": "7"}
    await stack.vault.records.change(stack.integration, "visits", second, {"room": "9"}, expected=1)
    ended = await finish(stack)
    assert (ended.state, ended.conflicts) == ("done", 0)
    assert (await stack.as_superuser(CLEAR))[0]["n"] == 0
    assert await read(stack, first, "visits") == {"place": "Aisle 3", "room": "7"}
    assert await read(stack, second, "visits") == {"place": "Aisle 2", "room": "9"}
    assert await read(stack, third, "visits") == {"place": "Aisle 4", "room": "7"}
    assert await found(stack, room="7") == [first, third]
    assert await replayed(stack) == []


async def test_a_change_made_from_what_was_read_in_the_clear_brings_nothing_back(stack: Stack, person: UUID) -> None:
    record = await visit(stack, person, place="Aisle 1", room="7")
    await change(stack, field_class={"place": "phi"})
    await finish(stack)
    done = await stack.vault.records.change(stack.integration, "visits", record, {"room": "8"}, expected=1)
    assert done.revision == 2
    with pytest.raises(PreconditionFailed):
        await stack.vault.records.change(stack.integration, "visits", record, {"room": "9"}, expected=1)
    assert (await stack.as_superuser(CLEAR))[0]["n"] == 0


async def test_an_added_index_is_searched_when_every_value_is_in_it(stack: Stack, person: UUID) -> None:
    made = [await visit(stack, person, member=f"m-{number}", room="7") for number in range(3)]
    await change(stack, index={"member": IndexSpec(index="exact", normaliser="identifier")})
    late = await visit(stack, person, member="m-1", room="7")
    with pytest.raises(Conflict, match="being built, 0 %"):
        await found(stack, member="m-1")
    assert await found(stack, room="7") == [*made, late]
    assert (await finish(stack)).state == "done"
    stack.vault.context.forget_collection(stack.tenant, "visits")
    assert await found(stack, member="m-1") == [made[1], late]
    assert await replayed(stack) == []


async def test_a_unique_index_over_values_that_are_not_is_reported_and_not_searched(stack: Stack, person: UUID) -> None:
    first, second = [await visit(stack, person, member="m-1", place=f"Aisle {number}") for number in range(2)]
    await change(stack, index={"member": IndexSpec(index="unique")}, field_class={"place": "phi"})
    ended = await finish(stack)
    assert (ended.state, ended.error, ended.conflicts) == ("failed", "index-conflict", 1)
    assert (await stack.as_superuser(CLEAR))[0]["n"] == 0
    assert "index.conflict" in [one.kind for one in await stack.found()]
    with pytest.raises(Conflict, match="could not be built"):
        await found(stack, member="m-1")
    await stack.vault.records.change(stack.integration, "visits", second, {"member": "m-2"}, expected=1)
    await change(stack, index={"member": IndexSpec(index="unique")})
    assert (await finish(stack)).state == "done"
    stack.vault.context.forget_collection(stack.tenant, "visits")
    assert await found(stack, member="m-1") == [first]
    assert await found(stack, member="m-2") == [second]
    with pytest.raises(Conflict):
        await visit(stack, person, member="m-1")


@pytest.mark.parametrize(
    ("what", "path", "code"),
    [
        ({"field_class": {"member": "plain"}}, "/class/member", "not-allowed"),
        ({"field_class": {"member": "phi"}}, "/class/member", "not-allowed"),
        ({"field_class": {"place": "secret"}}, "/class/place", "not-allowed"),
        ({"field_class": {"nothing": "phi"}}, "/class/*", "unknown-field"),
        ({"index": {"sex": IndexSpec(index="exact")}}, "/index/sex/index", "few-values"),
        ({"index": {"room": IndexSpec(index="exact")}}, "/index/room", "not-allowed"),
        ({"index": {"member": IndexSpec(index="fuzzy")}}, "/index/member", "not-allowed"),
        ({"index": {"member": IndexSpec(index="exact", normaliser="none")}}, "/index/member", "not-allowed"),
    ],
)
async def test_what_may_not_change_is_named(
    stack: Stack, person: UUID, what: dict[str, object], path: str, code: str
) -> None:
    del person
    with pytest.raises(Validation) as refused:
        await change(stack, **what)
    assert [(one.path, one.code) for one in refused.value.fields] == [(path, code)]


async def test_one_change_at_a_time(stack: Stack, person: UUID) -> None:
    del person
    await change(stack, field_class={"place": "phi"})
    with pytest.raises(Conflict):
        await change(stack, field_class={"room": "phi"})
    await finish(stack)
    await change(stack, field_class={"room": "phi"})
