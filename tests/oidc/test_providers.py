"""Providers of a tenant: what may be registered, who may, and what goes when one is removed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from api.stack import entries
from oidc.conftest import Scene
from oidc.hostile import PLACE, SECRET
from wellkeep.access import oidc_metadata, oidc_roles
from wellkeep.access.oidc_errors import ProviderUnusable
from wellkeep.access.oidc_roles import Mapping
from wellkeep.base.permissions import Permission

GOOD: dict[str, Any] = {
    "name": "second",
    "issuer": "https://login.example.org/realms/clinic",
    "client_id": "wellkeep",
    "client_secret": SECRET,
    "places": [PLACE],
    "roles": [{"claim": "groups", "value": "nurses", "role": "coach"}],
}


async def test_over_the_api_a_provider_is_registered_shown_without_its_secret_and_removed(scene: Scene) -> None:
    base = f"/v1/tenants/{scene.tenant}/providers"
    async with scene.opened.client(await scene.opened.platform_key(), listener="admin") as client:
        assert (await client.post(base, json=GOOD)).status_code == 403, "the customer's own administrator does"
    own = await scene.opened.key(scene.tenant, "administrator")
    async with scene.opened.client(own, listener="admin") as client:
        made = await client.post(base, json=GOOD)
        assert made.status_code == 201, made.text
        assert (await client.post(base, json=GOOD)).status_code == 409
        listed = await client.get(base)
        assert [one["name"] for one in listed.json()["providers"]] == ["keycloak", "second"]
        assert SECRET not in listed.text
        wrongs: tuple[dict[str, Any], ...] = (
            {"issuer": "http://login.example.org"},
            {"issuer": "https://login.microsoftonline.com/common/v2.0"},
            {"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"},
            {"issuer": "https://a@login.example.org"},
            {"issuer": "https://login.example.org?x"},
            {"discovery": "http://login.example.org/"},
            {"discovery": "https://login.example.org\\@evil/"},
            {"prompt": "none"},
            {"roles": [{"claim": "a", "value": "b", "role": "operator"}]},
            {"roles": [{"claim": "a", "value": "b", "role": "support"}]},
            {"roles": [{"claim": "a", "value": "b", "role": "nobody"}]},
            {"places": []},
            {"tenant_id": str(scene.tenant)},
        )
        for wrong in wrongs:
            assert (await client.post(base, json=GOOD | {"name": "third"} | wrong)).status_code == 422, wrong
        assert (await client.delete(f"{base}/{made.json()['id']}")).status_code == 204
        assert (await client.delete(f"{base}/{made.json()['id']}")).status_code == 404
    assert SECRET not in str(await entries(scene.opened, scene.tenant))


async def test_nobody_reaches_the_providers_of_another_tenant_or_gives_roles_by_a_narrowed_key(scene: Scene) -> None:
    other = await scene.opened.tenant("mercy")
    theirs = f"/v1/tenants/{other}/providers"
    async with scene.opened.client(await scene.opened.key(scene.tenant, "administrator"), listener="admin") as client:
        assert (await client.get(theirs)).status_code == 403
        assert (await client.post(theirs, json=GOOD)).status_code == 403
        away = f"/v1/tenants/{scene.tenant}/providers/{scene.tenant}"
        assert (await client.delete(away)).status_code == 404
    narrowed = await scene.opened.key(scene.tenant, "administrator", scopes=(Permission.PROVIDER_CHANGE,))
    async with scene.opened.client(narrowed, listener="admin") as client:
        assert (await client.post(f"/v1/tenants/{scene.tenant}/providers", json=GOOD)).status_code == 403
    async with scene.opened.client(await scene.opened.platform_key()) as client:
        assert (await client.get(theirs)).status_code == 404, "not on the public listener"


async def test_with_the_provider_go_its_sessions_its_roles_and_whoever_is_on_the_way(scene: Scene) -> None:
    providers = scene.opened.single_sign_on.providers
    async with scene.client() as inside, scene.client() as on_the_way:
        await scene.whole(inside)
        back = scene.idp.sign_in(await scene.begin(on_the_way))
        await providers.remove(scene.opened.operator, tenant=scene.tenant, provider=scene.id)
        assert (await inside.get("/v1/session")).status_code == 401
        assert (await scene.finish(on_the_way, back)).status_code == 401
    assert not await scene.rows("SELECT FROM access.role_grant WHERE revoked_at IS NULL")


async def test_a_place_that_serves_another_tenant_is_not_asked(scene: Scene) -> None:
    (place,) = scene.opened.single_sign_on.providers._egress.places.values()
    bound = replace(place, tenants=frozenset({scene.id}))
    scene.opened.single_sign_on.providers._egress._places = {PLACE: bound}
    async with scene.client() as client:
        assert (await client.get("/v1/sign-in/st-elsewhere/keycloak")).status_code == 503


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Entra ID": (
        "https://login.microsoftonline.com/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        {"token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"]},
    ),
    "Azure AD B2C": (
        "https://clinic.b2clogin.com/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0/",
        {"token_endpoint_auth_methods_supported": ["client_secret_post"]},
    ),
    "Google": ("https://accounts.google.com", {"code_challenge_methods_supported": ["plain", "S256"]}),
    "Okta": (
        "https://clinic.okta.com/oauth2/default",
        {"response_types_supported": ["code", "id_token", "code id_token"]},
    ),
    "Keycloak": (
        "https://login.example.org/realms/clinic",
        {"authorization_response_iss_parameter_supported": True, "code_challenge_methods_supported": ["plain", "S256"]},
    ),
}


@pytest.mark.parametrize("whose", SHAPES)
def test_documents_of_known_providers_are_understood(whose: str) -> None:
    issuer, more = SHAPES[whose]
    assert oidc_metadata.is_issuer(issuer)
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    document = {"issuer": issuer, **{name: f"https://login.example.org/{name}" for name in names}} | more
    read = oidc_metadata.read_metadata(document, issuer=issuer)
    way = "client_secret_post" if whose == "Azure AD B2C" else "client_secret_basic"
    assert oidc_metadata.authentication(read, secret=True) == way
    assert oidc_metadata.authentication(read, secret=False) == "none"
    with pytest.raises(ProviderUnusable):
        oidc_metadata.read_metadata(document | {"issuer": issuer + "x"}, issuer=issuer)


def test_roles_come_from_whole_values_of_claims_of_every_shape() -> None:
    lines = (
        Mapping("roles", "Clinician", "clinician"),
        Mapping("realm_access.roles", "coach", "coach"),
        Mapping("hd", "example.org", "auditor"),
        Mapping("https://example.org/groups", "b", "billing"),
    )
    given = oidc_roles.mapped(
        {
            "roles": ["Clinician"],
            "realm_access": {"roles": ["coach"]},
            "hd": "example.org",
            "https://example.org/groups": ["a", "b"],
        },
        lines,
    )
    assert given == {"clinician", "coach", "auditor", "billing"}
    strange: tuple[dict[str, Any], ...] = ({"roles": "clinician"}, {"roles": [["Clinician"]]}, {"realm_access": []})
    for claims in strange:
        assert oidc_roles.mapped(claims, lines) == frozenset()
