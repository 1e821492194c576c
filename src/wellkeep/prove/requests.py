"""The reviewed table of what the API does: one request for each operation, and the permission that it must need.

Written here a second time on purpose, apart from the routes: a route whose permission was changed, or that was added
without anybody thinking of it, is seen because this table and the served documentation differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from wellkeep.base.ids import uuid7
from wellkeep.prove import emergency_requests, people_requests
from wellkeep.prove.deployment import Deployment
from wellkeep.prove.provider_requests import providers
from wellkeep.prove.review_requests import Looked, reviews
from wellkeep.prove.sample import NOTES_DEFINITION, PEOPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the requests are about; what is not given exists nowhere, so that a request about it changes nothing."""

    record: UUID
    doomed: UUID
    subject: UUID
    tenant: UUID
    revision: int = 999
    merged: UUID
    into: UUID
    waiting_import: UUID
    ended_import: UUID
    export: UUID
    event: UUID
    key: UUID
    closing: UUID
    erased: UUID
    approvals: tuple[UUID, UUID]
    rotation: UUID
    way_out: str = "wk_probe_nowhere"
    new_name: str = PEOPLE
    users: tuple[UUID, UUID] = field(default_factory=lambda: (uuid7(), uuid7()))
    looked: tuple[Looked, Looked] = field(default_factory=lambda: (Looked(), Looked()))
    looked_after: UUID | None = None
    provider: UUID = field(default_factory=uuid7)
    scene: emergency_requests.Scene = field(default_factory=emergency_requests.Scene)

    @classmethod
    def nowhere(cls, *, record: str, subject: str, tenant: UUID) -> Place:
        """Return a place whose record can be read; everything else that a request would change does not exist."""
        unknown = [uuid7() for _ in range(12)]
        return cls(
            record=UUID(record),
            doomed=UUID(record),
            subject=UUID(subject),
            tenant=tenant,
            merged=unknown[0],
            into=unknown[1],
            waiting_import=unknown[2],
            ended_import=unknown[3],
            export=unknown[4],
            key=unknown[5],
            closing=unknown[6],
            event=unknown[7],
            erased=tenant,
            approvals=(unknown[9], unknown[10]),
            rotation=unknown[11],
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the documented operation, the permission that it must need, and how it is sent.

    `entered`: it discloses PHI, changes something or administers, so it must leave an entry. `sees` are field groups
    that it needs beside the permission.
    """

    operation: str
    permission: str
    arguments: dict[str, Any]
    admin: bool = False
    entered: bool = True
    sees: tuple[str, ...] = ()

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        """Send it over `client`, which must be of the right listener."""
        return await client.request(**self.arguments)


def requests(place: Place) -> list[Request]:
    """Return one well-formed request for each operation that needs a permission, reading before changing."""
    return [
        *_reading(place),
        *_policies(place),
        *_transfers(place),
        *_changing(place),
        *_people(place),
        *_emergencies(place),
        *_looked(place),
        *_providers(place),
        *_administration(place),
    ]


def personal() -> list[Request]:
    """Return one request for each operation about one's own account, on each listener: no key may do any of them."""
    lines = people_requests.own_account()
    own = [_line(line, admin=admin) for admin in (False, True) for line in lines]
    pages = [_line(line, admin=admin) for admin in (False, True) for line in people_requests.own_pages()]
    glasses = _request("console_glasses", "account:enrol", "GET", "/console/break-glass", entered=False)
    return [*own, *pages, glasses, _line(emergency_requests.own_glass(), admin=False)]


def _people(place: Place) -> Iterator[Request]:
    name = None if place.new_name == PEOPLE else place.new_name
    bases = (("/v1/users", "user"), (f"/v1/tenants/{place.tenant}/users", "tenant_user"))
    for user, (base, prefix) in zip(place.users, bases, strict=True):
        called = name and f"{prefix}-{name}"
        for line in people_requests.users(user, base=base, prefix=prefix, name=called):
            yield _line(line, admin=prefix == "tenant_user")
    yield _request("console_people", "user:read", "GET", "/console/people")
    yield _request("console_person", "user:read", "GET", f"/console/people/{place.users[0]}")


def _looked(place: Place) -> Iterator[Request]:
    """Yield what is asked about who has access: in the tenant, and by the platform in one that it looks after."""
    bases = (("/v1", ""), (f"/v1/tenants/{place.looked_after or place.tenant}", "tenant_"))
    for looked, (base, prefix) in zip(place.looked, bases, strict=True):
        for line in reviews(looked, base=base, prefix=prefix):
            yield _line(line, admin=bool(prefix))


def _emergencies(place: Place) -> Iterator[Request]:
    for line in emergency_requests.emergencies(place.subject, place.scene):
        yield _line(line, admin=False)
    yield _request("console_access", "impersonation:read", "GET", "/console/access")
    yield _request("console_glass", "glass:read", "GET", f"/console/break-glass/{place.scene.glass}")
    for line in emergency_requests.staff(place.tenant, place.scene):
        yield _line(line, admin=True)


def _providers(place: Place) -> Iterator[Request]:
    name = None if place.new_name == PEOPLE else f"probe-{place.provider.hex}"
    for line in providers(place.tenant, place.provider, name=name):
        yield _line(line, admin=True)


def _line(line: people_requests.Line, *, admin: bool) -> Request:
    operation, permission, method, url, body, entered = line
    more = {} if body is None else {"json": body}
    return _request(operation, permission, method, url, admin=admin, entered=entered, **more)


def _request(operation: str, permission: str, method: str, url: str, **more: Any) -> Request:
    told = {name: more.pop(name) for name in ("admin", "entered", "sees") if name in more}
    return Request(operation, permission, {"method": method, "url": url} | more, **told)


def _reading(place: Place) -> Iterator[Request]:
    base = f"/v1/collections/{PEOPLE}"
    yield _request("collection_list", "collection:read", "GET", "/v1/collections", entered=False)
    yield _request("collection_get", "collection:read", "GET", base, entered=False)
    yield _request("record_read", "record:read", "GET", f"{base}/records/{place.record}")
    search = {"where": {}, "subject": str(place.subject), "limit": 1}
    yield _request("record_search", "record:search", "POST", f"{base}/records/search", json=search)
    yield _request("subject_get", "subject:read", "GET", f"/v1/subjects/{place.subject}")
    told = f"/v1/subjects/{place.subject}/disclosures?limit=1"
    yield _request("subject_disclosures", "ledger:read", "GET", told)
    yield _request("ledger_entries", "ledger:read", "GET", "/v1/ledger/entries?limit=1")
    yield _request("ledger_proof", "ledger:read", "GET", f"/v1/ledger/entries/{place.event}/proof")
    yield _request("ledger_checkpoint", "ledger:read", "GET", "/v1/ledger/checkpoint")
    yield _request("egress_list", "egress:read", "GET", "/v1/egress")
    yield _request("finding_list", "finding:read", "GET", "/v1/findings")
    yield _request("console_collections", "collection:read", "GET", "/console/records", entered=False)
    yield _request("console_records", "record:search", "GET", f"/console/records/{PEOPLE}")
    yield _request("console_record", "record:read", "GET", f"/console/records/{PEOPLE}/{place.record}")
    yield _request("console_subject", "subject:read", "GET", f"/console/subjects/{place.subject}")
    yield _request("console_ledger", "ledger:read", "GET", "/console/ledger")
    yield _request("console_entry", "ledger:read", "GET", f"/console/ledger/{place.event}")


def _policies(place: Place) -> Iterator[Request]:
    question = {"who": "role:clinician", "action": "record:read", "collection": PEOPLE}
    role = {"permissions": ["ledger:verify"], "purposes": ["HOPERAT"], "default_purpose": "HOPERAT"}
    team, made = f"/v1/subjects/{place.subject}/care-team", "/v1/roles/wk_probe_role"
    yield _request("rules_get", "rules:read", "GET", "/v1/rules")
    yield _request("rules_change", "rules:change", "PATCH", "/v1/rules", json={})
    yield _request("role_list", "role:read", "GET", "/v1/roles")
    yield _request("role_get", "role:read", "GET", "/v1/roles/clinician")
    yield _request("role_put", "role:change", "PUT", made, json=role)
    yield _request("role_delete", "role:change", "DELETE", made)
    yield _request("access_explain", "access:explain", "POST", "/v1/access/explain", json=question)
    yield _request("team_get", "team:read", "GET", team)
    person = str(place.users[0])
    yield _request("team_add", "team:change", "POST", team, json={"person": person})
    yield _request("team_remove", "team:change", "DELETE", f"{team}/{person}")


def _transfers(place: Place) -> Iterator[Request]:
    ended, waiting = f"/v1/imports/{place.ended_import}", f"/v1/imports/{place.waiting_import}"
    asked = {"collection": PEOPLE, "format": "ndjson"}
    part = {"content": b"{}\n", "headers": {"Content-Type": "application/octet-stream"}}
    yield _request("import_get", "import:read", "GET", ended, entered=False)
    yield _request("import_errors", "import:read", "GET", f"{ended}/errors")
    yield _request("console_imports", "collection:read", "GET", "/console/imports", entered=False)
    yield _request("console_import", "import:read", "GET", f"/console/imports/{place.ended_import}")
    yield _request("console_exports", "collection:read", "GET", "/console/exports", entered=False)
    yield _request("console_export", "export:read", "GET", f"/console/exports/{place.export}", entered=False)
    yield _request("import_create", "import:run", "POST", "/v1/imports", json=asked, sees=("identifier",))
    yield _request("import_part", "import:run", "PUT", f"{waiting}/parts/0", **part)
    yield _request("import_start", "import:run", "POST", f"{waiting}/start")
    yield _request("import_stop", "import:run", "POST", f"{waiting}/stop")
    yield _request("export_get", "export:read", "GET", f"/v1/exports/{place.export}", entered=False)
    yield _request("export_content", "export:read", "GET", f"/v1/exports/{place.export}/content")
    # A collection that is not there: what is asked is whether one may, not that the worker be kept busy.
    wanted = asked if place.new_name != PEOPLE else asked | {"collection": "wk_probe_none"}
    yield _request("export_create", "export:run", "POST", "/v1/exports", json=wanted)


def _changing(place: Place) -> Iterator[Request]:
    base = f"/v1/collections/{PEOPLE}"
    record, match = f"{base}/records/{place.record}", {"If-Match": f'"{place.revision}"'}
    definition = NOTES_DEFINITION | {"name": place.new_name}
    label = {"fields": {"label": "matrix"}}
    external = f"{base}/records/by-external-id/wk-probe-{place.tenant}"
    yield _request("collection_create", "collection:create", "POST", "/v1/collections", json=definition)
    extra = {"name": "extra", "type": "string", "class": "plain"}
    changed = base if place.new_name == PEOPLE else f"/v1/collections/{place.new_name}"
    wanted = match if place.new_name == PEOPLE else {"If-Match": '"1"'}
    yield _request("collection_change", "collection:change", "PATCH", changed, json={"add": [extra]}, headers=wanted)
    yield _request("record_create", "record:create", "POST", f"{base}/records", json=label)
    yield _request("record_batch", "record:create", "POST", f"{base}/records/batch", json={"records": [label]})
    yield _request("record_upsert", "record:change", "PUT", external, json=label, sees=("identifier",))
    yield _request("record_change", "record:change", "PATCH", record, json=label, headers=match)
    doomed = f"{base}/records/{place.doomed}"
    yield _request("record_delete", "record:delete", "DELETE", doomed, headers=match)
    yield _request("subject_create", "subject:create", "POST", "/v1/subjects")
    into = {"into": str(place.into)}
    yield _request("subject_merge", "subject:merge", "POST", f"/v1/subjects/{place.merged}/merge", json=into)
    # Whoever the other went into: what is erased has been changed in every other way before.
    yield _request("subject_erase", "subject:erase", "DELETE", f"/v1/subjects/{place.into}")
    yield _request("subject_erasure", "erasure:read", "GET", f"/v1/subjects/{place.into}/erasure")
    for admin, waiting in zip((False, True), place.approvals, strict=True):
        yield _request("approval_list", "approval:read", "GET", "/v1/approvals", admin=admin)
        decided = {"decision": "refuse"}
        url = f"/v1/approvals/{waiting}"
        yield _request("approval_decide", "approval:give", "POST", url, json=decided, admin=admin)


def _administration(place: Place) -> Iterator[Request]:
    tenant = f"/v1/tenants/{place.tenant}"
    name = place.new_name.replace("_", "-")
    key = {"name": "prove-extra", "roles": ["auditor" if place.new_name != PEOPLE else "nobody"], "days": 1}
    yield _request("tenant_list", "tenant:read", "GET", "/v1/tenants", admin=True)
    made = {"name": name, "kind": "synthetic"}
    yield _request("tenant_create", "tenant:create", "POST", "/v1/tenants", json=made, admin=True)
    yield _request("apikey_list", "apikey:read", "GET", f"{tenant}/apikeys", admin=True)
    yield _request("apikey_create", "apikey:create", "POST", f"{tenant}/apikeys", json=key, admin=True)
    one = f"{tenant}/apikeys/{place.key}"
    yield _request("apikey_read", "apikey:read", "GET", one, admin=True)
    yield _request("apikey_change", "apikey:create", "PUT", f"{one}/bounds", json={"requests": 600}, admin=True)
    yield _request("apikey_rotate", "apikey:create", "POST", f"{one}/rotate", json={"overlap_hours": 1}, admin=True)
    yield _request("apikey_revoke", "apikey:revoke", "DELETE", one, admin=True)
    yield _request("tenant_erasure", "erasure:read", "GET", f"/v1/tenants/{place.erased}/erasure", admin=True)
    # The tier that finds nothing to do where no root was changed: what is asked is whether one may.
    wanted = {"tier": "root", "tenant": str(place.tenant)}
    yield _request("keys_list", "keys:read", "GET", "/v1/keys", admin=True)
    yield _request("keys_rotate", "keys:rotate", "POST", "/v1/keys/rotations", json=wanted, admin=True)
    yield _request("keys_rotations", "keys:read", "GET", "/v1/keys/rotations", admin=True)
    yield _request("keys_rotation", "keys:read", "GET", f"/v1/keys/rotations/{place.rotation}", admin=True)
    out = {"name": f"{place.way_out}_too", "host": "probe.invalid", "ports": [443]}
    yield _request("egress_list", "egress:read", "GET", "/v1/egress", admin=True)
    yield _request("egress_propose", "egress:change", "POST", "/v1/egress", json=out, admin=True)
    for step in ("approve", "withdraw"):
        url = f"/v1/egress/{place.way_out}/{step}"
        yield _request(f"egress_{step}", "egress:change", "POST", url, admin=True)
    yield from _platform_pages(tenant)
    yield _request("tenant_close", "tenant:change", "POST", f"/v1/tenants/{place.closing}/close", admin=True)


def _platform_pages(tenant: str) -> Iterator[Request]:
    """Yield what is only looked at on the administration listener."""
    yield _request("deployment_read", "deployment:read", "GET", "/v1/deployment", admin=True)
    yield _request("deployment_examine", "deployment:read", "GET", "/v1/deployment/examination", admin=True)
    yield _request("console_tenants", "tenant:read", "GET", "/console/tenants", admin=True)
    yield _request("console_tenant", "tenant:read", "GET", tenant.replace("/v1", "/console"), admin=True)
    yield _request("console_apikeys", "apikey:read", "GET", "/console/apikeys", admin=True)
    yield _request("console_keys", "keys:read", "GET", "/console/keys", admin=True)
    yield _request("console_settings", "deployment:read", "GET", "/console/settings", admin=True)
    yield _request("console_doctor", "deployment:read", "GET", "/console/settings/doctor", admin=True)


async def documented(deployment: Deployment) -> dict[str, str]:
    """Return what the served documentation of both listeners says: operation → the permission that it needs."""
    found = {}
    for admin in (False, True):
        document = (await (await deployment.client(admin=admin)).get("/v1/openapi.json")).json()
        for methods in document["paths"].values():
            for operation in methods.values():
                if "x-permission" in operation:
                    found[operation["operationId"]] = operation["x-permission"]
    return found
