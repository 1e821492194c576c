"""Promise: a collection changes only in ways that leave what is stored readable; few-valued fields get no index."""

from __future__ import annotations

import msgspec
import pytest

from vault.stack import PATIENTS, Stack, field
from wellkeep.base.errors import Conflict, Forbidden, NotFound, PreconditionFailed, Validation
from wellkeep.vault.declaration import CollectionChange, CollectionSpec, FieldSpec, check_collection
from wellkeep.vault.templates import names, template


def problems(*fields: FieldSpec, name: str = "c", subject: str = "self") -> set[tuple[str, str]]:
    with pytest.raises(Validation) as refused:
        check_collection(CollectionSpec(name=name, subject=subject, fields=fields))
    return {(problem.path, problem.code) for problem in refused.value.fields}


@pytest.mark.parametrize(
    ("spec", "place", "code"),
    [
        (field("Name"), "name", "malformed"),
        (field("n" * 64), "name", "malformed"),
        (field("a", "blob"), "type", "not-allowed"),
        (field("a", cls="secret"), "class", "not-allowed"),
        (field("a", group="everyone"), "group", "not-allowed"),
        (field("a", index="fuzzy"), "index", "not-allowed"),
        (field("a", index="exact", normaliser="soundex"), "normaliser", "not-allowed"),
        (field("a", normaliser="name"), "normaliser", "not-allowed"),
        (field("a", "boolean", index="exact"), "index", "few-values"),
        (field("a", index="exact", enum=("x", "y")), "index", "few-values"),
        (field("gender", index="exact"), "index", "few-values"),
        (field("race", index="prefix", normaliser="name"), "index", "few-values"),
        (field("a", index="exact", max_length=2), "index", "few-values"),
        (field("a", "json", index="exact"), "index", "not-indexable"),
        (field("a", "integer", index="prefix"), "index", "not-allowed"),
        (field("a", index="prefix", normaliser="digits"), "index", "not-allowed"),
        (field("a", "date", index="exact", normaliser="text"), "normaliser", "not-allowed"),
        (field("a", max_length=0), "max_length", "out-of-range"),
        (field("a", max_length=2**20 + 1), "max_length", "out-of-range"),
        (field("a", "integer", max_length=5), "max_length", "not-allowed"),
        (field("a", "text", enum=("x",)), "enum", "not-allowed"),
        (field("a", enum=()), "enum", "out-of-range"),
        (field("a", enum=("x", "x")), "enum", "out-of-range"),
        (field("a", enum=("x", "\x00")), "enum/1", "malformed"),
    ],
)
def test_a_field_that_would_leak_or_not_work_is_refused(spec: FieldSpec, place: str, code: str) -> None:
    assert (f"/fields/0/{place}", code) in problems(spec)


def test_all_problems_are_told_at_once() -> None:
    found = problems(field("a"), field("a"), field("B"), name="9", subject="dog")
    assert found == {
        ("/name", "malformed"),
        ("/subject", "not-allowed"),
        ("/fields/1/name", "duplicate"),
        ("/fields/2/name", "malformed"),
    }
    assert problems() == {("/fields", "required")}
    assert problems(*(field(f"f{n}") for n in range(1_001))) == {("/fields", "too-long")}


@pytest.mark.parametrize("name", names())
def test_every_template_can_be_declared(name: str) -> None:
    check_collection(msgspec.convert(template(name).definition(), CollectionSpec))


async def test_a_collection_of_a_thousand_fields_holds_a_record_of_a_thousand(stack: Stack) -> None:
    spec = CollectionSpec(name="wide", subject="none", fields=tuple(field(f"f{n}") for n in range(1_000)))
    await stack.declare(spec)
    values = {f"f{n}": f"value {n}" for n in range(1_000)}
    made = await stack.vault.records.create(stack.integration, "wide", values)
    assert (await stack.vault.records.read(stack.integration, "wide", made.id)).fields == values
    with pytest.raises(Validation):
        await stack.vault.collections.change(stack.administrator, "wide", CollectionChange(add=(field("more"),)))


async def test_a_rename_moves_nothing_and_numbers_are_never_used_again(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", {"note": "a", "family": "Koepp"})
    change = CollectionChange(
        add=(field("nickname"),), rename={"note": "remark"}, max_length={"family": 2_000}, required={"family": True}
    )
    before = await stack.vault.collections.get(stack.administrator, "patients")
    after = await stack.vault.collections.change(stack.administrator, "patients", change, expected=1)
    assert after.by_name["remark"].id == before.by_name["note"].id
    assert after.by_name["nickname"].id > max(before.by_id)
    assert (after.version, after.by_name["family"].max_length) == (2, 2_000)
    view = await stack.vault.records.read(stack.integration, "patients", made.id)
    assert view.fields == {"remark": "a", "family": "Koepp"}
    with pytest.raises(Validation):
        await stack.vault.records.create(stack.integration, "patients", {"remark": "b"})
    with pytest.raises(PreconditionFailed):
        await stack.vault.collections.change(stack.administrator, "patients", change, expected=1)
    ids = await stack.as_superuser("SELECT id FROM vault.collection UNION SELECT (f->>'id')::int FROM vault.collection,"
        " jsonb_array_elements(definition->'fields') f")  # fmt: skip
    assert len(ids) == 3 + sum(len(c.by_id) for c in await stack.vault.collections.list(stack.administrator))


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        (CollectionChange(add=(field("note"),)), "/add/0/name", "duplicate"),
        (CollectionChange(rename={"note": "family"}), "/rename", "duplicate"),
        (CollectionChange(rename={"nothing": "x"}), "/rename/*", "unknown-field"),
        (CollectionChange(rename={"note": "No"}), "/rename/note", "malformed"),
        (CollectionChange(max_length={"family": 10}), "/max_length/family", "out-of-range"),
        (CollectionChange(required={"nothing": True}), "/required/*", "unknown-field"),
    ],
)
async def test_a_change_that_would_break_what_is_stored_is_refused(
    stack: Stack, change: CollectionChange, path: str, code: str
) -> None:
    with pytest.raises(Validation) as refused:
        await stack.vault.collections.change(stack.administrator, "patients", change)
    assert (path, code) in {(problem.path, problem.code) for problem in refused.value.fields}


async def test_a_writer_with_an_old_definition_is_set_right(stack: Stack) -> None:
    await stack.vault.records.create(stack.integration, "patients", {"note": "a"})
    await stack.as_superuser("UPDATE vault.collection SET version = 7 WHERE name = 'patients'")
    made = await stack.vault.records.create(stack.integration, "patients", {"note": "b"})
    assert made.revision == 1


async def test_who_may_not_change_collections_does_not(stack: Stack) -> None:
    with pytest.raises(Forbidden):
        await stack.vault.collections.create(stack.clinician, PATIENTS)
    with pytest.raises(Conflict):
        await stack.vault.collections.create(stack.administrator, PATIENTS)
    for name in ("nowhere", "Not A Name"):
        with pytest.raises(NotFound):
            await stack.vault.collections.get(stack.administrator, name)
