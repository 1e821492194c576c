"""Which patient an emergency is about: named by id, or found by what is known of them.

Rules: what is asked must be an index that the caller may search, and name exactly one patient; nothing is opened for
it, and what came of it is an entry either way. The threat is a search past the care team: so it tells an id and no
more, only to who broke the glass of that patient with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from wellkeep.base.errors import Conflict, FieldProblem, NotFound, Validation
from wellkeep.gate.acts import Decision
from wellkeep.vault.calls import NIL, SearchRecords
from wellkeep.vault.context import Context
from wellkeep.vault.input import must_see
from wellkeep.vault.stored import stored
from wellkeep.vault.tags import Condition, condition
from wellkeep.vault.values import Value, ValueRefused, encode

_MOST_CONDITIONS: Final = 16
_LOOKED_AT: Final = 50
_WHOLE: Final = frozenset({"exact", "unique"})


class EmergencyPatients:
    """Finds the one patient that an emergency is about."""

    def __init__(self, context: Context) -> None:
        """Look within `context`."""
        self._context = context

    async def find(self, decision: Decision, collection: str, where: Mapping[str, Value]) -> UUID:
        """Return the patient whose records in `collection` meet all conditions, under the decision to break a glass.

        Raises NotFound where there is none, Conflict where there are several, Forbidden, Validation.
        """
        target = await self._context.collection(decision, collection)
        gate = self._context.gate
        await must_see(gate, decision, target, where)
        keys = await self._context.keys_for(decision.tenant, target)
        asked: list[Condition] = []
        problems = [] if 1 <= len(where) <= _MOST_CONDITIONS else [FieldProblem("/where", "out-of-range")]
        for name, value in where.items():
            field = target.by_name.get(name)
            if field is None:
                problems.append(FieldProblem("/where/*", "unknown-field"))
            elif field.index not in _WHOLE or field.building:
                problems.append(FieldProblem(f"/where/{name}", "not-indexed"))
            else:
                try:
                    text = value if isinstance(value, str) else encode(field, value).decode()
                    region = self._context.region
                    asked.append(condition(keys, collection=target.id, field=field, text=text, region=region))
                except ValueRefused as refused:
                    problems.append(FieldProblem(f"/where/{name}", refused.code))
        if problems:
            raise Validation(fields=tuple(problems))
        found = stored(await gate.read(decision, _call(decision, target.id, sorted(asked))))
        people = {state.subject for state in found if state.subject is not None}
        names = tuple(where)
        if len(people) == 1 and len(found) < _LOOKED_AT:
            return people.pop()
        if not people:
            await gate.failed(decision, error=NotFound.code, fields=names)
            raise NotFound("There is no such patient")
        await gate.failed(decision, error=Conflict.code, fields=names)
        raise Conflict("This fits several patients: say more of the one it is about")


def _call(decision: Decision, collection: int, asked: list[Condition]) -> SearchRecords:
    tags = [tag for one in asked for tag in one.tags]
    first = asked[0]
    return SearchRecords(
        credential=decision.caller.principal.credential,
        collection=collection,
        first_field=first.field,
        first_tag=first.tags[0],
        unique=first.unique,
        more_tags=tags[1:] or None,
        subject=None,
        after=NIL,
        most=_LOOKED_AT,
        older=tuple(tag for one in asked for tag in one.older),
    )
