"""Promise access.sso: a provider's word signs in whom it is about, here, once; a forged or replayed one nobody."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from access.signed_in import joined
from api.stack import entries
from oidc.conftest import Scene, another
from oidc.hostile import CLIENT, HOST, SECRET, key, public, segment, signed
from wellkeep.access.oidc_json import to_base64url
from wellkeep.egress.dialling import Limits

Claims = dict[str, Any]


def hs256(claims: Claims, secret: bytes, **header: Any) -> str:
    body = f"{segment({'alg': 'HS256', 'kid': 'one', **header})}.{segment(claims)}"
    return f"{body}.{to_base64url(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def twice(claims: Claims) -> str:
    """Return a token signed by the provider whose payload names `aud` twice."""
    raw = json.dumps(claims)[:-1] + f', "aud": "{CLIENT}"}}'
    return signed(raw.encode(), by=key("one"))


def changed(**more: Any) -> Callable[[Claims], str]:
    return lambda claims: signed(
        {name: value for name, value in {**claims, **more}.items() if value is not None}, by=key("one")
    )


def moved(claim: str, by: int) -> Callable[[Claims], str]:
    return lambda claims: signed({**claims, claim: claims["iat"] + by}, by=key("one"))


def swapped(claims: Claims) -> str:
    head, _, signature = signed(claims, by=key("one")).split(".")
    return f"{head}.{segment({**claims, 'sub': 'somebody-else'})}.{signature}"


PEM = key("one").as_pem(private=False)
EVIL = public("evil")["keys"][0]
FORGED: dict[str, tuple[Callable[[Claims], str], str]] = {
    "another issuer": (changed(iss="https://evil.example.org"), "issuer"),
    "another audience": (changed(aud="somebody-else"), "audience"),
    "two audiences and no azp": (changed(aud=[CLIENT, "other"]), "audience"),
    "no audience": (changed(aud=None), "audience"),
    "made for another party": (changed(azp="other"), "azp"),
    "another nonce": (changed(nonce="x" * 43), "nonce"),
    "no nonce": (changed(nonce=None), "nonce"),
    "half a letter as nonce": (changed(nonce="\ud800"), "nonce"),
    "no subject": (changed(sub=None), "sub"),
    "expired": (moved("exp", -61), "expired"),
    "never expires": (changed(exp=None), "time"),
    "a number beyond numbers": (changed(exp=10**400), "time"),
    "a truth for a time": (changed(iat=True), "time"),
    "issued tomorrow": (moved("iat", 86_400), "not-yet"),
    "not before tomorrow": (moved("nbf", 86_400), "not-yet"),
    "issued yesterday": (moved("iat", -86_400), "old"),
    "algorithm none": (lambda claims: f"{segment({'alg': 'none'})}.{segment(claims)}.", "algorithm"),
    "algorithm NoNe": (lambda claims: f"{segment({'alg': 'NoNe'})}.{segment(claims)}.", "algorithm"),
    "HS256 under the public key": (lambda claims: hs256(claims, PEM), "algorithm"),
    "HS256 under the client's secret": (lambda claims: hs256(claims, SECRET.encode()), "algorithm"),
    "RS256 in the header, HMAC inside": (lambda claims: hs256(claims, PEM, alg="RS256"), "signature"),
    "signed by somebody else": (lambda claims: signed(claims, by=key("evil"), kid="one"), "signature"),
    "a key of nobody's": (lambda claims: signed(claims, by=key("evil")), "unknown-key"),
    "its own key in it": (lambda claims: signed(claims, by=key("evil"), kid="one", jwk=EVIL), "header"),
    "its own keys' address": (lambda claims: signed(claims, by=key("one"), jku="https://evil.example.org/"), "header"),
    "its own certificate's address": (lambda claims: signed(claims, by=key("one"), x5u="https://a.example/"), "header"),
    "critical headers": (lambda claims: signed(claims, by=key("one"), crit=["exp"]), "header"),
    "an access token": (lambda claims: signed(claims, by=key("one"), typ="at+jwt"), "type"),
    "a logout token": (changed(events={}), "type"),
    "a hash of another access token": (changed(at_hash="x" * 22), "at-hash"),
    "claims changed after it": (swapped, "signature"),
    "the audience twice": (twice, "malformed"),
    "a megabyte": (changed(more="x" * 20_000), "too-large"),
    "no token": (lambda _: "rubbish", "malformed"),
    "five parts": (lambda claims: signed(claims, by=key("one")) + ".x.y", "malformed"),
    "no signature": (lambda claims: signed(claims, by=key("one")).rpartition(".")[0] + ".", "signature"),
}  # fmt: skip


async def test_somebody_signs_in_and_is_known_the_next_time(scene: Scene) -> None:
    people = set()
    for _ in range(2):
        async with scene.client() as client:
            answer = await scene.whole(client)
            assert (answer.status_code, answer.headers["location"]) == (303, "/console"), answer.text
            now = (await client.get("/v1/session")).json()
            assert now["roles"] == ["clinician"]
            assert now["second_factor"] is False
            people.add(now["person"])
    assert len(people) == 1
    done = [entry["action"] for entry in await entries(scene.opened, scene.tenant)]
    assert {"user.joined", "role.granted", "session.started", "provider.changed"} <= set(done)
    row = (await scene.rows("SELECT * FROM access.provider"))[0]
    assert SECRET.encode() not in row["sealed"]
    assert scene.idp.sub not in str(await scene.rows("SELECT * FROM access.identity"))
    assert not await scene.rows("SELECT * FROM access.pending_sign_in"), "used up"
    assert "code-" not in scene.opened.log.getvalue()


async def test_a_forged_token_signs_nobody_in(scene: Scene) -> None:
    """In one process for all of them: what the one left behind helps none of the others."""
    async with scene.client() as client:
        for how, (forge, _) in FORGED.items():
            scene.idp.forge = forge
            answer = await scene.whole(client)
            assert answer.status_code == 401, f"{how}: {answer.text}"
            assert "set-cookie" not in answer.headers, how
        assert (await client.get("/v1/session")).status_code == 401
    assert not await scene.rows("SELECT * FROM access.session")
    assert not await scene.rows("SELECT * FROM access.person")
    found = {key for key in await scene.findings() if key.startswith("provider.forged")}
    assert found == {f"provider.forged:{scene.id}:{reason}" for _, reason in FORGED.values()}


async def test_coming_back_ends_the_session_that_this_browser_had(scene: Scene) -> None:
    async with scene.client() as client:
        await scene.whole(client)
        before = client.cookies["__Host-wk_session"]
        await scene.whole(client)
        assert client.cookies["__Host-wk_session"] != before
    rows = await scene.rows("SELECT ended_because FROM access.session ORDER BY id")
    assert [row["ended_because"] for row in rows] == ["replaced", None]


async def test_what_was_used_is_used_up_and_another_browser_ends_nothing(scene: Scene) -> None:
    async with scene.client() as victim, scene.client() as thief:
        back = scene.idp.sign_in(await scene.begin(victim))
        await scene.begin(thief)
        assert (await scene.finish(thief, back)).status_code == 401, "state of another browser"
        assert (await scene.finish(scene.client(), back)).status_code == 401, "no cookie at all"
        cookie = victim.cookies["__Host-wk_signing_in"]
        assert (await scene.finish(victim, back)).status_code == 303, "and that did not spoil it"
        thief.cookies.set("__Host-wk_signing_in", cookie, domain="localhost.local")
        victim.cookies.set("__Host-wk_signing_in", cookie)
        assert (await scene.finish(victim, back)).status_code == 401, "state replayed"
        again = scene.idp.sign_in(await scene.begin(victim)) | {"code": back["code"]}
        assert (await scene.finish(victim, again)).status_code == 401, "code replayed"
        for state in ("", "x", f"{'0' * 32}.{'0' * 64}"):
            assert (await scene.finish(victim, {"code": "a", "state": state})).status_code in {401, 422}


async def test_a_code_of_another_sign_in_and_a_token_of_an_earlier_one_are_refused(scene: Scene) -> None:
    async with scene.client() as one, scene.client() as two:
        stolen = scene.idp.sign_in(await scene.begin(one))["code"]
        mine = scene.idp.sign_in(await scene.begin(two))
        assert (await scene.finish(two, mine | {"code": stolen})).status_code == 401, "PKCE"
        seen: list[str] = []
        scene.idp.forge = lambda claims: seen.append(signed(claims, by=key("one"))) or seen[0]  # type: ignore[func-returns-value]
        assert (await scene.whole(one)).status_code == 303
        assert (await scene.whole(one)).status_code == 401, "token replayed"


async def test_ten_minutes_later_it_is_over(scene: Scene) -> None:
    async with scene.client() as client:
        back = scene.idp.sign_in(await scene.begin(client))
        async with scene.opened.database.connect() as connection:
            await connection.execute(
                "UPDATE access.pending_sign_in SET created_at = created_at - interval '601 seconds',"
                " expires_at = expires_at - interval '601 seconds'"
            )
        assert (await scene.finish(client, back)).status_code == 401


async def test_an_answer_in_the_name_of_another_issuer_is_refused(scene: Scene) -> None:
    async with scene.client() as client:
        assert (await scene.whole(client, iss="https://evil.example.org")).status_code == 401
        assert (await scene.whole(client, iss=None)).status_code == 401, "announced, and not there"
        assert (await scene.whole(client, code=None, error="access_denied")).status_code == 401
        assert "/token" not in scene.idp.asked


async def test_keys_roll_over_and_a_forger_does_not_make_us_ask(scene: Scene) -> None:
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 303
        scene.idp.kids = ["two", "one"]
        assert (await scene.whole(client)).status_code == 303, "a new kid is asked for at once"
        asked = scene.idp.asked.count("/jwks")
        scene.idp.forge = lambda claims: signed(claims, by=key("evil"))
        for _ in range(5):
            assert (await scene.whole(client)).status_code == 401
        assert scene.idp.asked.count("/jwks") == asked, "once a minute"
        scene.idp.forge, scene.idp.kids = None, ["three"]
        scene.clock.by += scene.clock.by.resolution * 61_000_000
        assert (await scene.whole(client)).status_code == 303


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/.well-known/openid-configuration", (500, b""), "status"),
        ("/.well-known/openid-configuration", (302, b""), "status"),
        ("/.well-known/openid-configuration", (200, b"\x00rubbish"), "malformed"),
        ("/.well-known/openid-configuration", (200, b"[" * 100_000), "malformed"),
        ("/.well-known/openid-configuration", (200, b"x" * 300_000), "unreachable"),
        ("/jwks", (200, b'{"keys": []}'), "no-keys"),
        ("/jwks", (200, b'{"keys": [{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}]}'), "no-keys"),
        ("/jwks", (200, b'{"keys": [' + b"{}," * 64 + b"{}]}"), "keys"),
    ],
)
async def test_a_provider_that_answers_rubbish_is_said_to_be_of_no_use(
    scene: Scene, path: str, answer: tuple[int, bytes], reason: str
) -> None:
    scene.idp.answers[path] = answer
    async with scene.client() as client:
        said = await client.get("/v1/sign-in/st-elsewhere/keycloak")
    assert said.status_code == 503
    assert HOST not in said.text
    row = (await scene_findings(scene))[0]
    assert reason in row
    assert await scene.rows("SELECT * FROM access.pending_sign_in") == []


async def scene_findings(scene: Scene) -> list[str]:
    await scene.opened.findings.flush()
    rows = await scene.rows("SELECT detail::text FROM findings.finding WHERE kind = 'provider.unreachable'")
    return [row["detail"] for row in rows]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://evil.example.org"}, "issuer"),
        ({"issuer": f"https://{HOST}/{{tenantid}}/v2.0"}, "issuer"),
        ({"token_endpoint": "http://login.example.org/token"}, "endpoint"),
        ({"token_endpoint": "https://login.example.org@evil.example.org/"}, "endpoint"),
        ({"token_endpoint": None}, "endpoint"),
        ({"jwks_uri": "https://169.254.169.254/keys"}, "no-place"),
        ({"jwks_uri": "https://evil.example.org/keys"}, "no-place"),
        ({"response_types_supported": ["token"]}, "no-code-flow"),
        ({"code_challenge_methods_supported": ["plain"]}, "no-pkce"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "no-algorithm"),
    ],
)
async def test_a_document_that_is_not_the_registered_providers_is_refused(
    scene: Scene, changes: dict[str, Any], reason: str
) -> None:
    scene.idp.metadata = changes
    async with scene.client() as client:
        assert (await client.get("/v1/sign-in/st-elsewhere/keycloak")).status_code == 503
    assert any(reason in row for row in await scene_findings(scene))


async def test_a_provider_that_hangs_is_given_up(scene: Scene) -> None:
    scene.opened.single_sign_on.sign_in._client._limits = Limits(read=0.2, total=0.3)
    scene.idp.slow = True
    async with scene.client() as client:
        assert (await client.get("/v1/sign-in/st-elsewhere/keycloak")).status_code == 503


async def test_what_is_not_there_looks_the_same(scene: Scene) -> None:
    async with scene.client() as client:
        for address in ("st-elsewhere/nobody", "nowhere/keycloak", "platform/keycloak", "x%0d%0a/keycloak"):
            assert (await client.get(f"/v1/sign-in/{address}")).status_code == 404, address
        other = await client.get("/v1/sign-in/st-elsewhere/keycloak?next=https://evil.example.org/")
        assert other.status_code == 422, "no request says where to go"


async def test_an_email_joins_nobody_to_an_account_that_is_there(scene: Scene) -> None:
    victim = await joined(scene.opened, scene.tenant, "administrator", email="robin@example.org")
    scene.idp.claims |= {"email": "Robin@Example.org", "email_verified": True}
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 409
        scene.idp.claims["email_verified"] = False
        assert (await scene.whole(client)).status_code == 303, "an address that nobody verified is nobody's"
        assert (await client.get("/v1/session")).json()["person"] != str(victim)


async def test_who_gets_no_role_gets_no_account(scene: Scene) -> None:
    scene.idp.claims["groups"] = ["visitors"]
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 403
    assert not await scene.rows("SELECT * FROM access.person")


async def test_a_role_that_is_gone_there_is_gone_here_and_its_sessions_too(scene: Scene) -> None:
    scene.idp.claims["groups"] = ["clinicians", "admins"]
    async with scene.client() as before, scene.client() as after:
        await scene.whole(before)
        assert (await before.get("/v1/session")).json()["roles"] == ["administrator", "clinician"]
        assert (await before.get("/v1/users")).json()["type"].endswith("second-factor-required")
        scene.idp.claims["groups"] = ["clinicians"]
        await scene.whole(after)
        assert (await after.get("/v1/session")).json()["roles"] == ["clinician"]
        scene.opened.authenticator._sessions._known.clear()
        assert (await before.get("/v1/session")).status_code == 401


async def test_what_was_taken_by_hand_does_not_come_back_by_itself(scene: Scene) -> None:
    async with scene.client() as client:
        await scene.whole(client)
        now = (await client.get("/v1/session")).json()
        people = scene.opened.accounts.people
        await people.revoke(scene.opened.operator, tenant=scene.tenant, person=UUID(now["person"]), role="clinician")
        assert (await scene.whole(client)).status_code == 303
        assert (await client.get("/v1/session")).json()["roles"] == []
        await people.disable(scene.opened.operator, tenant=scene.tenant, person=UUID(now["person"]))
        assert (await scene.whole(client)).status_code == 401, "disabled"


async def test_a_role_given_and_taken_by_hand_is_not_given_by_the_provider(scene: Scene) -> None:
    """What a review took stays taken, whoever had given it and whatever the provider maps since."""
    scene.idp.claims["groups"] = ["admins"]
    async with scene.client() as client:
        await scene.whole(client)
        person = UUID((await client.get("/v1/session")).json()["person"])
        people, by = scene.opened.accounts.people, scene.opened.operator
        await people.grant(by, tenant=scene.tenant, person=person, role="clinician")
        await people.revoke(by, tenant=scene.tenant, person=person, role="clinician")
        scene.idp.claims["groups"] = ["admins", "clinicians"]
        assert (await scene.whole(client)).status_code == 303
        assert (await client.get("/v1/session")).json()["roles"] == ["administrator"]


@pytest.mark.parametrize(
    ("claims", "mfa"),
    [
        ({"amr": ["pwd", "otp"], "auth_time": 0}, True),
        ({"acr": "otp", "auth_time": 0}, True),
        ({"amr": ["pwd"], "auth_time": 0}, False),
        ({"amr": "otp-not", "auth_time": 0}, False),
        ({"amr": ["otp"], "auth_time": -700}, None),
        ({"amr": ["otp"]}, None),
    ],
)
async def test_a_second_factor_of_the_providers_counts_where_it_was_shown_just_now(
    scene: Scene, claims: Claims, *, mfa: bool | None
) -> None:
    await another(scene, second_factor=("otp",), prompt="login")
    scene.idp.claims |= claims
    if "auth_time" in claims:
        scene.idp.claims["auth_time"] = int(scene.clock.seconds()) + claims["auth_time"]
    async with scene.client() as client:
        address = await scene.begin(client, "other")
        assert "max_age=600" in address
        assert "prompt=login" in address
        answer = await scene.finish(client, scene.idp.sign_in(address))
        if mfa is None:
            assert answer.status_code == 401
        else:
            assert (await client.get("/v1/session")).json()["second_factor"] is mfa


async def test_without_a_registered_word_no_word_of_the_providers_is_a_second_factor(scene: Scene) -> None:
    scene.idp.claims |= {"amr": ["otp", "mfa"], "acr": "aal3", "auth_time": int(scene.clock.seconds())}
    async with scene.client() as client:
        await scene.whole(client)
        assert (await client.get("/v1/session")).json()["second_factor"] is False


async def test_a_browser_is_shown_pages_where_a_program_gets_json(scene: Scene) -> None:
    """The second factor is asked for on a page that leads to the console; a refusal is a page to sign in on anew."""
    async with scene.client() as client:
        await scene.whole(client)
        async with scene.opened.database.connect() as connection:
            await connection.execute(
                "INSERT INTO access.factor (tenant_id, id, person_id, kind, name, sealed, created_at, confirmed_at)"
                " SELECT tenant_id, gen_random_uuid(), id, 'totp', 'app', decode(repeat('00', 64), 'hex'),"
                " clock_timestamp(), clock_timestamp() FROM access.person"
            )
        client.headers["Accept"] = "text/html"
        asked = await scene.whole(client)
        refused = await scene.finish(client, {"state": "0" * 8, "code": "x"})
    assert (asked.status_code, 'action="/sign-in/factor"' in asked.text) == (200, True)
    assert 'name="back" value="/console"' in asked.text
    assert 'name="ticket" value=""' not in asked.text
    assert (refused.status_code, 'action="/sign-in"' in refused.text) == (401, True)
    for page in (asked, refused):
        assert len(page.headers.get_list("content-security-policy")) == 1
