"""From what a caller sent to payloads: known fields, of their type, of groups that the caller may see.

Rules: all problems are reported together, by the pointer `/fields/<name>` and a code; a name that the collection does
not declare is shown as `*`. Whoever can't see a group can't write to it either: they could not know what they replace.
Who does not see identifiers finds no record by its external id: the answer would tell which there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec

from wellkeep.base.errors import FieldProblem, Forbidden, Validation
from wellkeep.gate.acts import Decision
from wellkeep.gate.gate import Gate
from wellkeep.vault.definition import IDENTIFIER, Collection, SubjectMode
from wellkeep.vault.tags import Payload
from wellkeep.vault.values import Value, ValueRefused, encode

LONGEST_EXTERNAL_ID = 256


def payloads(collection: Collection, fields: Mapping[str, Value]) -> list[Payload]:
    """Return the payloads of a whole record; a null is the same as leaving the field out. Raises Validation."""
    problems = [
        FieldProblem(f"/fields/{name}", "required") for name in collection.required if is_null(fields.get(name))
    ]
    return _encoded(collection, {name: value for name, value in fields.items() if not is_null(value)}, problems)


def changed_payloads(collection: Collection, fields: Mapping[str, Value]) -> tuple[list[Payload], set[int]]:
    """Return the payloads that a change sets and the numbers of the fields that it clears. Raises Validation."""
    problems = [
        FieldProblem(f"/fields/{name}", "required")
        for name in collection.required
        if name in fields and is_null(fields[name])
    ]
    cleared = {name for name, value in fields.items() if is_null(value)}
    problems += [FieldProblem("/fields/*", "unknown-field") for name in cleared if name not in collection.by_name]
    found = _encoded(collection, {name: fields[name] for name in fields if name not in cleared}, problems)
    return found, {collection.by_name[name].id for name in cleared}


def is_null(value: Value) -> bool:
    """Say whether `value` is JSON's null."""
    return value is None or (type(value) is msgspec.Raw and bytes(value).strip() == b"null")


def _encoded(collection: Collection, fields: Mapping[str, Value], problems: list[FieldProblem]) -> list[Payload]:
    found = []
    for name, value in fields.items():
        declared = collection.by_name.get(name)
        if declared is None:
            problems.append(FieldProblem("/fields/*", "unknown-field"))
            continue
        try:
            found.append((declared, encode(declared, value)))
        except ValueRefused as refused:
            problems.append(FieldProblem(f"/fields/{name}", refused.code))
    if problems:
        raise Validation(fields=tuple(problems))
    return found


def sees(decision: Decision, collection: Collection, names: Iterable[str]) -> bool:
    """Say whether `decision` shows each of these fields; a name that nobody declared is nobody's to see."""
    seen = collection.view(decision.groups, decision.hidden).fields
    return all(name not in collection.by_name or collection.by_name[name].id in seen for name in names)


async def must_see(gate: Gate, decision: Decision, collection: Collection, names: Mapping[str, object]) -> None:
    """Raise Forbidden, on record, where a name is one of a field that the caller may not see."""
    seen = collection.view(decision.groups, decision.hidden).fields
    hidden = tuple(name for name in names if name in collection.by_name and collection.by_name[name].id not in seen)
    if hidden:
        await gate.failed(decision, error=Forbidden.code, fields=hidden)
        raise Forbidden(
            "Your role does not see some of these fields",
            fields=tuple(FieldProblem(f"/fields/{name}", "withheld") for name in hidden),
        )


async def must_see_identifiers(gate: Gate, decision: Decision) -> None:
    """Raise Forbidden, on record, where the caller sees no identifiers, and so addresses no record by one."""
    if IDENTIFIER not in decision.groups:
        await gate.failed(decision, error=Forbidden.code)
        raise Forbidden("Your role does not see identifiers, so it finds no record by one")


def check_subject(collection: Collection, subject: UUID | None) -> None:
    """Raise Validation where a subject is missing, or given where there is none to give."""
    if (collection.subject is SubjectMode.REQUIRED) != (subject is not None):
        code = "required" if subject is None else "not-allowed"
        raise Validation(fields=(FieldProblem("/subject", code),))


def check_external_id(external_id: str) -> None:
    """Raise Validation for an external id that is empty, too long or not storable."""
    code = None
    if not external_id or len(external_id) > LONGEST_EXTERNAL_ID:
        code = "too-long" if external_id else "required"
    elif "\x00" in external_id:
        code = "nul"
    else:
        try:
            external_id.encode()
        except UnicodeEncodeError:
            code = "lone-surrogate"
    if code is not None:
        raise Validation(fields=(FieldProblem("/external_id", code),))
