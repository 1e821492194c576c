"""Entries in the form of OCSF 1.8.0 (Open Cybersecurity Schema Framework), for receivers that read many sources.

What somebody proves to be is Authentication, what becomes of API keys Account Change, of tenants, collections, keys and
definitions Entity Management, of the program Application Lifecycle; everything else is API Activity. The stored bytes
are `raw_data`; `unmapped` holds log, seq, prev and leaf, with which a receiver checks the chain, and what has no place
in the schema. A gap is a Base Event of severity High. Source: schema.ocsf.io, the definitions of version 1.8.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from importlib.metadata import version
from typing import Any, Final

import orjson

from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.sinks.records import Entry, Gap, Record

SCHEMA: Final = "1.8.0"

_NAME = "wellkeep"
_PRODUCT = {"name": _NAME, "vendor_name": _NAME, "version": version(_NAME)}
_OTHER = 99
_SUCCESS, _FAILURE = 1, 2
_INFORMATIONAL, _MEDIUM, _HIGH = 1, 3, 4
_USER_TYPES = {"person": 1, "operator": 2, "system": 3}
_MAPPED = frozenset({"action", "actor", "auth", "error", "id", "outcome", "request", "resource", "session", "source"})


class Class(IntEnum):
    """The classes used; a category is the thousands of its number."""

    BASE = 0
    ACCOUNT_CHANGE = 3001
    AUTHENTICATION = 3002
    ENTITY_MANAGEMENT = 3004
    APPLICATION_LIFECYCLE = 6002
    API_ACTIVITY = 6003


_CREATE, _READ, _UPDATE, _DELETE = 1, 2, 3, 4
_CLASSES: Mapping[str, tuple[Class, int]] = {
    Action.AUTH_FAILED: (Class.AUTHENTICATION, 1),
    Action.OPERATOR_SESSION: (Class.AUTHENTICATION, 1),
    Action.APIKEY_CREATE: (Class.ACCOUNT_CHANGE, 1),
    Action.APIKEY_REVOKE: (Class.ACCOUNT_CHANGE, 5),
    Action.TENANT_CREATE: (Class.ENTITY_MANAGEMENT, _CREATE),
    Action.TENANT_CHANGE: (Class.ENTITY_MANAGEMENT, _UPDATE),
    Action.TENANT_CLOSE: (Class.ENTITY_MANAGEMENT, 9),
    Action.TENANT_LIST: (Class.ENTITY_MANAGEMENT, _READ),
    Action.COLLECTION_CREATE: (Class.ENTITY_MANAGEMENT, _CREATE),
    Action.COLLECTION_READ: (Class.ENTITY_MANAGEMENT, _READ),
    Action.COLLECTION_CHANGE: (Class.ENTITY_MANAGEMENT, _UPDATE),
    Action.KEY_CREATED: (Class.ENTITY_MANAGEMENT, _CREATE),
    Action.KEY_READ: (Class.ENTITY_MANAGEMENT, _READ),
    Action.DEFINITIONS_LOADED: (Class.ENTITY_MANAGEMENT, _UPDATE),
    Action.DEPLOYMENT_INIT: (Class.APPLICATION_LIFECYCLE, 1),
    Action.DEPLOYMENT_STARTED: (Class.APPLICATION_LIFECYCLE, 3),
    Action.DEPLOYMENT_STOPPED: (Class.APPLICATION_LIFECYCLE, 4),
    Action.MIGRATION_APPLIED: (Class.APPLICATION_LIFECYCLE, 8),
}
_VERBS: Mapping[str, int] = {
    **dict.fromkeys(("create", "opened", "placed"), _CREATE),
    **dict.fromkeys(("read", "search", "list", "export", "exported", "download", "disclosures", "verified"), _READ),
    **dict.fromkeys(("change", "batch", "import", "merge", "resealed", "resolve"), _UPDATE),
    **dict.fromkeys(("delete", "pruned", "lifted", "closed"), _DELETE),
}
"""What the last word of an action is in API Activity; every other is "Other", under its own name."""


def encode(record: Record) -> bytes:
    """Return a record as one line of JSON in OCSF's form, without a line feed."""
    document = _gap(record) if isinstance(record, Gap) else _entry(record)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def classify(action: str) -> tuple[Class, int]:
    """Return the class and activity of an action; one that is none of ours is API Activity, Other."""
    return _CLASSES.get(action) or (Class.API_ACTIVITY, _VERBS.get(action.rpartition(".")[2], _OTHER))


def _entry(entry: Entry) -> dict[str, Any]:
    event = entry.event
    action = str(event.get("action", "unknown"))
    kind, activity = classify(action)
    outcome = event.get("outcome")
    done = outcome in (Outcome.AUTHORISED, Outcome.DONE)
    document = _base(kind, activity, entry.time, _INFORMATIONAL if done else _MEDIUM)
    document |= {
        "activity_name": action,
        "actor": _actor(event),
        "status_id": _SUCCESS if done else _FAILURE,
        "status_detail": outcome,
        "src_endpoint": _source(event),
        "raw_data": entry.text,
        "unmapped": _unmapped(entry),
        **_particular(kind, action, event),
    }
    if "error" in event:
        document["status_code"] = event["error"]
    document["metadata"] |= {
        "event_code": action,
        "log_name": entry.origin,
        "sequence": entry.seq,
        "original_time": entry.time,
        "tenant_uid": str(entry.tenant),
        "uid": entry.leaf,
        "original_event_uid": event.get("id"),
        "correlation_uid": event.get("request"),
    }
    return document


def _gap(gap: Gap) -> dict[str, Any]:
    document = _base(Class.BASE, _OTHER, gap.time, _HIGH)
    document["metadata"] |= {"event_code": "ledger.gap", "log_name": gap.origin, "tenant_uid": str(gap.tenant)}
    return document | {
        "activity_name": "ledger.gap",
        "message": "Entries of the ledger are missing in this stream",
        "status_id": _FAILURE,
        "unmapped": gap.document(),
    }


def _base(kind: Class, activity: int, time: str, severity: int) -> dict[str, Any]:
    return {
        "activity_id": activity,
        "category_uid": kind.value // 1000,
        "class_uid": kind.value,
        "type_uid": kind.value * 100 + activity,
        "severity_id": severity,
        "time": round(datetime.fromisoformat(time).timestamp() * 1000),
        "metadata": {"product": _PRODUCT, "version": SCHEMA},
    }


def _particular(kind: Class, action: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only this class has."""
    resource = _part(event, "resource")
    match kind:
        case Class.AUTHENTICATION:
            return {"user": _user(event), "service": {"name": _NAME}, "is_mfa": _part(event, "auth").get("mfa") is True}
        case Class.ACCOUNT_CHANGE:
            return {"user": {"uid": resource.get("id", "unknown"), "type_id": _OTHER, "type": resource.get("type")}}
        case Class.ENTITY_MANAGEMENT:
            return {"entity": {"uid": resource.get("id", "all"), "type": resource.get("type")}}
        case Class.APPLICATION_LIFECYCLE:
            return {"app": _PRODUCT}
        case _:
            return {"api": _api(action, event), "resources": _resources(event)}


def _api(action: str, event: Mapping[str, Any]) -> dict[str, Any]:
    api: dict[str, Any] = {"operation": action, "service": {"name": _NAME}}
    if "request" in event:
        api["request"] = {"uid": event["request"]}
    if "error" in event:
        api["response"] = {"error": event["error"]}
    return api


def _resources(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was acted on, and whose it is; long lists of ids are in the raw data alone."""
    resource = _part(event, "resource")
    found = []
    if resource:
        found.append({"type": resource.get("type"), "uid": resource.get("id", resource.get("type"))})
    if "subject" in event:
        found.append({"type": "subject", "uid": event["subject"]})
    return found


def _actor(event: Mapping[str, Any]) -> dict[str, Any]:
    actor: dict[str, Any] = {"user": _user(event)}
    if "session" in event:
        actor["session"] = {"uid": event["session"], "is_mfa": _part(event, "auth").get("mfa") is True}
    if "rule" in event:
        decision = "denied" if event.get("outcome") == Outcome.DENIED else "allowed"
        actor["authorizations"] = [{"decision": decision, "policy": {"name": event["rule"]}}]
    return actor


def _user(event: Mapping[str, Any]) -> dict[str, Any]:
    actor = _part(event, "actor")
    kind = actor.get("type", "unknown")
    user: dict[str, Any] = {
        "uid": actor.get("id", "unknown"),
        "type_id": _USER_TYPES.get(str(kind), _OTHER),
        "type": kind,
    }
    roles = actor.get("roles")
    if isinstance(roles, list):
        user["groups"] = [{"name": role} for role in roles]
    return user


def _part(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of the event, empty where it is none: a stream does not stop at what somebody tampered with."""
    part = event.get(name)
    return part if isinstance(part, dict) else {}


def _source(event: Mapping[str, Any]) -> dict[str, Any]:
    address = _part(event, "source").get("ip")
    return {"svc_name": _NAME} if address is None else {"ip": address}


def _unmapped(entry: Entry) -> dict[str, Any]:
    rest = {name: value for name, value in entry.event.items() if name not in _MAPPED}
    chain = {"log": entry.origin, "seq": entry.seq, "prev": entry.prev, "leaf": entry.leaf}
    return chain | {"outcome": entry.event.get("outcome")} | {f"event_{name}": value for name, value in rest.items()}
