"""Passkeys over the API, with an authenticator in software: registered, used alone, as the second factor, refused."""

from __future__ import annotations

import copy
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from soft_webauthn import SoftWebauthnDevice  # type: ignore[import-not-found,import-untyped,unused-ignore]

from access.signed_in import joined, sent_by, session
from access.test_sign_in import browser
from api.stack import Stack, stack
from database import Database
from wellkeep.base.ids import uuid7

ORIGIN = "https://localhost"
_USER_VERIFIED = 4


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


class Device(SoftWebauthnDevice):  # type: ignore[misc]  # the library has no types
    """An authenticator that verifies its user, which the library's own leaves out."""

    verifies = True

    def register(self, options: dict[str, Any], origin: str = ORIGIN) -> dict[str, Any]:
        found = copy.deepcopy(options)
        found["challenge"] = raw(options["challenge"])
        found["user"]["id"] = raw(options["user"]["id"])
        made = self.create({"publicKey": found}, origin)
        flags = made["response"]["attestationObject"].index(self._rp_hash) + 32
        data = bytearray(made["response"]["attestationObject"])
        data[flags] |= _USER_VERIFIED if self.verifies else 0
        made["response"]["attestationObject"] = bytes(data)
        made["id"] = text(made["rawId"])
        told: dict[str, Any] = plain(made)
        return told

    @property
    def _rp_hash(self) -> bytes:
        return sha256(self.rp_id.encode()).digest()

    def sign(self, options: dict[str, Any], origin: str = ORIGIN) -> dict[str, Any]:
        found = copy.deepcopy(options)
        found["challenge"] = raw(options["challenge"])
        self.sign_count += 1
        told: dict[str, Any] = plain(self._assertion(found, origin))
        return told

    def _assertion(self, options: dict[str, Any], origin: str) -> dict[str, Any]:
        told = {"type": "webauthn.get", "challenge": text(options["challenge"]), "origin": origin}
        client_data = orjson.dumps(told)
        flags = bytes([1 | (_USER_VERIFIED if self.verifies else 0)])
        data = self._rp_hash + flags + self.sign_count.to_bytes(4, "big")
        signature = self.private_key.sign(data + sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return {
            "id": text(self.credential_id),
            "rawId": self.credential_id,
            "type": "public-key",
            "response": {
                "authenticatorData": data,
                "clientDataJSON": client_data,
                "signature": signature,
                "userHandle": self.user_handle,
            },
        }


def raw(given: str) -> bytes:
    return urlsafe_b64decode(given + "=" * (-len(given) % 4))


def text(given: bytes) -> str:
    return urlsafe_b64encode(given).rstrip(b"=").decode()


def plain(value: Any) -> Any:
    """Return what a browser's toJSON gives: bytes in base64url."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value


async def registered(client: httpx.AsyncClient, headers: dict[str, str], device: Device) -> dict[str, str]:
    asked = (await client.post("/v1/account/passkeys/challenge", headers=headers)).json()
    body = {"challenge": asked["challenge"], "credential": device.register(asked["options"]), "name": "Key"}
    answer = await client.post("/v1/account/passkeys", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    again = await client.post("/v1/account/passkeys", json=body, headers=browser(answer))
    assert again.status_code == 422, "the challenge is used up"
    return browser(answer)


async def sign_in(client: httpx.AsyncClient, device: Device, **changes: Any) -> httpx.Response:
    asked = (await client.post("/v1/session/passkey/challenge")).json()
    credential = device.sign(asked["options"], changes.get("origin", ORIGIN))
    body = {"challenge": changes.get("challenge", asked["challenge"]), "credential": credential}
    return await client.post("/v1/session/passkey", json=body)


async def test_a_passkey_is_two_factors_and_signs_in_alone(opened: Stack, tenant: UUID) -> None:
    who = await joined(opened, tenant, "administrator")
    device = Device()
    async with opened.client() as client:
        first = sent_by(await session(opened, tenant, who, mfa=False, ip=None))
        headers = await registered(client, first, device)
        assert (await client.get("/v1/users", headers=headers)).status_code == 200
        signed = await sign_in(client, device)
        assert (signed.json()["person"], signed.json()["second_factor"]) == (str(who), True)
        stale = sent_by(await session(opened, tenant, who, fresh=False, ip=None))
        asked = (await client.post("/v1/session/step-up/challenge", headers=stale)).json()
        answer = {"challenge": asked["challenge"], "credential": device.sign(asked["options"])}
        proved = await client.post("/v1/session/step-up", json={"passkey": answer}, headers=stale)
        assert (await client.get("/v1/session", headers=browser(proved))).json()["fresh"] is True
        again = await client.post("/v1/session/step-up", json={"passkey": answer}, headers=browser(proved))
        assert again.status_code == 422, "a challenge is good once"


async def test_right_passkeys_slow_down_nobody_at_the_same_address(opened: Stack, tenant: UUID) -> None:
    who = await joined(opened, tenant, "administrator")
    device = Device()
    async with opened.client() as client:
        await registered(client, sent_by(await session(opened, tenant, who, mfa=False, ip=None)), device)
        for _ in range(3):
            assert (await sign_in(client, device)).status_code == 200
        async with opened.database.connect() as connection:
            assert await connection.fetchval("SELECT sum(failures) FROM access.throttle") == 0
        assert (await sign_in(client, device, origin="https://evil.example.org")).status_code == 401
        async with opened.database.connect() as connection:
            assert round(await connection.fetchval("SELECT sum(failures) FROM access.throttle")) == 2


async def test_what_a_passkey_did_not_sign_for_us_just_now_is_refused(opened: Stack, tenant: UUID) -> None:
    who = await joined(opened, tenant, "coach")
    device, stranger = Device(), Device()
    async with opened.client() as client:
        await registered(client, sent_by(await session(opened, tenant, who, mfa=False, ip=None)), device)
        assert (await sign_in(client, device)).status_code == 200
        stranger.cred_init("localhost", b"x" * 16)
        assert (await sign_in(client, stranger)).status_code == 401, "nobody's"
        stranger.credential_id, stranger.sign_count = device.credential_id, 50
        assert (await sign_in(client, stranger)).status_code == 401, "another key under the same id"
        assert (await sign_in(client, device, origin="https://evil.example")).status_code == 401
        assert (await sign_in(client, device, challenge=str(uuid7()))).status_code == 401
        device.verifies = False
        assert (await sign_in(client, device)).status_code == 401, "without verifying its user"
        device.verifies = True
        device.sign_count = 0
        assert (await sign_in(client, device)).status_code == 401, "the counter of a copy"
        device.sign_count = 90
        assert (await sign_in(client, device)).status_code == 200
        asked = (await client.post("/v1/session/passkey/challenge")).json()
        async with opened.database.connect() as connection:
            await connection.execute("UPDATE access.challenge SET expires_at = now() - interval '1 s'")
        body = {"challenge": asked["challenge"], "credential": device.sign(asked["options"])}
        assert (await client.post("/v1/session/passkey", json=body)).status_code == 401, "too late"


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"rawId": 7},
        {"rawId": "!!"},
        {"rawId": "AAAA", "response": "x"},
        {"rawId": "AAAA", "id": "AAAA", "type": "public-key", "response": {"clientDataJSON": "e30"}},
        {"rawId": "A" * 2000, "id": [], "type": {}, "response": []},
    ],
)
async def test_rubbish_is_refused_like_any_other(opened: Stack, tenant: UUID, credential: dict[str, Any]) -> None:
    who = await joined(opened, tenant, "coach")
    async with opened.client() as client:
        asked = (await client.post("/v1/session/passkey/challenge")).json()
        body = {"challenge": asked["challenge"], "credential": credential}
        assert (await client.post("/v1/session/passkey", json=body)).status_code == 401
        headers = sent_by(await session(opened, tenant, who, mfa=False, ip=None))
        asked = (await client.post("/v1/account/passkeys/challenge", headers=headers)).json()
        body = {"challenge": asked["challenge"], "credential": credential}
        assert (await client.post("/v1/account/passkeys", json=body, headers=headers)).status_code == 422


async def test_one_persons_challenge_is_no_good_for_another(opened: Stack, tenant: UUID) -> None:
    mine, theirs = Device(), Device()
    async with opened.client() as client:
        people = [await joined(opened, tenant, "coach") for _ in range(2)]
        sessions = [sent_by(await session(opened, tenant, who, mfa=False, ip=None)) for who in people]
        asked = (await client.post("/v1/account/passkeys/challenge", headers=sessions[0])).json()
        body = {"challenge": asked["challenge"], "credential": mine.register(asked["options"])}
        assert (await client.post("/v1/account/passkeys", json=body, headers=sessions[1])).status_code == 422
        headers = await registered(client, sessions[1], theirs)
        asked = (await client.post("/v1/session/step-up/challenge", headers=headers)).json()
        signed = {"challenge": asked["challenge"], "credential": theirs.sign(asked["options"])}
        assert (await client.post("/v1/session/passkey", json=signed)).status_code == 401, "for another purpose"
