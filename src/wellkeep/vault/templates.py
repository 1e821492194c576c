"""The built-in collections: reviewed files that say which fields stand beside a FHIR resource, and where in it.

Rules: a template is data; its names follow FHIR R4; the resource itself is kept byte for byte in the field `resource`
and the other fields are copies for searching and for roles that may not see the whole. The same file drives the
collection that `wellkeep collections template NAME` prints and the mapper of an import, so the two can't differ.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec

from wellkeep.base.errors import Misconfigured, NotFound
from wellkeep.vault.fhir_paths import Path, parse

_FOLDER = "collections"

RESOURCE_FIELD = "resource"
"""The field that keeps a FHIR resource byte for byte."""

PATIENTS = "patients"
"""The collection whose external ids the references of all others are resolved by."""


class TemplateField(msgspec.Struct, frozen=True, kw_only=True, rename={"field_class": "class"}, omit_defaults=True):
    """One field as a collection declares it; `source` are the FHIR paths that fill it, the first that yields wins."""

    name: str
    type: str
    field_class: str
    group: str
    index: str = "none"
    normaliser: str | None = None
    max_length: int | None = None
    required: bool = False
    source: tuple[str, ...] = ()


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A built-in collection.

    `subject` is self, required or none; `resource` the FHIR resource type; `external_id` and `reference` the paths of a
    record's id in its source and of its patient.
    """

    name: str
    subject: str
    resource: str
    external_id: str
    fields: tuple[TemplateField, ...]
    reference: tuple[str, ...] = ()

    def definition(self) -> dict[str, object]:
        """Return the body of `POST /v1/collections` that makes this collection."""
        fields = [msgspec.to_builtins(entry) for entry in self.fields]
        for entry in fields:
            entry.pop("source", None)
        return {"name": self.name, "subject": self.subject, "fields": fields}

    def paths(self) -> dict[str, tuple[Path, ...]]:
        """Return the parsed FHIR paths of each field that has some."""
        return {entry.name: tuple(map(parse, entry.source)) for entry in self.fields if entry.source}


@cache
def names() -> tuple[str, ...]:
    """Return the names of all templates, sorted."""
    folder = resources.files("wellkeep.definitions") / _FOLDER
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


@cache
def template(name: str) -> Template:
    """Return the template called `name`; raises `NotFound` where there is none."""
    if name not in names():
        raise NotFound("There is no such template: see `wellkeep collections template --help` for their names")
    text = (resources.files("wellkeep.definitions") / _FOLDER / f"{name}.toml").read_text("utf-8")
    try:
        found = msgspec.convert(tomllib.loads(text), Template)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Misconfigured(f"the template {name} of this installation does not fit its schema") from error
    found.paths()
    return found
