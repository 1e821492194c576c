"""Identity providers of a tenant: registered, listed, tried, removed; each of it an entry.

Rules: an issuer is one customer's, over https; a provider is asked at places of the egress list alone, which serve its
tenant; its claims give roles that people may have there, and no others; nobody whose key is narrowed registers one,
since a provider gives roles. The client's secret is sealed and shown to nobody afterwards. Removing a provider ends the
sessions that began there and takes back every role that came from it, in the same transaction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.away import away
from wellkeep.access.customers import must_be_theirs
from wellkeep.access.oidc_client import ProviderClient, Registered
from wellkeep.access.oidc_metadata import discovery_address, is_address, is_issuer
from wellkeep.access.oidc_roles import Mapping
from wellkeep.base.errors import Conflict, FieldProblem, Forbidden, NotFound, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection, Record
from wellkeep.egress.egress import Egress
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.ledger.event import Action

MOST: Final = 16
MOST_MAPPINGS: Final = 500
_STAFF: Final = frozenset({"support"})
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_CLIENT = re.compile(r"[!-~]{1,255}")
_SECRET = re.compile(r"[ -~]{1,512}")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,100}")
_WORD = re.compile(r"[!-~]{1,200}")
_VALUE = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_MOST_WORDS = 16
_MOST_PLACES = 4

_TENANT_STATE = "SELECT state FROM wk.tenants"
_COUNT = "SELECT count(*) FROM access.provider"
_INSERT = """
INSERT INTO access.provider (tenant_id, id, name, issuer, discovery, client_id, sealed, places, scopes, second_factor,
  prompt, created_at, created_by)
VALUES (wk.tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp(), $11)
ON CONFLICT (tenant_id, name) DO NOTHING RETURNING id
"""
_INSERT_ROLES = """
INSERT INTO access.provider_role (tenant_id, provider_id, claim, value, role)
SELECT wk.tenant(), $1, claim, value, role FROM unnest($2::text[], $3::text[], $4::text[]) AS line (claim, value, role)
"""
_SELECT = """
SELECT tenant_id, id, name, issuer, discovery, client_id, sealed, places, scopes, second_factor, prompt, created_at
FROM access.provider
"""
_LIST = _SELECT + " ORDER BY name"
_ONE = _SELECT + " WHERE id = $1"
_BY_NAME = _SELECT + " WHERE name = $1"
_ROLES = "SELECT claim, value, role FROM access.provider_role WHERE provider_id = $1 ORDER BY claim, value, role"
_DELETE = "DELETE FROM access.provider WHERE id = $1 RETURNING id"
_END = """
UPDATE access.session SET ended_at = clock_timestamp(), ended_because = 'provider-removed'
WHERE provider_id = $1 AND ended_at IS NULL
"""
_REVOKE = """
UPDATE access.role_grant SET revoked_at = clock_timestamp(), revoked_by = $2
WHERE granted_by = $1 AND revoked_at IS NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProvider:
    """What is registered; `discovery` None: where the issuer's document usually is. `secret` None: a public client."""

    name: str
    issuer: str
    client_id: str
    places: tuple[str, ...]
    secret: Secret[str] | None = None
    discovery: str | None = None
    scopes: tuple[str, ...] = ()
    second_factor: tuple[str, ...] = ()
    prompt: str | None = None
    roles: tuple[Mapping, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A registered provider, without its secret; `confidential`: it has one."""

    tenant: UUID
    id: UUID
    name: str
    issuer: str
    discovery: str
    client_id: str
    confidential: bool
    places: tuple[str, ...]
    scopes: tuple[str, ...]
    second_factor: tuple[str, ...]
    prompt: str | None
    created_at: datetime
    roles: tuple[Mapping, ...]
    sealed: bytes | None = field(repr=False)

    def registered(self, secrets: AccountSecrets) -> Registered:
        """Return what is needed to ask it, with the secret opened. Raises IntegrityBroken."""
        opened = None
        if self.sealed is not None:
            opened = Secret(secrets.open_client(self.sealed, tenant=self.tenant, provider=self.id).decode("ascii"))
        return Registered(
            tenant=self.tenant,
            id=self.id,
            issuer=self.issuer,
            discovery=self.discovery,
            client_id=self.client_id,
            secret=opened,
            places=self.places,
        )


@dataclass(frozen=True, slots=True)
class Tried:
    """What a provider answered: where people sign in, and how many of its keys are of use."""

    authorization_endpoint: str
    keys: int


class Providers:
    """Manages the identity providers of a deployment's tenants."""

    def __init__(self, *, gate: Gate, secrets: AccountSecrets, egress: Egress, client: ProviderClient) -> None:
        """Act through `gate`."""
        self._gate = gate
        self._secrets = secrets
        self._egress = egress
        self._client = client

    async def create(self, caller: Caller, *, tenant: UUID, new: NewProvider) -> UUID:
        """Register a provider; nothing is asked of it yet.

        Raises Forbidden, Validation (with the fields at fault), Conflict where the tenant has one of this name, 16, or
        is closed, NotFound where there is no such tenant.
        """
        provider = uuid7()
        decision = await self._decide(caller, Permission.PROVIDER_CHANGE, Action.PROVIDER_CHANGED, tenant, provider)
        await must_be_theirs(self._gate, decision)
        if caller.principal.scopes is not None:
            await self._gate.failed(decision, error=Forbidden.code)
            raise Forbidden("A key whose scopes are narrowed gives no roles, and a provider does")
        await self._check(tenant, new)
        sealed = None
        if new.secret is not None:
            sealed = self._secrets.seal_client(new.secret.reveal().encode("ascii"), tenant=tenant, provider=provider)
        address = new.discovery or discovery_address(new.issuer)
        values = (provider, new.name, new.issuer, address, new.client_id, sealed, list(new.places))
        more = (list(new.scopes), list(new.second_factor), new.prompt, caller.principal.id)
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_TENANT_STATE) != "active":
                raise Conflict("This tenant is closed, so nobody could sign in there")
            if await work.connection.fetchval(_COUNT) >= MOST:
                raise Conflict("This tenant has 16 providers already")
            if await work.connection.fetchval(_INSERT, *values, *more) is None:
                raise Conflict("This tenant has a provider of this name already")
            columns = [[getattr(one, name) for one in new.roles] for name in ("claim", "value", "role")]
            await work.connection.execute(_INSERT_ROLES, provider, *columns)
            work.record(fields=tuple(sorted({one.role for one in new.roles})))
        return provider

    async def list(self, caller: Caller, *, tenant: UUID) -> list[Provider]:
        """Return the providers of `tenant`."""
        decision = await self._decide(caller, Permission.PROVIDER_READ, Action.PROVIDER_READ, tenant)
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST)
            found = [await _provider(work.connection, row) for row in rows]
            work.record(count=len(found))
        return found

    async def examine(self, caller: Caller, *, tenant: UUID, provider: UUID) -> Tried:
        """Ask a provider for its document and keys. Raises NotFound, ProviderUnusable."""
        decision = await self._decide(caller, Permission.PROVIDER_READ, Action.PROVIDER_READ, tenant, provider)
        async with self._gate.transaction(decision) as work:
            row = await work.connection.fetchrow(_ONE, provider)
            if row is None:
                raise NotFound
            found = await _provider(work.connection, row)
            work.record()
        metadata, keys = await self._client.examine(found.registered(self._secrets))
        return Tried(metadata.authorization_endpoint, len(keys))

    async def remove(self, caller: Caller, *, tenant: UUID, provider: UUID) -> None:
        """Remove a provider: its sessions end and the roles that came from it go. Raises NotFound."""
        decision = await self._decide(caller, Permission.PROVIDER_CHANGE, Action.PROVIDER_CHANGED, tenant, provider)
        async with self._gate.transaction(decision) as work:
            await work.connection.execute(_END, provider)
            await work.connection.execute(_REVOKE, str(provider), caller.principal.id)
            if await work.connection.fetchval(_DELETE, provider) is None:
                raise NotFound
            work.record()
        self._client.forget(tenant, provider)

    async def _decide(
        self, caller: Caller, permission: Permission, action: Action, tenant: UUID, provider: UUID | None = None
    ) -> Decision:
        """Decide in the tenant's own log; a tenant that nobody made has none, so its refusal is in the caller's."""
        named, there = await away(self._gate, caller, tenant)
        about = None if provider is None else str(provider)
        act = Act(permission, action, "provider", resource_id=about, tenant=named)
        decision = await self._gate.decide(caller, act)
        if not there:
            async with self._gate.reading(decision):  # whose credential was revoked is told nothing
                raise NotFound("There is no such tenant")
        return decision

    async def _check(self, tenant: UUID, new: NewProvider) -> None:
        problems = [FieldProblem(path, "malformed") for path, good in _forms(new).items() if not good]
        if not problems:
            problems = _places_at_fault(self._egress, tenant, new)
        settings = await self._gate.tenants.load(tenant)
        for place, line in enumerate(new.roles):
            role = self._gate.policy.role(line.role, settings)
            if role is None or not role.issuable or (role.name in _STAFF and tenant != PLATFORM_TENANT):
                problems.append(FieldProblem(f"/roles/{place}/role", "unknown-role"))
        if len(set(new.roles)) != len(new.roles):
            problems.append(FieldProblem("/roles", "duplicate"))
        if problems:
            raise Validation(fields=tuple(problems))


async def by_name(connection: Connection, name: str) -> Provider | None:
    """Return the provider called `name` of the tenant that `connection` is under."""
    row = await connection.fetchrow(_BY_NAME, name)
    return None if row is None else await _provider(connection, row)


async def by_id(connection: Connection, provider: UUID) -> Provider | None:
    """Return a provider of the tenant that `connection` is under."""
    row = await connection.fetchrow(_ONE, provider)
    return None if row is None else await _provider(connection, row)


def _forms(new: NewProvider) -> Dictionary[str, bool]:
    words = (*new.second_factor,)
    return {
        "/name": _NAME.fullmatch(new.name) is not None,
        "/issuer": is_issuer(new.issuer),
        "/discovery": new.discovery is None or (is_address(new.discovery) and len(new.discovery) <= 500),  # noqa: PLR2004
        "/client_id": _CLIENT.fullmatch(new.client_id) is not None,
        "/client_secret": new.secret is None or _SECRET.fullmatch(new.secret.reveal()) is not None,
        "/places": 1 <= len(new.places) <= _MOST_PLACES,
        "/scopes": len(new.scopes) <= _MOST_WORDS and all(_SCOPE.fullmatch(one) for one in new.scopes),
        "/second_factor": len(words) <= _MOST_WORDS and all(_WORD.fullmatch(one) for one in words),
        "/prompt": new.prompt in {None, "login", "select_account"},
        "/roles": len(new.roles) <= MOST_MAPPINGS
        and all(_WORD.fullmatch(one.claim) and _VALUE.fullmatch(one.value) for one in new.roles),
    }


def _places_at_fault(egress: Egress, tenant: UUID, new: NewProvider) -> list[FieldProblem]:
    """Return what is wrong with the places that are listed now; each use asks again."""
    found = [egress.places.get(name) for name in new.places]
    return [
        FieldProblem(f"/places/{number}", "not-allowed")
        for number, place in enumerate(found)
        if place is not None and (place.clear or not place.serves(tenant))
    ]


async def _provider(connection: Connection, row: Record) -> Provider:
    lines = await connection.fetch(_ROLES, row["id"])
    return Provider(
        tenant=row["tenant_id"],
        id=row["id"],
        name=row["name"],
        issuer=row["issuer"],
        discovery=row["discovery"],
        client_id=row["client_id"],
        confidential=row["sealed"] is not None,
        places=tuple(row["places"]),
        scopes=tuple(row["scopes"]),
        second_factor=tuple(row["second_factor"]),
        prompt=row["prompt"],
        created_at=row["created_at"],
        roles=tuple(Mapping(line["claim"], line["value"], line["role"]) for line in lines),
        sealed=row["sealed"],
    )
