"""Search by blind index, and listing: pages of records, each named in the ledger before it is opened.

Rules: a condition on a field that the caller may not see is refused, on record: its hits would tell the value. What
matches is what is returned, nothing else is opened; of patients out of the caller's reach nothing matches. A page's
cursor is signed and bound to tenant, collection and query; the query goes into it as a keyed MAC, for a bare hash of a
search would confirm a guess. At most 200 a page.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

import msgspec

from wellkeep.base.errors import Conflict, FieldProblem, IntegrityBroken, SubjectErased, Validation
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.events import Facts
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault import search_reach
from wellkeep.vault.calls import NIL, SearchRecords
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection, Field
from wellkeep.vault.input import must_see, sees
from wellkeep.vault.outcomes import RecordView, chosen, id_bytes, view_of
from wellkeep.vault.stored import Stored, open_fields, stored
from wellkeep.vault.tags import Condition, condition
from wellkeep.vault.values import Value, ValueRefused, encode

MOST_A_PAGE = 200
MOST_CONDITIONS = 16
_QUERY = "query/1"
_PROGRESS = """
SELECT state, done, total FROM keys.rotation WHERE tier = 'field' AND collection_id = $1
ORDER BY started_at DESC LIMIT 1
"""
_NO_CONDITIONS: Mapping[str, Value] = {}


class Page(msgspec.Struct, frozen=True):
    """One page of records; `cursor` asks for the next one, None where there is none."""

    records: tuple[RecordView, ...]
    cursor: str | None


class Search:
    """The service of `…/records/search`."""

    def __init__(self, context: Context) -> None:
        """Work within `context`."""
        self._context = context

    async def search(
        self,
        caller: Caller,
        collection: str,
        where: Mapping[str, Value] = _NO_CONDITIONS,
        *,
        subject: UUID | None = None,
        fields: Sequence[str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return the records that meet all conditions, oldest first; without any, all records, page by page.

        `where` maps indexed fields to a value (an exact or unique index) or to the beginnings of words (a prefix
        index). Raises Validation, Forbidden, NotFound, and what the gate raises.
        """
        gate = self._context.gate
        act = Act(Permission.RECORD_SEARCH, Action.RECORD_SEARCH, "record", subject=subject, collection=collection)
        decision = await gate.decide(caller, act)
        if not 1 <= limit <= MOST_A_PAGE:
            raise Validation(fields=(FieldProblem("/limit", "out-of-range"),))
        if subject is not None:
            decision = await gate.must_reach(decision, subject)
        target = await self._context.collection(decision, collection)
        await must_see(gate, decision, target, where)
        await self._must_be_built(decision, target, where)
        keys = await self._context.keys_for(decision.tenant, target)
        conditions = self._conditions(keys, target, where)
        query = _query(keys, conditions, subject)
        shown = await search_reach.page(
            *(gate, decision, self._fetching(decision, target, conditions, subject)),
            after=self._position(decision, target, query, cursor),
            limit=limit,
            asked=lambda side: sees(side, target, where),
        )
        views = await self._opened(shown, target, keys, subject=subject, where=where, fields=fields)
        return Page(tuple(views), None if shown.end is None else self._sign(decision, target, query, shown.end))

    def _fetching(
        self, decision: Decision, target: Collection, conditions: Sequence[Condition], subject: UUID | None
    ) -> search_reach.Fetch:
        async def fetch(after: UUID, most: int) -> list[Stored]:
            call = _call(decision.caller, target, conditions, subject=subject, after=after, most=most)
            return sorted(stored(await self._context.gate.read(decision, call)), key=lambda state: state.id)

        return fetch

    async def _opened(
        self,
        shown: search_reach.Shown,
        target: Collection,
        keys: TenantKeys,
        *,
        subject: UUID | None,
        where: Mapping[str, Value],
        fields: Sequence[str] | None,
    ) -> list[RecordView]:
        """Open what is shown, each side of it once its entry is durable, in the order of the page."""
        keys = await self._context.keys_of(keys, [state for _, state in shown.states])
        opened: dict[UUID, RecordView] = {}
        for side in shown.sides:
            page = [state for by, state in shown.states if by is side]
            if not page and side is not shown.sides[0]:
                continue
            seen, withheld = chosen(target, side, fields)
            receipt = await self._context.gate.disclose(side, **_facts(page, subject, where, seen.values()))
            for state in page:
                values = await self._open(side, receipt, keys=keys, collection=target, state=state, seen=seen)
                if values is not None:
                    opened[state.id] = view_of(state, values, withheld)
        return [opened[state.id] for _, state in shown.states if state.id in opened]

    async def _must_be_built(self, decision: Decision, target: Collection, where: Mapping[str, Value]) -> None:
        """Raise Conflict, on record, where a condition asks an index that not all values are in yet."""
        if not any(name in target.by_name and target.by_name[name].building for name in where):
            return
        async with self._context.gate.reading(decision) as connection:
            row = await connection.fetchrow(_PROGRESS, target.id)
            share = 0 if row is None or not row["total"] else min(99, 100 * row["done"] // row["total"])
            if row is not None and row["state"] != "running":
                raise Conflict("The index of this field could not be built; its findings say why")
            raise Conflict(f"The index of this field is being built, {share} %")

    async def _open(
        self,
        decision: Decision,
        receipt: Receipt,
        *,
        keys: TenantKeys,
        collection: Collection,
        state: Stored,
        seen: Mapping[int, Field],
    ) -> dict[str, Value] | None:
        """Open one state; None for an erased patient's, which is left out, on record. Raises IntegrityBroken."""
        try:
            return open_fields(receipt, keys=keys, collection=collection, state=state, seen=seen)
        except (SubjectErased, IntegrityBroken) as error:
            with suppress(SubjectErased):
                await self._context.unopened(decision, state, error)
        return None

    def _conditions(self, keys: TenantKeys, target: Collection, where: Mapping[str, Value]) -> list[Condition]:
        if len(where) > MOST_CONDITIONS:
            raise Validation(fields=(FieldProblem("/where", "too-long"),))
        problems, found = [], []
        for name, value in where.items():
            field = target.by_name.get(name)
            if field is None:
                problems.append(FieldProblem("/where/*", "unknown-field"))
            elif field.index == "none":
                problems.append(FieldProblem(f"/where/{name}", "not-indexed"))
            else:
                try:
                    text = value if isinstance(value, str) else encode(field, value).decode()
                    found.append(
                        condition(keys, collection=target.id, field=field, text=text, region=self._context.region)
                    )
                except ValueRefused as refused:
                    problems.append(FieldProblem(f"/where/{name}", refused.code))
        if problems:
            raise Validation(fields=tuple(problems))
        return sorted(found)

    def _position(self, decision: Decision, target: Collection, query: bytes, cursor: str | None) -> UUID:
        if cursor is None:
            return NIL
        position = self._context.cursors.verify(cursor, tenant=decision.tenant, collection=target.id, query=query)
        return UUID(bytes=position)

    def _sign(self, decision: Decision, target: Collection, query: bytes, last: UUID) -> str:
        return self._context.cursors.sign(last.bytes, tenant=decision.tenant, collection=target.id, query=query)


def _facts(page: Sequence[Stored], asked: UUID | None, where: Mapping[str, Value], seen: Iterable[Field]) -> Facts:
    """Return what the entry of one page says: each record, whose they are, and the fields that were used or shown."""
    names = tuple(where) + tuple(field.name for field in seen if field.name not in where)
    people = tuple(dict.fromkeys(state.subject for state in page if state.subject is not None))
    return Facts(
        records=tuple(state.id for state in page),
        subject=people[0] if len(people) == 1 else asked,
        subjects=people if len(people) > 1 else (),
        fields=names,
        count=len(page),
    )


def _query(keys: TenantKeys, conditions: Sequence[Condition], subject: UUID | None) -> bytes:
    mac = hmac.new(keys.mac_key(_QUERY), digestmod="sha256")
    mac.update(id_bytes(subject).ljust(16, b"\x00"))
    for one in conditions:
        for word in one.words:
            text = word.encode()
            mac.update(one.field.to_bytes(4, "big") + len(text).to_bytes(4, "big") + text)
    return mac.digest()


def _call(
    caller: Caller,
    target: Collection,
    conditions: Sequence[Condition],
    *,
    subject: UUID | None,
    after: UUID,
    most: int,
) -> SearchRecords:
    tags = [tag for one in conditions for tag in one.tags]
    first = conditions[0] if conditions else None
    return SearchRecords(
        credential=caller.principal.credential,
        collection=target.id,
        first_field=None if first is None else first.field,
        first_tag=None if first is None else first.tags[0],
        unique=first is not None and first.unique,
        more_tags=tags[1:] or None,
        subject=subject,
        after=after,
        most=most,
        older=tuple(tag for one in conditions for tag in one.older),
    )
