"""Decoding: a shape or a refusal, and a refusal is made of our own words alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.api import shapes
from wellkeep.api.apikey_shapes import KeyInput
from wellkeep.api.decoding import decode, decode_aside
from wellkeep.base.errors import Validation
from wellkeep.vault import csv_source
from wellkeep.vault.csv_source import CsvMapper
from wellkeep.vault.declaration import CollectionSpec

SHAPES = (shapes.RecordInput, shapes.SearchInput, shapes.BatchInput, KeyInput, CollectionSpec)
KEYS = st.one_of(st.sampled_from(["name", "fields", "where", "limit", "records", "roles", "subject"]), st.text())
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
CODES = {
    "required", "unknown-field", "not-allowed", "too-long", "too-short", "out-of-range", "malformed", "wrong-type",
    "malformed-json", "not-utf8", "duplicate-key", "nul", "lone-surrogate", "not-finite", "too-deep",
}  # fmt: skip


def declared(shape: type) -> set[str]:
    _, components = msgspec.json.schema_components([shape])
    return {name for schema in components.values() for name in schema.get("properties", ())}


ALLOWED = {shape: declared(shape) | {"*"} for shape in SHAPES}


def outcome(body: bytes, shape: type[Any]) -> Validation | None:
    """Decode, and return the refusal where there is one."""
    try:
        assert isinstance(decode(body, shape), shape)
    except Validation as refused:
        return refused
    return None


@given(value=JSON, shape=st.sampled_from(SHAPES))
def test_a_refusal_names_declared_places_alone(value: Any, shape: type[Any]) -> None:
    refused = outcome(msgspec.json.encode(value), shape)
    if refused is not None:
        (place,) = refused.fields
        assert place.code in CODES
        assert all(part in ALLOWED[shape] or part.isdigit() for part in place.path.split("/")[1:]), place.path
        assert refused.message in {Validation.title, "The body is not valid JSON"}


@given(body=st.binary(max_size=200), shape=st.sampled_from(SHAPES))
def test_any_bytes_are_decoded_or_refused(body: bytes, shape: type[Any]) -> None:
    refused = outcome(body, shape)
    assert refused is None or refused.fields


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ('{"records": [{"fields": {}}, {"fields": 1}]}', "/records/1/fields", "wrong-type"),
        ('{"records": [{"fields": {}, "SSN-999": 1}]}', "/records/0/*", "unknown-field"),
        ('{"records": [{}]}', "/records/0/fields", "required"),
        ('{"records": []}', "/records", "too-short"),
        ('{"records": [{"fields": {}, "subject": "999-12-3456"}]}', "/records/0/subject", "malformed"),
        ('{"records": [{"fields": {"a": 1, "a": 2}}]}', "/records/0/fields/*", "duplicate-key"),
    ],
)
def test_places_and_codes(body: str, path: str, code: str) -> None:
    with pytest.raises(Validation) as refused:
        decode(body.encode(), shapes.BatchInput)
    assert [(field.path, field.code) for field in refused.value.fields] == [(path, code)]


TARGETS = ("family", "@external_id", "@patient", "@subject", "@ignore")


def mapped(target: str) -> bytes:
    """Return the body of an import whose map sends a column to `target`."""
    return msgspec.json.encode({"collection": "patients", "format": "csv", "map": {"No": target}})


def test_a_column_is_mapped_to_whatever_an_import_knows() -> None:
    """What the import takes, the API passes on: it knew the fields alone once."""
    assert {target for target in TARGETS if target.startswith("@")} == csv_source._TARGETS
    for target in TARGETS:
        mapping = decode(mapped(target), shapes.ImportInput).map
        assert mapping == {"No": target}
        CsvMapper({"family": "string"}, mapping=mapping)


@pytest.mark.parametrize("target", ["@external", "@Ignore", "external_id@", "@", "", "Family", "@ignore\n", "a b"])
def test_a_column_is_mapped_to_nothing_else(target: str) -> None:
    with pytest.raises(Validation) as refused:
        decode(mapped(target), shapes.ImportInput)
    assert [(field.path, field.code) for field in refused.value.fields] == [("/map/*", "malformed")]


@pytest.mark.parametrize("name", ["a\n", "a\r", "\na", "A", ""])
def test_a_name_is_a_name_to_its_end(name: str) -> None:
    for body, shape in (
        ({"collection": name, "format": "csv"}, shapes.ImportInput),
        ({"name": name, "kind": "live"}, shapes.TenantInput),
    ):
        assert outcome(msgspec.json.encode(body), shape) is not None


async def test_a_large_body_is_read_like_a_small_one() -> None:
    rows = b",".join(b'{"fields":{"note":"%d"}}' % number for number in range(500)) + b',{"fields":{"note":"x"}}' * 400
    body = b'{"records":[' + rows + b"]}"
    assert await decode_aside(body[: body.index(b",")] + b"]}", shapes.BatchInput) is not None
    assert len(body) > 16 * 1024
    with pytest.raises(Validation) as told:
        await decode_aside(body, shapes.BatchInput)
    assert [(problem.path, problem.code) for problem in told.value.fields] == [("/records", "too-long")]
    with pytest.raises(Validation) as told:
        await decode_aside(body.replace(b"499", b"\\ud800"), shapes.BatchInput)
    assert [(problem.path, problem.code) for problem in told.value.fields] == [
        ("/records/499/fields/*", "lone-surrogate")
    ]
