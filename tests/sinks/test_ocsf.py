"""Each entry in OCSF's form has what OCSF 1.8.0 demands of its class; no network is asked.

The lists below were derived from the definitions of that version (ocsf/ocsf-schema, events/ and objects/): which
attributes a class or object must have, and of which it must have one.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sinks.making import LOG, TENANT, TIME, entry, gap, row
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.sinks.ocsf import Class, classify, encode
from wellkeep.ledger.sinks.records import Entry, entry_of

EVERY_CLASS = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
OF_CLASS: dict[int, set[str]] = {
    0: set(),
    3001: {"user"},
    3002: {"user"},
    3004: {"entity"},
    6002: {"app"},
    6003: {"actor", "api", "src_endpoint"},
}
ONE_OF_CLASS = {3002: {"service", "dst_endpoint"}}
ACTIVITIES: dict[int, set[int]] = {
    0: {0, 99},
    3001: {*range(13), 99},
    3002: {*range(8), 99},
    3004: {*range(14), 99},
    6002: {*range(9), 99},
    6003: {*range(5), 99},
}
OF_OBJECT = {"metadata": {"product", "version"}, "api": {"operation"}, "request": {"uid"}}
ONE_OF_OBJECT = {
    "actor": {"process", "user", "invoked_by", "session", "app_name", "app_uid"},
    "user": {"account", "name", "uid"},
    "entity": {"name", "uid", "device", "group", "org", "policy", "user"},
    "src_endpoint": {"ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid", "domain"},
    "product": {"name", "uid"},
    "app": {"name", "uid"},
    "service": {"name", "uid"},
    "policy": {"name", "type", "uid"},
    "resources": {"name", "uid"},
    "groups": {"name", "uid"},
}


def demand(document: dict[str, Any]) -> None:
    """Check a document against the lists."""
    kind = document["class_uid"]
    assert document.keys() >= EVERY_CLASS | OF_CLASS[kind]
    assert not ONE_OF_CLASS.get(kind) or ONE_OF_CLASS[kind] & document.keys()
    assert document["activity_id"] in ACTIVITIES[kind]
    assert document["activity_id"] != 99 or document["activity_name"]
    assert document["type_uid"] == kind * 100 + document["activity_id"]
    assert document["category_uid"] == kind // 1000
    assert document["severity_id"] in {1, 3, 4}
    assert document["status_id"] in {1, 2}
    assert document["metadata"]["version"] == "1.8.0"
    for name, value in document.items():
        if name != "unmapped":
            inside(name, value)


def inside(name: str, value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            inside(name, one)
    elif isinstance(value, dict):
        assert value.keys() >= OF_OBJECT.get(name, set()), name
        assert name not in ONE_OF_OBJECT or ONE_OF_OBJECT[name] & value.keys(), name
        for inner, one in value.items():
            inside(inner, one)


def document_of(made: Entry) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(encode(made))
    return document


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("action", Action)
def test_every_action_has_what_its_class_demands(action: Action, outcome: Outcome) -> None:
    document = document_of(entry(7, action=action, outcome=outcome))
    demand(document)
    assert (document["status_id"] == 1) == (outcome in {Outcome.AUTHORISED, Outcome.DONE})


@pytest.mark.parametrize(
    "changes",
    [
        {"resource_type": None, "resource_id": None, "subject": None},
        {"resource_id": None},
        {"actor_type": ActorType.OPERATOR, "actor_id": "root", "roles": (), "method": AuthMethod.LOCAL, "rule": None},
        {"actor_type": ActorType.ANONYMOUS, "actor_id": "nobody", "error": "forbidden", "ip": "192.0.2.7"},
        {"session": TENANT, "mfa": True, "method": AuthMethod.SESSION, "actor_type": ActorType.PERSON},
    ],
)
@pytest.mark.parametrize("kind", Class)
def test_whatever_an_event_leaves_out(kind: Class, changes: dict[str, Any]) -> None:
    action = next((one for one in Action if classify(one.value)[0] is kind), Action.RECORD_READ)
    demand(document_of(entry(7, action=action, **changes)))


def test_the_classes_are_those_that_fit() -> None:
    assert {
        one.value: classify(one.value) for one in (Action.AUTH_FAILED, Action.APIKEY_CREATE, Action.RECORD_DELETE)
    } == {
        "auth.failed": (Class.AUTHENTICATION, 1),
        "apikey.create": (Class.ACCOUNT_CHANGE, 1),
        "record.delete": (Class.API_ACTIVITY, 4),
    }
    assert classify("of.tomorrow") == (Class.API_ACTIVITY, 99)


def test_the_chain_can_be_checked_from_it() -> None:
    made = entry(7)
    document = document_of(made)
    assert document["raw_data"] == made.text
    chain = {name: document["unmapped"][name] for name in ("log", "seq", "prev", "leaf")}
    assert chain == {"log": LOG, "seq": 7, "prev": "0" * 64, "leaf": made.leaf}
    assert document["metadata"]["sequence"] == 7
    assert document["time"] == 1_777_816_920_123


def test_what_an_actor_was_allowed_by_is_told() -> None:
    document = document_of(entry(outcome=Outcome.DENIED, session=TENANT))
    assert document["actor"]["authorizations"] == [
        {"decision": "denied", "policy": {"name": "role:clinician/record:read"}}
    ]
    assert document["actor"]["user"]["groups"] == [{"name": "clinician"}]
    assert document["unmapped"]["event_count"] == 1


def test_a_gap_is_an_event_of_high_severity() -> None:
    document = orjson.loads(encode(gap(4)))
    demand(document)
    assert document["severity_id"] == 4
    told = document["unmapped"]
    assert (told["log"], told["from"], told["to"], told["reason"], told["time"]) == (LOG, 4, 5, "missing", TIME)


@pytest.mark.parametrize("raw", [b"no JSON", b"{}", b'{"event":{"actor":"x","auth":7,"source":[],"resource":null}}'])
def test_what_somebody_broke_still_has_a_form(raw: bytes) -> None:
    demand(document_of(entry_of(TENANT, LOG, row(1, raw=raw))))
