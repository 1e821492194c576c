"""What may stand in the ledger: closed forms, canonical bytes, and nothing else."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.making import ACTOR, event, prepared
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.purpose import Purpose
from wellkeep.crypto import canonical
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.event import EVENT_LIMIT, Event, EventRefused, prepare, split
from wellkeep.ledger.reading import parse

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)
IDS = st.uuids()


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


EVENTS = st.builds(
    Event,
    id=IDS,
    action=st.sampled_from(Action),
    actor_type=st.just(ActorType.PERSON),
    actor_id=IDS.map(str),
    roles=st.lists(NAMES, max_size=3).map(tuple),
    on_behalf_of=optional(IDS.map(str)),
    session=optional(IDS),
    method=st.sampled_from(AuthMethod),
    mfa=st.booleans(),
    ip=optional(st.ip_addresses().map(str)),
    agent=optional(st.from_regex("[0-9a-f]{16}", fullmatch=True)),
    purpose=optional(st.sampled_from(Purpose)),
    resource_type=NAMES,
    resource_id=optional(IDS.map(str)),
    subject=optional(IDS),
    fields=st.lists(NAMES, max_size=5).map(tuple),
    records=st.lists(IDS, max_size=5).map(tuple),
    subjects=st.lists(IDS, max_size=5).map(tuple),
    count=optional(st.integers(0, 2**53 - 1)),
    outcome=st.sampled_from(Outcome),
    error=optional(st.just("not-found")),
    request=IDS,
    rule=optional(st.sampled_from(["role:clinician/record:read", "deny:no-role"])),
    digest=optional(st.binary(min_size=32, max_size=32)),
    prior=optional(st.binary(min_size=32, max_size=32)),
    revision=optional(st.integers(1, 2**53 - 1)),
    span=optional(
        st.tuples(st.integers(1, 2**31), st.integers(0, 2**50), st.integers(0, 2**50)).map(
            lambda drawn: (drawn[0], drawn[1], drawn[1] + drawn[2])
        )
    ),
    reason=optional(st.binary(min_size=32, max_size=32)),
)


@given(EVENTS)
def test_every_event_is_canonical_and_read_back(made: Event) -> None:
    encoded = made.encode()
    assert canonical.encode(canonical.decode(encoded)) == encoded
    assert parse(encoded) == (made, encoded)
    assert b"null" not in encoded
    assert encoded.isascii()


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("actor.id", {"actor_id": "Jane Doe"}),
    ("actor.id", {"actor_type": ActorType.OPERATOR, "actor_id": "Root!"}),
    ("actor.id", {"actor_type": ActorType.SYSTEM, "actor_id": "999-12-3456"}),
    ("actor.type", {"actor_type": "api_key"}),
    ("actor.roles", {"roles": ("Clinician of the ward",)}),
    ("actor.on_behalf_of", {"on_behalf_of": "somebody"}),
    ("action", {"action": "record.read"}),
    ("outcome", {"outcome": "fine"}),
    ("auth.method", {"method": None}),
    ("purpose", {"purpose": "TREAT"}),
    ("source.ip", {"ip": "10.0.0.256"}),
    ("source.ip", {"ip": "010.0.0.1"}),
    ("source.ip", {"ip": "fe80::1%janedoe"}),
    ("source.ip", {"ip": "0:0:0:0:0:0:0:1"}),
    ("source.agent", {"agent": "Mozilla/5.0"}),
    ("resource.type", {"resource_type": "Patients"}),
    ("resource.type", {"resource_type": None, "resource_id": "x"}),
    ("resource.id", {"resource_id": "999-12-3456"}),
    ("resource.id", {"resource_id": "999123456"}),
    ("resource.id", {"resource_id": "Doe, Jane"}),
    ("fields", {"fields": ("given name",)}),
    ("fields", {"fields": ("ok", "a" * 64)}),
    ("records", {"records": ("jane",)}),
    ("subjects", {"subjects": (1,)}),
    ("subject", {"subject": "jane"}),
    ("id", {"id": str(uuid7())}),
    ("request", {"request": None}),
    ("session", {"session": "s"}),
    ("count", {"count": -1}),
    ("count", {"count": 2**53}),
    ("count", {"count": True}),
    ("count", {"count": 1.5}),
    ("revision", {"revision": 0}),
    ("error", {"error": "Not Found: Jane"}),
    ("rule", {"rule": "because Jane said so"}),
    ("digest", {"digest": b"short"}),
    ("prior", {"prior": b"short"}),
    ("reason", {"reason": b"she asked for it"}),
    ("span", {"span": (0, 0, 1)}),
    ("span", {"span": (1, -1, 1)}),
    ("span", {"span": (1, 3, 2)}),
    ("type", {"span": (1, 2)}),
    ("part", {"part": 2, "parts": 1}),
    ("part", {"part": 1}),
    ("type", {"digest": 5}),
    ("type", {"roles": [1, 2]}),
    ("type", {"actor_id": 17}),
]


@pytest.mark.parametrize(("key", "changes"), REFUSED)
def test_what_does_not_fit_is_refused_and_not_quoted(key: str, changes: dict[str, Any]) -> None:
    with pytest.raises(EventRefused) as refused:
        event(**changes).encode()
    assert refused.value.key == key
    assert str(refused.value) == f"An event does not fit the ledger's grammar: {key}"


@pytest.mark.parametrize("resource", ["0003_ledger", "0003", "rest.fields", "patients", ACTOR])
def test_ids_of_ours_are_resources(resource: str) -> None:
    assert event(resource_id=resource).encode()


def test_the_drivers_own_ids_are_ids() -> None:
    plain = uuid7()
    theirs: UUID = asyncpg.pgproto.pgproto.UUID(str(plain))
    assert event(id=theirs, subject=None, resource_id=None, request=plain).encode().count(str(plain).encode()) == 2


def test_an_operator_is_a_name_of_the_system() -> None:
    made = event(
        actor_type=ActorType.OPERATOR, actor_id="root", method=AuthMethod.LOCAL, resource_type=None, resource_id=None
    )
    assert parse(made.encode()).event == made
    assert prepare(event(subject=None)).named_subjects() == set()


@pytest.mark.parametrize("field", ["records", "subjects", "fields"])
def test_a_long_list_becomes_parts_that_name_it_all(field: str) -> None:
    values: tuple[Any, ...] = tuple(uuid7() for _ in range(3000))
    if field == "fields":
        values = tuple(f"a_rather_long_name_of_a_field_{i}" for i in range(3000))
    whole = event(**{field: values}, count=3000)
    with pytest.raises(EventRefused):
        whole.encode()
    parts = split(whole)
    assert [value for part in parts for value in getattr(part, field)] == list(values)
    assert [(part.part, part.parts) for part in parts] == [(i, len(parts)) for i in range(1, len(parts) + 1)]
    assert all(len(part.encode()) <= EVENT_LIMIT for part in parts)
    assert parts[0].id == whole.id
    assert len({part.id for part in parts}) == len(parts)
    assert all(part.id.version == 7 and part.request == whole.request for part in parts)
    assert split(whole) == parts


def test_what_fits_is_not_split() -> None:
    whole = event(records=tuple(uuid4() for _ in range(500)))
    assert split(whole) == [whole]
    assert 12_000 < len(whole.encode()) < 20_000


def test_an_event_that_can_not_fit_is_refused() -> None:
    with pytest.raises(EventRefused):
        split(event(roles=tuple(f"role_{i}" for i in range(5000))))


@pytest.mark.parametrize(
    "mangle",
    [
        lambda raw: raw.replace(b'"count":1', b'"count": 1'),
        lambda raw: raw.replace(b'"count":1', b'"count":1,"name":"jane"'),
        lambda raw: raw.replace(b'"count":1,', b'"count":1,"count":1,'),
        lambda raw: raw.replace(b'"count":1', b'"count":1.0'),
        lambda raw: raw.replace(b"record.read", b"record.stolen"),
        lambda raw: raw.replace(b'"count":1', b'"count":1,"digest":"xyz"'),
        lambda raw: raw.replace(b'"request"', b'"records":["AAAA"],"request"'),
        lambda raw: raw.replace(b'"request"', b'"records":["AAAAAAAAAAAAAAAAAAAAAB"],"request"'),
        lambda raw: raw.replace(b'"request"', '"records":["é"],"request"'.encode()),
        lambda raw: raw[:-1],
        lambda _: b"[]",
        lambda _: b"\xff",
    ],
)
def test_bytes_that_no_event_has_are_refused(mangle: Any) -> None:
    encoded = prepared()[0].encoded
    mangled = mangle(encoded)
    assert mangled != encoded
    with pytest.raises(EventRefused):
        parse(mangled)


def test_an_event_does_not_change() -> None:
    with pytest.raises(AttributeError):
        event().count = 2  # type: ignore[misc]
    assert msgspec.structs.replace(event(), count=2).count == 2
