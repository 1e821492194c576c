"""Two customers with one of everything, and each place of each route where an id is sent.

What stands here is compared with the route table: a parameter, or a member of a body that holds an id, of which nothing
stands here fails the tests, so a new route can't be forgotten.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import msgspec

from access.signed_in import joined, sent_by, session
from api.requests import LISTENED
from api.stack import Stack
from wellkeep.access.approvals import Approvals, Needing
from wellkeep.api.routes import Route
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller
from wellkeep.ledger.actions import Action

CHARTS = "charts"
ROLES = ("administrator", "privacy_officer", "clinician", "coach", "billing", "auditor", "integration")

PATH_KINDS = {
    "collection": "collection",
    "record_id": "record",
    "external_id": "external",
    "subject_id": "subject",
    "approval_id": "approval",
    "glass_id": "glass",
    "impersonation_id": "impersonation",
    "permit_id": "permit",
    "import_id": "import",
    "export_id": "export",
    "event_id": "event",
    "factor_id": "factor",
    "session_id": "session",
    "user_id": "user",
    "review_id": "review",
    "item_id": "item",
    "role": "role",
    "tenant_id": "tenant",
    "provider_id": "provider",
    "apikey_id": "apikey",
    "rotation_id": "rotation",
}
NOBODYS = {"number", "code", "place", "tenant", "provider", "claim", "file"}
"""Parameters that are no customer's: counts, our pages, claims, places of the deployment, the door to sign in by."""

QUERY_KINDS = {"actor": "user", "subject": "subject", "whose": "tenant"}
OTHER_QUERIES = {
    *("fields", "revision", "limit", "cursor", "action", "purpose", "outcome", "format", "since", "until", "waiting"),
    *("state", "code", "iss", "error", "error_description", "error_uri", "error_subcode", "session_state", "scope"),
    *("authuser", "hd", "prompt", "client_info", "correlation_id", "tenant", "provider"),
}

Where = tuple[str | int, ...]
BODY_KINDS: dict[str, dict[Where, str]] = {
    "record_create": {("subject",): "subject"},
    "record_upsert": {("subject",): "subject"},
    "record_batch": {("records", 0, "subject"): "subject"},
    "record_search": {("subject",): "subject"},
    "subject_merge": {("into",): "subject"},
    "glass_break": {("subject",): "subject", ("collection",): "collection"},
    "impersonation_permit": {("person",): "user"},
    "session_factor": {("passkey", "challenge"): "challenge"},
    "session_passkey": {("challenge",): "challenge"},
    "session_step_up": {("passkey", "challenge"): "challenge"},
    "account_totp_confirm": {("id",): "factor"},
    "account_passkey_add": {("challenge",): "challenge"},
    "access_explain": {
        ("record",): "record",
        ("subject",): "subject",
        ("tenant",): "tenant",
        ("collection",): "collection",
        ("who",): "user",
    },
    "team_add": {("person",): "user"},
    "keys_rotate": {("tenant",): "tenant"},
    "egress_propose": {("tenants", 0): "tenant"},
    "impersonation_start": {("tenant",): "tenant", ("person",): "user"},
    "import_create": {("collection",): "collection"},
    "export_create": {("collection",): "collection"},
    "user_create": {("roles", 0): "role"},
    "user_grant": {("role",): "role"},
    "tenant_user_create": {("roles", 0): "role"},
    "tenant_user_grant": {("role",): "role"},
    "apikey_create": {("roles", 0): "role"},
    "rules_change": {("care_team", 0): "role"},
}


@dataclass
class Customer:
    """A tenant with one of everything, by kind, and how its people and programs sign in."""

    tenant: UUID
    ids: dict[str, str] = field(default_factory=dict)
    heads: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """One place of one route where an id is sent: in its path, its query or its body."""

    listener: str
    route: Route
    part: str
    where: Where
    kind: str

    @property
    def name(self) -> str:
        """What a failing test calls it."""
        return f"{self.listener} {self.route.name} {self.part} {'.'.join(map(str, self.where))}"


def places() -> Iterator[Place]:
    """Yield every place of every route of both listeners; fails where one is of no known kind."""
    for listener, route in LISTENED:
        for name in re.findall(r"\{(\w+)\}", route.path):
            assert name in PATH_KINDS.keys() | NOBODYS, f"{route.name}: what is {name}?"
            if name in PATH_KINDS:
                yield Place(listener, route, "path", (name,), PATH_KINDS[name])
        for parameter in route.query:
            assert parameter.name in QUERY_KINDS.keys() | OTHER_QUERIES, f"{route.name}: what is {parameter.name}?"
            if parameter.name in QUERY_KINDS:
                yield Place(listener, route, "query", (parameter.name,), QUERY_KINDS[parameter.name])
        kinds = BODY_KINDS.get(route.name, {})
        assert _members_with_ids(route) <= {str(part) for where in kinds for part in where}, route.name
        for where, kind in kinds.items():
            yield Place(listener, route, "body", where, kind)


def _members_with_ids(route: Route) -> set[str]:
    if route.body in (None, bytes):
        return set()
    _, components = msgspec.json.schema_components([route.body], ref_template="{name}")
    members = (member for shape in components.values() for member in shape.get("properties", {}).items())
    return {name for name, schema in members if '"uuid"' in json.dumps(schema)}


def example(route: Route, own: Customer, canary: str) -> Any:
    """Return a body that says what a customer would, of their own things."""
    ids = own.ids
    fields = {"fields": {"text": canary}}
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    said: dict[str, Any] = {
        "record_create": fields | {"subject": ids["subject"]},
        "record_change": fields,
        "record_upsert": fields | {"subject": ids["subject"]},
        "record_batch": {"records": [fields | {"subject": ids["subject"]}]},
        "record_search": {"where": {"code": canary}},
        "subject_merge": {"into": ids["subject"]},
        "collection_change": {"add": [{"name": f"x{uuid7().hex[-8:]}", "type": "integer", "class": "plain"}]},
        "import_create": {"collection": CHARTS, "format": "ndjson"},
        "export_create": {"collection": CHARTS},
        "glass_break": {"collection": CHARTS, "where": {"code": canary}, "reason": f"{canary} lies unconscious here"},
        "impersonation_permit": {"until": soon},
        "access_explain": {"who": "role:clinician", "action": "record:read", "collection": CHARTS},
        "keys_rotate": {"tier": "data"},
        "egress_propose": dict(route.example) | {"tenants": [str(own.tenant)]},
        "rules_change": {"care_team": []},
        "session_factor": {"ticket": "A" * 43, "passkey": {"challenge": str(uuid7()), "credential": {}}},
        "session_step_up": {"passkey": {"challenge": str(uuid7()), "credential": {}}},
    }
    return copy.deepcopy(said.get(route.name, route.example))


def request(place: Place, value: str, own: Customer, canary: str) -> dict[str, Any]:
    """Return the request to `place` with this id, all else being the customer's own."""
    given = {name: own.ids[kind] for name, kind in PATH_KINDS.items()} | {"collection": CHARTS, "number": "0"}
    given |= {
        "code": "validation",
        "place": "nowhere",
        "tenant": "nobody",
        "provider": "nobody",
        "claim": "rest.fields",
        "file": "console.css",
    }
    route = place.route
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    if place.part == "path":
        given[str(place.where[0])] = value
    if place.part == "query":
        params[str(place.where[0])] = value
    sent: dict[str, Any] = {"method": route.method, "params": params, "headers": headers}
    sent["url"] = re.sub(r"\{(\w+)\}", lambda match: given[match[1]], route.path)
    if "If-Match" in route.takes:
        headers["If-Match"] = '"1"'
    if route.body is bytes:
        sent["content"] = canary.encode()
        headers["Content-Type"] = route.media
    elif route.body is not None:
        sent["json"] = example(route, own, canary)
        if place.part == "body":
            _put(sent["json"], place.where, value)
            if place.where == ("subject",) and route.name == "glass_break":
                del sent["json"]["collection"], sent["json"]["where"]
    return sent


def _put(body: Any, where: Where, value: str) -> None:
    *way, last = where
    for part in way:
        if isinstance(part, str) and part not in body:
            body[part] = []
        body = body[part]
    if isinstance(last, int) and last == len(body):
        body.append(value)
    else:
        body[last] = value


class Furnisher:
    """Fills a new customer with one of everything, over the API as its own people would."""

    def __init__(self, opened: Stack, public: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
        self._opened = opened
        self._clients = {"public": public, "admin": admin}

    async def customer(self, name: str, canary: str) -> Customer:
        """Make a customer whose values are all `canary`."""
        tenant = await self._opened.tenant(name)
        made = Customer(tenant, {"tenant": str(tenant), "external": f"{canary}-external", "collection": f"{name}_only"})
        made.heads["key"] = {"Authorization": f"Bearer {await self._opened.key(tenant, *ROLES)}"}
        person = await joined(self._opened, tenant, *ROLES)
        made.heads["person"] = sent_by(begun := await session(self._opened, tenant, person, ip=None))
        made.ids |= {"user": str(await joined(self._opened, tenant, "clinician")), "session": str(begun.id)}
        await self._records(made, canary)
        await self._account(made)
        await self._policies(made, name, canary)
        await self._staff(made, canary)
        return made

    async def _send(self, made: Customer, method: str, url: str, body: Any = None, *, who: str = "key") -> Any:
        listener = "admin" if url.startswith(("/v1/tenants", "/v1/keys")) else "public"
        answer = await self._clients[listener].request(method, url, json=body, headers=made.heads[who])
        assert answer.is_success, (method, url, answer.text)
        return answer.json() if answer.content else None

    async def _records(self, made: Customer, canary: str) -> None:
        fields = [
            {"name": "text", "type": "text", "class": "phi"},
            {"name": "code", "type": "string", "class": "phi", "index": "exact", "group": "identifier"},
        ]
        for name in (CHARTS, made.ids["collection"]):
            await self._send(made, "POST", "/v1/collections", {"name": name, "subject": "required", "fields": fields})
        made.ids["subject"] = (await self._send(made, "POST", "/v1/subjects"))["id"]
        url = f"/v1/collections/{CHARTS}/records/by-external-id/{made.ids['external']}"
        body = {"subject": made.ids["subject"], "fields": {"text": canary, "code": canary}}
        made.ids["record"] = (await self._send(made, "PUT", url, body))["id"]
        for kind in ("import", "export"):
            asked = {"collection": CHARTS, "format": "ndjson"}
            made.ids[kind] = (await self._send(made, "POST", f"/v1/{kind}s", asked))["id"]
        entered = await self._send(made, "GET", "/v1/ledger/entries?limit=1")
        made.ids["event"] = entered["entries"][0]["event"]["id"]

    async def _account(self, made: Customer) -> None:
        plan = await self._send(made, "POST", "/v1/account/totp", {"name": "Phone"}, who="person")
        made.ids["factor"] = plan["id"]
        asked = await self._send(made, "POST", "/v1/account/passkeys/challenge", who="person")
        made.ids["challenge"] = asked["challenge"]

    async def _policies(self, made: Customer, name: str, canary: str) -> None:
        made.ids["role"] = f"{name}_role"
        role = {"permissions": ["record:read"], "purposes": ["TREAT"], "default_purpose": "TREAT"}
        await self._send(made, "PUT", f"/v1/roles/{made.ids['role']}", role)
        until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        permit = await self._send(made, "POST", "/v1/impersonation-permits", {"until": until}, who="person")
        made.ids["permit"] = permit["id"]
        glass = {"subject": made.ids["subject"], "reason": f"{said(canary)} lies unconscious here"}
        made.ids["glass"] = (await self._send(made, "POST", "/v1/break-glass", glass, who="person"))["id"]
        review = (await self._send(made, "POST", "/v1/reviews", {}, who="person"))["id"]
        items = (await self._send(made, "GET", f"/v1/reviews/{review}", who="person"))["items"]
        made.ids |= {"review": review, "item": items[0]["id"]}

    async def _staff(self, made: Customer, canary: str) -> None:
        """Make what only the platform, or nobody over the API, makes."""
        opened, tenant = self._opened, made.tenant
        issued = await opened.api_keys.create(opened.operator, tenant=tenant, name="theirs", roles=("coach",))
        made.ids["apikey"] = str(issued.about.id)
        staff = sent_by(
            await session(opened, PLATFORM_TENANT, await joined(opened, PLATFORM_TENANT, "support"), ip=None)
        )
        asked = {"tenant": str(tenant), "person": made.ids["user"], "reason": f"{said(canary)} asked for help with it"}
        answer = await self._clients["admin"].post("/v1/impersonations", json=asked, headers=staff)
        made.ids["impersonation"] = answer.json()["id"]
        act = Act(Permission.TENANT_ERASE, Action.TENANT_ERASED, "tenant", str(tenant), tenant=tenant)
        decision = await opened.gate.decide(Caller(opened.operator.principal, None, uuid7()), act)
        approvals = Approvals(gate=opened.gate, clock=SystemClock())
        made.ids["approval"] = str(await approvals.request(decision, Needing.TENANT_ERASE, target=str(tenant)))
        made.ids |= {"rotation": str(uuid7()), "provider": str(uuid7())}
        async with opened.database.connect() as connection:
            await connection.execute(
                "INSERT INTO keys.rotation (tenant_id, id, tier, requested_by) VALUES ($1, $2, 'subject', 'operator')",
                *(tenant, UUID(made.ids["rotation"])),
            )
            await connection.execute(
                "INSERT INTO access.provider (tenant_id, id, name, issuer, discovery, client_id, places, created_at, "
                "created_by) VALUES ($1, $2, 'theirs', 'https://login.example', 'https://login.example', 'c', '{x}', "
                "now(), 'x')",
                *(tenant, UUID(made.ids["provider"])),
            )


def said(canary: str) -> str:
    """Return the word that stands in what people of a customer with this canary say: reasons, which some may read."""
    return canary.swapcase()


def never(kind: str) -> str:
    """Return what such a thing is called that was never there."""
    return {"collection": "never_there", "role": "never_there", "external": "never-there"}.get(kind) or str(uuid7())
