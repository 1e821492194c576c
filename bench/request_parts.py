"""Where the CPU of a protected request goes: PostgreSQL by role, and the parts of our own that can be timed alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from uuid import UUID

import request_data
from request_twin import CHARTS
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.crypto import envelope
from wellkeep.crypto.blind import BlindIndex, IndexKind, tokens
from wellkeep.crypto.keys import SubjectKey
from wellkeep.crypto.normalise import normalise
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.event import Event, prepare
from wellkeep.vault.definition import INDEX_KINDS
from wellkeep.vault.values import kind_of

_LOOPS = 400
_ROUNDS = 15


def own_parts(fields: dict[str, str]) -> dict[str, float]:
    """Return µs of CPU of each part that has no I/O, the best of several rounds."""
    key, tenant, record = SubjectKey(os.urandom(32)), bytes(16), os.urandom(16)
    items = [(field.id, kind_of(field), fields[field.name].encode(), False) for field in CHARTS.by_id.values()]
    sealed = envelope.seal_record(key, tenant=tenant, collection=1, record=record, items=items)
    stored = [(item[0], data) for item, data in zip(items, sealed, strict=True)]
    indexed = [field for field in CHARTS.by_id.values() if field.index != "none"]
    assert [field.name for field in indexed] == list(request_data.INDEXED)
    index = BlindIndex(os.urandom(32), epoch=1)
    names = tuple(field.name for field in CHARTS.by_id.values())
    subject = UUID(bytes=os.urandom(16))

    def seal() -> object:
        made = envelope.seal_record(key, tenant=tenant, collection=1, record=record, items=items)
        return envelope.digest(record, zip((item[0] for item in items), made, strict=True))

    def open_() -> object:
        return envelope.open_record(key, tenant=tenant, collection=1, record=record, items=stored)

    def tag() -> object:
        return [
            index.tag(word)
            for field in indexed
            for word in tokens(INDEX_KINDS[field.index], normalise(field.normaliser or "", fields[field.name]))
        ]

    def event() -> object:
        return prepare(
            Event(
                id=subject,
                action=Action.RECORD_READ,
                actor_type=ActorType.API_KEY,
                actor_id=str(subject),
                outcome=Outcome.AUTHORISED,
                request=subject,
                method=AuthMethod.API_KEY,
                resource_type="record",
                resource_id=str(subject),
                subject=subject,
                fields=names,
                records=(subject,),
                rule="role:integration/record:read",
            )
        )

    assert IndexKind.EXACT in {INDEX_KINDS[field.index] for field in indexed}
    wanted = {"seal 8 fields, digest": seal, "open 8 fields": open_, "normalise and tag 3": tag, "encode event": event}
    return {name: _best(part) for name, part in wanted.items()}


def _best(part: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.process_time_ns()
        for _ in range(_LOOPS):
            part()
        best = min(best, (time.process_time_ns() - start) / _LOOPS / 1e3)
    return best


def table(operation: str, backends: dict[str, float], server: float) -> str:
    """Return one line: the server and each role of PostgreSQL, µs a request."""
    roles = "   ".join(f"{name.removeprefix('wellkeep/')} {cost:.0f}" for name, cost in backends.items() if cost >= 1)
    return f"  {operation:<7} server {server:.0f}   {roles}"
