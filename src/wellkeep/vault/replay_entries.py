"""One entry of a change, against the states that name its event.

Rule: an entry of one record names it, its revision and its digest; an entry of many names all of them and one digest
over (id, digest)*. Every digest covers where its state stands, so what moved to another revision or collection is not
what was entered. A state that could not have been stored by us counts as altered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

import msgspec

from wellkeep.crypto.errors import CryptoError
from wellkeep.db.connection import Record
from wellkeep.ledger.event import Action
from wellkeep.ledger.grammar import unpack_id
from wellkeep.vault.fingerprint import state_digest, tags_digest
from wellkeep.vault.replay_result import Difference, Replayed

MERGE = Action.SUBJECT_MERGE.value
_SINGLE = (Action.RECORD_CREATE.value, Action.RECORD_CHANGE.value, Action.RECORD_DELETE.value)
_MANY = (Action.RECORD_BATCH.value, Action.RECORD_IMPORT.value)
CHANGES = [*_SINGLE, *_MANY]
"""The actions whose entries stand for stored states."""

_MERGED = 2


class _Event(msgspec.Struct):
    action: str = ""
    digest: str | None = None
    records: tuple[str, ...] = ()
    revision: int | None = None
    subject: UUID | None = None
    subjects: tuple[str, ...] = ()


class _Entry(msgspec.Struct):
    event: _Event


_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def compare_entry(entry: Record, states: Sequence[Record], result: Replayed) -> None:
    """Add to `result` what differs between one entry and the `states` that name its event."""
    event = _decode_entry(entry["entry"]).event
    named = [unpack_id("records", text) for text in event.records]
    digests = {state["id"]: _digest(state) for state in states}
    if set(digests) != set(named) or len(states) != len(named):
        _report_missing(entry, named, digests.keys(), result)
        return
    for state in states:
        _compare_deletion(entry, state, result)
    if not named:
        # The end of an import, or a batch that found every line stored as it was.
        right = event.digest is None
    elif entry["action"] in _SINGLE:
        found = digests[named[0]]
        right = found.hex() == event.digest and states[0]["revision"] == event.revision
    else:
        joined = b"".join(record.bytes + digests[record] for record in named)
        right = hashlib.sha256(joined).hexdigest() == event.digest
    if not right:
        result.add(_difference("altered", entry, states))


def merger(*, entry: bytes | None, waiting: bytes | None) -> tuple[UUID, UUID] | None:
    """Return who was merged into whom by an entry or by an event that waits to be one, if it is a merger."""
    event = None
    if entry is not None:
        event = _decode_entry(entry).event
    elif waiting is not None:
        event = _decode_waiting(waiting)
    if event is None or event.action != MERGE or event.subject is None or len(event.subjects) != _MERGED:
        return None
    subjects = [unpack_id("subjects", text) for text in event.subjects]
    return event.subject, next((one for one in subjects if one != event.subject), event.subject)


def _decode_waiting(waiting: bytes) -> _Event | None:
    """Return an event of the outbox; None for what is none, which the ledger itself refuses and reports."""
    try:
        return _decode_event(waiting)
    except msgspec.MsgspecError:
        return None


def _report_missing(entry: Record, named: Sequence[UUID], stored: AbstractSet[UUID], result: Replayed) -> None:
    """Add a difference for each record that the entry names and no state belongs to, or the reverse."""
    strays: list[UUID | None] = [*sorted(set(named) ^ stored)]
    for record in strays or [None]:
        result.add(Difference("gone", event=entry["event_id"], record=record))


def _compare_deletion(entry: Record, state: Record, result: Replayed) -> None:
    """Add a difference where a current state is deleted and its entry no deletion, or the reverse."""
    deleting = entry["action"] == Action.RECORD_DELETE.value
    if state["deleted"] is not None and state["deleted"] is not deleting:
        result.add(_difference("undeleted" if deleting else "hidden", entry, (state,)))


def _digest(state: Record) -> bytes:
    """Return the digest of a stored state; none for what can't have been stored by us."""
    indexed = state["tags_digest"]
    try:
        if state["tags"] is not None and tags_digest(state["tag_fields"], state["tags"]) != indexed:
            return b""
        plain = {int(number): text for number, text in json.loads(state["plain"] or "{}").items()}
        return state_digest(
            state["id"].bytes,
            collection=state["collection_id"],
            revision=state["revision"],
            field_ids=state["field_ids"],
            sealed=state["sealed"],
            sealed_for=state["sealed_for"],
            plain=plain,
            tags=indexed,
        )
    except (CryptoError, ValueError, TypeError, AttributeError):
        return b""


def _difference(what: str, entry: Record, states: Sequence[Record]) -> Difference:
    """Name the place: the record too, where the entry is about one."""
    if len(states) != 1:
        return Difference(what, event=entry["event_id"])
    (state,) = states
    return Difference(
        what,
        event=entry["event_id"],
        collection=state["collection_id"],
        record=state["id"],
        revision=state["revision"],
    )
