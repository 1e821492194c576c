"""Each algorithm that a provider may sign with, signed without our library; and where one is not accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from oidc.conftest import Scene
from oidc.hostile import SECRET, segment
from wellkeep.access.oidc_json import to_base64url

Sign = Callable[[bytes], bytes]
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def number(value: int, size: int) -> str:
    return to_base64url(value.to_bytes(size, "big"))


def rsa_pair(**more: Any) -> tuple[dict[str, Any], dict[str, Sign]]:
    key = rsa.generate_private_key(65537, 2048)
    numbers = key.public_key().public_numbers()
    member = {"kty": "RSA", "kid": "one", "n": number(numbers.n, 256), "e": number(numbers.e, 3), **more}
    return member, {
        "RS256": lambda body: key.sign(body, padding.PKCS1v15(), hashes.SHA256()),
        "PS256": lambda body: key.sign(body, _PSS, hashes.SHA256()),
        "RS384": lambda body: key.sign(body, padding.PKCS1v15(), hashes.SHA384()),
    }


def ec_pair(curve: ec.EllipticCurve, name: str, size: int) -> tuple[dict[str, Any], dict[str, Sign]]:
    key = ec.generate_private_key(curve)
    numbers = key.public_key().public_numbers()
    member = {"kty": "EC", "crv": name, "kid": "one", "x": number(numbers.x, size), "y": number(numbers.y, size)}

    def der(body: bytes) -> bytes:
        return key.sign(body, ec.ECDSA(hashes.SHA256()))

    def raw(body: bytes) -> bytes:
        return b"".join(one.to_bytes(size, "big") for one in decode_dss_signature(der(body)))

    return member, {"ES256": raw, "DER": der}


def ed_pair() -> tuple[dict[str, Any], dict[str, Sign]]:
    key = ed25519.Ed25519PrivateKey.generate()
    member = {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": to_base64url(key.public_key().public_bytes_raw())}
    return member, {"EdDSA": key.sign}


def speaks(scene: Scene, member: dict[str, Any], sign: Sign, *, alg: str, listed: list[str]) -> None:
    """Have the provider sign so, and say that it does."""

    def forge(claims: dict[str, Any]) -> str:
        body = f"{segment({'alg': alg, 'kid': 'one'})}.{segment(claims)}"
        return f"{body}.{to_base64url(sign(body.encode()))}"

    scene.idp.forge = forge
    scene.idp.metadata = {"id_token_signing_alg_values_supported": listed}
    scene.idp.answers["/jwks"] = (200, json.dumps({"keys": [member]}).encode())


def made(alg: str) -> tuple[dict[str, Any], dict[str, Sign]]:
    if alg in {"RS256", "PS256"}:
        return rsa_pair()
    return ed_pair() if alg == "EdDSA" else ec_pair(ec.SECP256R1(), "P-256", 32)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_what_the_provider_says_it_signs_with_is_accepted(scene: Scene, alg: str) -> None:
    member, ways = made(alg)
    speaks(scene, member, ways[alg], alg=alg, listed=["HS256", alg])
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 303


@pytest.mark.parametrize("alg", ["PS256", "ES256", "EdDSA"])
async def test_what_the_provider_does_not_say_it_signs_with_is_refused(scene: Scene, alg: str) -> None:
    member, ways = made(alg)
    speaks(scene, member, ways[alg], alg=alg, listed=["RS256"])
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 401
    assert f"provider.forged:{scene.id}:algorithm" in await scene.findings()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("one bit of it is another", "signature"),
        ("DER instead of two numbers", "signature"),
        ("another algorithm's key", "unknown-key"),
        ("a key for one algorithm alone", "unknown-key"),
        ("a key for encryption", "no-keys"),
        ("another curve", "no-keys"),
        ("an algorithm of nobody's list", "algorithm"),
    ],
)
async def test_what_does_not_fit_its_key_is_refused(scene: Scene, how: str, reason: str) -> None:
    listed = ["RS256", "PS256", "ES256", "EdDSA", "RS384"]
    if how == "one bit of it is another":
        member, ways = ed_pair()
        sign = ways["EdDSA"]
        speaks(scene, member, lambda body: sign(body[:-1] + b"_"), alg="EdDSA", listed=listed)
    elif how == "DER instead of two numbers":
        member, ways = ec_pair(ec.SECP256R1(), "P-256", 32)
        speaks(scene, member, ways["DER"], alg="ES256", listed=listed)
    elif how == "another algorithm's key":
        member, ways = ed_pair()
        speaks(scene, member, ways["EdDSA"], alg="ES256", listed=listed)
    elif how == "a key for one algorithm alone":
        member, ways = rsa_pair(alg="RS256")
        speaks(scene, member, ways["PS256"], alg="PS256", listed=listed)
    elif how == "a key for encryption":
        member, ways = rsa_pair(use="enc")
        speaks(scene, member, ways["RS256"], alg="RS256", listed=listed)
    elif how == "another curve":
        member, ways = ec_pair(ec.SECP384R1(), "P-384", 48)
        speaks(scene, member, ways["ES256"], alg="ES256", listed=listed)
    else:
        member, ways = rsa_pair()
        speaks(scene, member, ways["RS384"], alg="RS384", listed=listed)
    async with scene.client() as client:
        if reason == "no-keys":
            assert (await client.get("/v1/sign-in/st-elsewhere/keycloak")).status_code == 503
            return
        answer = await scene.whole(client)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert f"provider.forged:{scene.id}:{reason}" in await scene.findings()


async def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(scene: Scene) -> None:
    scene.idp.posts = True
    scene.idp.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"]}
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 303
    assert SECRET not in scene.opened.log.getvalue()


async def test_a_provider_that_knows_no_way_of_ours_is_told_nothing(scene: Scene) -> None:
    scene.idp.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 503
    assert "/token" not in scene.idp.asked
