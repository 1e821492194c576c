"""Promise: all that is wrong with a record is told at once, by path and code, and never by value."""

from __future__ import annotations

import pytest

from vault.stack import Stack
from wellkeep.base.errors import Validation, WellkeepError
from wellkeep.vault.values import Value

CANARY = "canary4711"


async def test_every_problem_of_a_record_is_told_and_no_value(stack: Stack) -> None:
    bad: dict[str, Value] = {
        CANARY: "x",
        "birth_date": "2023-02-30",
        "visits": 2**53,
        "gender": CANARY,
        "note": CANARY + "\x00",
        "active": "yes",
    }
    with pytest.raises(Validation) as refused:
        await stack.vault.records.create(stack.integration, "patients", bad)
    assert {(problem.path, problem.code) for problem in refused.value.fields} == {
        ("/fields/*", "unknown-field"),
        ("/fields/birth_date", "malformed"),
        ("/fields/visits", "out-of-range"),
        ("/fields/gender", "not-allowed"),
        ("/fields/note", "nul"),
        ("/fields/active", "wrong-type"),
    }
    assert CANARY not in repr((refused.value, refused.value.fields, refused.value.__cause__))
    assert await stack.as_superuser("SELECT FROM vault.record") == []


async def test_what_is_required_is_required(stack: Stack) -> None:
    for fields in ({}, {"title": None}, {"beds": 3}):
        with pytest.raises(Validation) as refused:
            await stack.vault.records.create(stack.integration, "wards", fields)
        assert [(problem.path, problem.code) for problem in refused.value.fields] == [("/fields/title", "required")]
    made = await stack.vault.records.create(stack.integration, "wards", {"title": "a", "beds": None})
    with pytest.raises(Validation):
        await stack.vault.records.change(stack.integration, "wards", made.id, {"title": None}, expected=1)
    with pytest.raises(Validation):
        await stack.vault.records.change(stack.integration, "wards", made.id, {CANARY: None}, expected=1)


async def test_a_unique_value_must_have_a_normal_form_and_others_need_none(stack: Stack) -> None:
    with pytest.raises(Validation) as refused:
        await stack.vault.records.create(stack.integration, "patients", {"ssn": "---"})
    assert [(problem.path, problem.code) for problem in refused.value.fields] == [("/fields/ssn", "not-indexable")]
    made = await stack.vault.records.create(stack.integration, "patients", {"phone": "none", "family": "!"})
    view = await stack.vault.records.read(stack.integration, "patients", made.id)
    assert view.fields == {"phone": "none", "family": "!"}


@pytest.mark.parametrize("external", ["", "x" * 257, "a\x00", "\ud800"])
async def test_an_external_id_must_be_storable(stack: Stack, external: str) -> None:
    with pytest.raises(Validation):
        await stack.vault.upserts.put(stack.integration, "wards", external, {"title": "a"})


async def test_no_refusal_of_the_database_quotes_a_value(stack: Stack) -> None:
    await stack.vault.records.create(stack.integration, "patients", {"ssn": "999-12-3456", "note": CANARY})
    with pytest.raises(WellkeepError) as refused:
        await stack.vault.records.create(stack.integration, "patients", {"ssn": "999-12-3456", "note": CANARY})
    assert "3456" not in repr(refused.value)
    assert CANARY not in repr((refused.value, refused.value.__context__))
