"""Every built-in collection can be declared, and drives the mapper that fills it."""

from __future__ import annotations

import msgspec
import pytest

from wellkeep.base.errors import Misconfigured, NotFound
from wellkeep.vault.declaration import CollectionSpec, check_collection, numbered
from wellkeep.vault.fhir import FhirMapper
from wellkeep.vault.fhir_paths import WrongType, parse, value
from wellkeep.vault.templates import RESOURCE_FIELD, names, template

EXPECTED = (
    "allergies", "conditions", "coverage", "documents", "encounters", "immunisations", "medications", "messages",
    "observations", "organisations", "patients", "practitioners",
)  # fmt: skip


def test_all_that_were_promised_are_there() -> None:
    assert names() == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_a_template_is_a_collection_that_can_be_declared(name: str) -> None:
    found = template(name)
    spec = msgspec.convert(found.definition(), CollectionSpec)
    check_collection(spec)
    fields = {field.name: field for field in numbered(spec.fields, first=1)}
    assert fields[RESOURCE_FIELD].type == "json"
    assert all(field.sealed for field in fields.values())
    assert (spec.subject == "required") == bool(found.reference)
    FhirMapper(found)


def test_an_unknown_template_is_not_found() -> None:
    with pytest.raises(NotFound):
        template("../roles")


@pytest.mark.parametrize(
    "text", ["", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[=1]", "a[b=]", "a[*/b=1]", "a[b/*=1]", "1a"]
)
def test_a_path_that_does_not_fit_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured):
        parse(text)


RESOURCE = {
    "name": [{"use": "old", "family": "A"}, {"use": "official", "family": "B", "given": ["C", None, "D"]}],
    "identifier": [{"type": {"coding": [{"code": "MR"}, {"code": "XX"}]}, "value": "17"}],
    "active": True,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name[use=official].family", "B"),
        ("name[0].family", "A"),
        ("name[7].family", None),
        ("name[use=official].given[*]", "C D"),
        ("name[*].family", "A B"),
        ("identifier[type/coding/*/code=XX].value", "17"),
        ("identifier[type/coding/*/code=no].value", None),
        ("active", True),
        ("absent.below", None),
    ],
)
def test_a_path_finds_what_it_names(text: str, expected: object) -> None:
    assert value(RESOURCE, parse(text)) == expected


@pytest.mark.parametrize("text", ["name", "name.family", "active.below", "name[0]", "active[0]"])
def test_another_shape_is_a_wrong_type(text: str) -> None:
    with pytest.raises(WrongType):
        value(RESOURCE, parse(text))
