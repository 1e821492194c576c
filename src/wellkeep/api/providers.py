"""Identity providers of a tenant over HTTP, on the listener of administration."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from wellkeep.access.oidc_roles import Mapping
from wellkeep.access.providers import MOST_MAPPINGS, NewProvider, Provider
from wellkeep.api import answers
from wellkeep.api.answers import Answer, location
from wellkeep.api.routes import Call, Route
from wellkeep.api.shapes import Input
from wellkeep.base.errors import Conflict, NotFound
from wellkeep.base.permissions import Permission
from wellkeep.base.secrets import Secret

_ALL = "/v1/tenants/{tenant_id}/providers"
_ONE = _ALL + "/{provider_id}"

Word = Annotated[str, Meta(min_length=1, max_length=200)]
Address = Annotated[str, Meta(max_length=500)]
Words = Annotated[tuple[Word, ...], Meta(max_length=16)]


class RoleLine(Input, frozen=True, kw_only=True):
    """Who has `value` in `claim` (its name, or a path with dots) gets `role`."""

    claim: Word
    value: Annotated[str, Meta(min_length=1, max_length=100)]
    role: Annotated[str, Meta(max_length=63)]


class ProviderInput(Input, frozen=True, kw_only=True):
    """A provider; `places` are those of the egress list that it is asked at.

    `second_factor` are the values of its `amr` and `acr` that say that a second factor was shown.
    """

    name: Annotated[str, Meta(max_length=63)]
    issuer: Address
    client_id: Annotated[str, Meta(max_length=255)]
    client_secret: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    discovery: Address | None = None
    places: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=4)]
    scopes: Words = ()
    second_factor: Words = ()
    prompt: Annotated[str, Meta(max_length=32)] | None = None
    roles: Annotated[tuple[RoleLine, ...], Meta(max_length=MOST_MAPPINGS)] = ()


class ProviderMade(msgspec.Struct, frozen=True, kw_only=True):
    """The id of a new provider."""

    id: UUID


class ProviderShown(msgspec.Struct, frozen=True, kw_only=True):
    """A provider, without its secret."""

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
    roles: list[RoleLine]
    created_at: datetime


class ProvidersShown(msgspec.Struct, frozen=True, kw_only=True):
    """The providers of a tenant."""

    providers: list[ProviderShown]


async def create(call: Call) -> Answer:
    """Register a provider."""
    body: ProviderInput = call.body
    new = NewProvider(
        name=body.name,
        issuer=body.issuer,
        client_id=body.client_id,
        secret=None if body.client_secret is None else Secret(body.client_secret),
        discovery=body.discovery,
        places=body.places,
        scopes=body.scopes,
        second_factor=body.second_factor,
        prompt=body.prompt,
        roles=tuple(Mapping(one.claim, one.value, one.role) for one in body.roles),
    )
    providers = call.runtime.single_sign_on.providers
    made = await providers.create(call.caller, tenant=call.identifier("tenant_id"), new=new)
    where = location(call.raw_path.decode("ascii"), made)
    return answers.json(ProviderMade(id=made), status=201, headers=(where,))


async def list_all(call: Call) -> Answer:
    """Return all of them."""
    found = await call.runtime.single_sign_on.providers.list(call.caller, tenant=call.identifier("tenant_id"))
    return answers.json(ProvidersShown(providers=[shown(one) for one in found]))


async def remove(call: Call) -> Answer:
    """Remove one."""
    tenant, provider = call.identifier("tenant_id"), call.identifier("provider_id")
    await call.runtime.single_sign_on.providers.remove(call.caller, tenant=tenant, provider=provider)
    return Answer(204)


def shown(one: Provider) -> ProviderShown:
    """Return what is told of a provider."""
    return ProviderShown(
        id=one.id,
        name=one.name,
        issuer=one.issuer,
        discovery=one.discovery,
        client_id=one.client_id,
        confidential=one.confidential,
        places=one.places,
        scopes=one.scopes,
        second_factor=one.second_factor,
        prompt=one.prompt,
        roles=[RoleLine(claim=line.claim, value=line.value, role=line.role) for line in one.roles],
        created_at=one.created_at,
    )


PROVIDERS = (
    Route(
        method="GET",
        path=_ALL,
        name="provider_list",
        summary="The identity providers of a tenant, without their secrets",
        tag="providers",
        serve=list_all,
        permission=Permission.PROVIDER_READ,
        returns=ProvidersShown,
        problems=(NotFound,),
    ),
    Route(
        method="POST",
        path=_ALL,
        name="provider_create",
        summary="Register an identity provider",
        tag="providers",
        serve=create,
        permission=Permission.PROVIDER_CHANGE,
        body=ProviderInput,
        returns=ProviderMade,
        status=201,
        problems=(Conflict, NotFound),
        example={
            "name": "keycloak",
            "issuer": "https://login.example.org/realms/clinic",
            "client_id": "wellkeep",
            "client_secret": "what the provider shows once",
            "places": ["identity"],
            "second_factor": ["otp"],
            "roles": [{"claim": "groups", "value": "clinicians", "role": "clinician"}],
        },
    ),
    Route(
        method="DELETE",
        path=_ONE,
        name="provider_remove",
        summary="Remove an identity provider: its sessions end, the roles that came from it go",
        tag="providers",
        serve=remove,
        permission=Permission.PROVIDER_CHANGE,
        status=204,
        problems=(NotFound,),
    ),
)
