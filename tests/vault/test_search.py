"""Promise: what matches is found, however it is written; nothing else is opened; a cursor belongs to its query."""

from __future__ import annotations

import pytest

from vault.stack import PATIENTS, Stack
from wellkeep.base.errors import NotFound, Validation
from wellkeep.vault.values import Value

PEOPLE: tuple[dict[str, Value], ...] = (
    {"ssn": "999-12-3456", "family": "Núñez García", "phone": "555-978-4581", "birth_date": "1980-01-02"},
    {"ssn": "999-12-3457", "family": "Nunes", "phone": "(555) 978-4582", "birth_date": "1980-01-02"},
    {"ssn": "999-12-3458", "family": "O'Brien-Smith", "phone": "+1 555 978 4583", "birth_date": "1990-01-02"},
)


async def filled(stack: Stack) -> list[str]:
    return [str((await stack.vault.records.create(stack.integration, "patients", person)).id) for person in PEOPLE]


@pytest.mark.parametrize(
    ("where", "who"),
    [
        ({"ssn": "999-12-3456"}, {0}),
        ({"ssn": "999123456"}, {0}),
        ({"ssn": "999 12 3459"}, set()),
        ({"phone": "+15559784581"}, {0}),
        ({"phone": "555.978.4582"}, {1}),
        ({"phone": "(555) 978-4583"}, {2}),
        ({"family": "nunez"}, {0}),
        ({"family": "NÚÑ"}, {0, 1}),
        ({"family": "nun"}, {0, 1}),
        ({"family": "garcia nu"}, {0}),
        ({"family": "obrien smith"}, {2}),
        ({"birth_date": "1980-01-02"}, {0, 1}),
        ({"birth_date": "1980-01-02", "family": "nunes"}, {1}),
        ({"birth_date": "1990-01-02", "family": "nun"}, set()),
        ({"ssn": "999-12-3457", "birth_date": "1980-01-02", "family": "nu"}, {1}),
        ({}, {0, 1, 2}),
    ],
)
async def test_the_right_people_are_found(stack: Stack, where: dict[str, Value], who: set[int]) -> None:
    made = await filled(stack)
    page = await stack.vault.search.search(stack.integration, "patients", where)
    assert {str(record.id) for record in page.records} == {made[place] for place in who}
    (entry,) = await stack.entries("record.search")
    assert f'"count":{len(who)}' in entry["text"]
    assert not any(str(value) in entry["text"] for value in where.values())


async def test_pages_follow_one_another_and_their_cursor_belongs_to_the_query(stack: Stack) -> None:
    made = await filled(stack)
    search, caller = stack.vault.search.search, stack.integration
    for where in ({}, {"birth_date": "1980-01-02"}, {"family": "nun"}):
        expected = made if not where else made[:2]
        found, cursor = [], None
        for _ in range(4):
            page = await search(caller, "patients", where, limit=1, cursor=cursor)
            found += [str(record.id) for record in page.records]
            if (cursor := page.cursor) is None:
                break
        assert found == expected
    cursor = (await search(caller, "patients", {"family": "nun"}, limit=1)).cursor
    assert cursor is not None
    flipped = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    await stack.declare(PATIENTS, tenant=stack.other)
    for bad, who, where in (
        (cursor, caller, {}),
        (cursor, caller, {"family": "nu"}),
        (cursor, stack.caller("integration", tenant=stack.other), {"family": "nun"}),
        (flipped, caller, {"family": "nun"}),
        ("", caller, {"family": "nun"}),
        ("\u00e9" * 300, caller, {"family": "nun"}),
    ):
        with pytest.raises(Validation) as refused:
            await search(who, "patients", where, limit=1, cursor=bad)
        assert refused.value.fields[0].path == "/cursor"


@pytest.mark.parametrize(
    ("where", "path", "code"),
    [
        ({"nothing": "x"}, "/where/*", "unknown-field"),
        ({"note": "x"}, "/where/note", "not-indexed"),
        ({"phone": "no phone"}, "/where/phone", "not-indexable"),
        ({"family": "n"}, "/where/family", "not-indexable"),
        ({"birth_date": 7}, "/where/birth_date", "wrong-type"),
    ],
)
async def test_a_condition_that_can_not_be_asked_is_refused(
    stack: Stack, where: dict[str, Value], path: str, code: str
) -> None:
    with pytest.raises(Validation) as refused:
        await stack.vault.search.search(stack.integration, "patients", where)
    assert [(problem.path, problem.code) for problem in refused.value.fields] == [(path, code)]


async def test_limits_and_names_are_checked(stack: Stack) -> None:
    search = stack.vault.search.search
    for limit in (0, 201):
        with pytest.raises(Validation):
            await search(stack.integration, "patients", limit=limit)
    with pytest.raises(Validation):
        await search(stack.integration, "patients", fields=["nothing"])
    with pytest.raises(NotFound):
        await search(stack.integration, "nowhere")


async def test_no_condition_leaves_a_trace_in_the_database(stack: Stack) -> None:
    await filled(stack)
    await stack.vault.search.search(stack.integration, "patients", {"family": "nunez"})
    for table in ("record", "tag", "revision", "idempotency"):
        rows = await stack.as_superuser(f"SELECT t::text AS text FROM vault.{table} t")  # noqa: S608
        assert not any("unez" in row["text"].lower() or "999-12" in row["text"] for row in rows)
