"""One entry of a change, against the states that name its event.

Rule: an entry of one record names it, its revision and its digest; an entry of many names all of them and one digest
over (id, digest)*. Every digest covers where its state stands, so what moved to another revision or collection is not
what was entered. A state that was sealed anew keeps the digest that its change's entry attests; what it holds is
attested by the entry of the newest resealing, which it names. A state that could not have been stored by us counts as
altered, an entry that is none of ours as unreadable: neither raises, since whoever put it there would have silenced
everything that is compared after it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple
from uuid import UUID

import msgspec

from wellkeep.crypto.errors import CryptoError
from wellkeep.db.connection import Record
from wellkeep.ledger.event import Action
from wellkeep.ledger.grammar import EventRefused, unpack_id
from wellkeep.vault.fingerprint import state_digest, tags_digest
from wellkeep.vault.replay_result import Difference, Replayed

MERGE = Action.SUBJECT_MERGE.value
_SINGLE = (Action.RECORD_CREATE.value, Action.RECORD_CHANGE.value, Action.RECORD_DELETE.value)
_MANY = (Action.RECORD_BATCH.value, Action.RECORD_IMPORT.value)
CHANGES = [*_SINGLE, *_MANY]
"""The actions whose entries stand for stored states."""

RESEALED = Action.RECORD_RESEALED.value
"""The action whose entries stand for states that were sealed anew."""

_DONE = "done"
_MERGED = 2
_UNREADABLE = (msgspec.MsgspecError, EventRefused, RecursionError)


class _Event(msgspec.Struct):
    action: str = ""
    digest: str | None = None
    outcome: str = ""
    records: tuple[str, ...] = ()
    revision: int | None = None
    subject: UUID | None = None
    subjects: tuple[str, ...] = ()


class _Entry(msgspec.Struct):
    event: _Event


_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_plain = msgspec.json.Decoder(dict[int, str]).decode


class State(NamedTuple):
    """What is compared of a stored state: where it stands and its digest; `deleted` is None for one in history.

    `first` is the digest that the entry of its change attests: another than `digest` where it was sealed anew.
    """

    collection: int
    record: UUID
    revision: int
    deleted: bool | None
    digest: bytes
    first: bytes


class Told(NamedTuple):
    """What an entry tells of the states of its change."""

    event_id: UUID
    action: str
    records: list[UUID]
    digest: str | None
    revision: int | None


def told(entry: Record, result: Replayed) -> Told | None:
    """Return what `entry` tells; None for one that can't be read, which is added to `result`."""
    try:
        event = _decode_entry(entry["entry"]).event
        records = [unpack_id("records", text) for text in event.records]
    except _UNREADABLE:
        result.add(Difference("unreadable", event=entry["event_id"]))
        return None
    return Told(entry["event_id"], entry["action"], records, event.digest, event.revision)


def state_of(row: Record) -> State:
    """Return what is compared of a stored state."""
    digest = _digest(row)
    first = digest if row["resealed_by"] is None else row["first_digest"] or b""
    return State(row["collection_id"], row["id"], row["revision"], row["deleted"], digest, first)


def compare(entry: Told, states: Sequence[State], result: Replayed) -> None:
    """Add to `result` what differs between one entry and the `states` that name its event."""
    named = entry.records
    digests = {state.record: state.first for state in states}
    if set(digests) != set(named) or len(states) != len(named):
        _report_missing(entry, digests.keys(), result)
        return
    for state in states:
        _compare_deletion(entry, state, result)
    if not named:
        # The end of an import, or a batch that found every line stored as it was.
        right = entry.digest is None
    elif entry.action in _SINGLE:
        right = digests[named[0]].hex() == entry.digest and states[0].revision == entry.revision
    else:
        joined = b"".join(record.bytes + digests[record] for record in named)
        right = hashlib.sha256(joined).hexdigest() == entry.digest
    if not right:
        result.add(_difference("altered", entry, states))


def compare_resealing(entry: Told, states: Sequence[State], result: Replayed, *, later: bool) -> None:
    """Add to `result` what differs between the entry of one resealing and the `states` that name it.

    Where none does, the state that it was about must name a `later` one: else an older ciphertext was put back.
    """
    if not states:
        if not later:
            record = entry.records[0] if entry.records else None
            result.add(Difference("replayed", event=entry.event_id, record=record, revision=entry.revision))
        return
    (state, *others) = states
    right = [state.record] == entry.records and state.revision == entry.revision
    if others or not right or state.digest.hex() != entry.digest:
        result.add(_difference("altered", entry, states))


def merger(row: Record, result: Replayed) -> tuple[UUID, UUID] | None:
    """Return who was merged into whom by `row`: an `entry`, or an event that is `waiting` to be one.

    None for an event that is no merger, or that did not come about; one that can't be read is added to `result`.
    """
    try:
        entered = row["entry"]
        event = _decode_event(row["waiting"]) if entered is None else _decode_entry(entered).event
        if event.action != MERGE or event.outcome != _DONE:
            return None
        subjects = [unpack_id("subjects", text) for text in event.subjects]
    except _UNREADABLE:
        result.add(Difference("unreadable", event=row["event_id"]))
        return None
    if event.subject is None or len(subjects) != _MERGED:
        result.add(Difference("unreadable", event=row["event_id"]))
        return None
    return event.subject, next((one for one in subjects if one != event.subject), event.subject)


def _report_missing(entry: Told, stored: AbstractSet[UUID], result: Replayed) -> None:
    """Add a difference for each record that the entry names and no state belongs to, or the reverse."""
    strays: list[UUID | None] = [*sorted(set(entry.records) ^ stored)]
    for record in strays or [None]:
        result.add(Difference("gone", event=entry.event_id, record=record))


def _compare_deletion(entry: Told, state: State, result: Replayed) -> None:
    """Add a difference where a current state is deleted and its entry no deletion, or the reverse."""
    deleting = entry.action == Action.RECORD_DELETE.value
    if state.deleted is not None and state.deleted is not deleting:
        result.add(_difference("undeleted" if deleting else "hidden", entry, (state,)))


def _digest(state: Record) -> bytes:
    """Return the digest of a stored state; none for what can't have been stored by us.

    Of one that was erased it is the digest that was kept of it.
    """
    kept: bytes | None = state.get("kept")
    if kept is not None:
        return kept
    indexed = state["tags_digest"]
    try:
        if state["tags"] is not None and tags_digest(state["tag_fields"], state["tags"]) != indexed:
            return b""
        plain = _decode_plain(state["plain"] or "{}")
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
    except (CryptoError, struct.error, msgspec.MsgspecError, ValueError, TypeError):
        return b""


def _difference(what: str, entry: Told, states: Sequence[State]) -> Difference:
    """Name the place: the record too, where the entry is about one."""
    if len(states) != 1:
        return Difference(what, event=entry.event_id)
    (state,) = states
    return Difference(
        what,
        event=entry.event_id,
        collection=state.collection,
        record=state.record,
        revision=state.revision,
    )
