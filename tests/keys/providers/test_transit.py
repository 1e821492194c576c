"""The transit engine's stand-in: keys that are not fit, keys that appear by themselves, and a service that lies."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from anchors.world import Reply, answering, place, way_out
from keys.providers.drivers import PATIENT
from keys.providers.transit_fake import TOKEN, FakeTransit
from keys.rig import SetClock
from local_keys import SCOPE
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.keys.calling import Service
from wellkeep.keys.kms import EpochState, KeyPurpose, key_context
from wellkeep.keys.transit import TransitCalls, TransitEpochKeys, TransitKms

CONTEXT = key_context(uuid4(), KeyPurpose.DATA, 1)
PLAIN = os.urandom(32)


@asynccontextmanager
async def engine(
    fake: FakeTransit, folder: Path, *, mount: str = "transit", namespace: str | None = None
) -> AsyncIterator[tuple[TransitCalls, SetClock]]:
    token, clock = folder / "token", SetClock()
    token.write_text(TOKEN)
    token.chmod(0o600)
    async with answering(fake.handle) as server:
        service = Service(way_out(place("vault", server.port)), "vault", limits=PATIENT)
        yield (
            TransitCalls(service, mount=mount, namespace=namespace, token=token, scope=SCOPE, clock=clock),
            clock,
        )


@pytest.mark.parametrize(
    "unfit",
    [
        {"derived": False},
        {"exportable": True},
        {"allow_plaintext_backup": True},
        {"convergent_encryption": True},
        {"type": "rsa-4096"},
    ],
)
async def test_a_key_that_is_not_fit_wraps_and_opens_nothing(tmp_path: Path, unfit: dict[str, object]) -> None:
    """A key that is not derived takes any context, and says nothing."""
    fake = FakeTransit()
    fake.add("root", **unfit)
    async with engine(fake, tmp_path) as (calls, _):
        for act in (
            TransitKms(calls, key="root").wrap(PLAIN, context=CONTEXT),
            TransitKms(calls, key="root").unwrap(b"vault:v1:AAAA", context=CONTEXT),
        ):
            with pytest.raises(KeysUnavailable, match="derived"):
                await act


async def test_a_key_that_is_not_there_is_not_made_by_wrapping(tmp_path: Path) -> None:
    """The engine makes one where the policy lets it; what it wrapped would be lost with nobody knowing of the key."""
    fake = FakeTransit(upserts=True)
    async with engine(fake, tmp_path) as (calls, _):
        with pytest.raises(KeysRevoked):
            await TransitKms(calls, key="root").wrap(PLAIN, context=CONTEXT)
    assert not fake.keys


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (Reply(503, b'{"errors":["Vault is sealed"]}'), KeysUnavailable),
        (Reply(429, b'{"errors":["request path \\"x\\": rate limit quota exceeded"]}'), KeysUnavailable),
        (Reply(473, b""), KeysUnavailable),
        (Reply(500, b'{"errors":["internal error"]}'), KeysUnavailable),
        (Reply(400, b'{"errors":["something new"]}'), KeysUnavailable),
        (Reply(307, headers={"Location": "http://127.0.0.1:1/"}), KeysUnavailable),
        (Reply(200, b"<html>"), KeysUnavailable),
        (Reply(200, b'{"data":null}'), KeysUnavailable),
        (Reply(200, b'{"auth":{}}'), KeysUnavailable),
        (Reply(200, b'{"data":{"plaintext":"!"}}'), KeysUnavailable),
        (Reply(200, bytes(100_000)), KeysUnavailable),
        (Reply(403, b'{"errors":["permission denied"]}'), KeysRevoked),
        (Reply(400, b'{"errors":["encryption key not found"]}'), KeysRevoked),
        (Reply(400, b'{"errors":["key is soft-deleted"]}'), KeysRevoked),
        (Reply(400, b'{"errors":["ciphertext version is disallowed by policy (too old)"]}'), KeysRevoked),
        (Reply(500, b'{"errors":["cipher: message authentication failed"]}'), IntegrityBroken),
        (Reply(400, b'{"errors":["invalid ciphertext: unable to decrypt"]}'), IntegrityBroken),
        (Reply(200, b'{"data":{"plaintext":""}}'), IntegrityBroken),
        (Reply(200, b'{"data":{"plaintext":"' + b64encode(bytes(33)) + b'"}}'), IntegrityBroken),
    ],
)
async def test_an_answer_to_decrypting_is_told_apart(tmp_path: Path, reply: Reply, raised: type[Exception]) -> None:
    fake = FakeTransit()
    fake.add("root")
    async with engine(fake, tmp_path) as (calls, _):
        kms = TransitKms(calls, key="root")
        blob = await kms.wrap(PLAIN, context=CONTEXT)
        fake.replies["decrypt"] = reply
        with pytest.raises(raised):
            await kms.unwrap(blob, context=CONTEXT)


@pytest.mark.parametrize(
    "ciphertext",
    ["", "plain", "vault:v1:" + "A" * 2_000, "vault:v1:" + b64encode(PLAIN).decode()],
    ids=["empty", "no-wrapping", "too-long", "the-key-itself"],
)
async def test_a_wrapping_that_is_none_or_shows_the_key_is_refused(tmp_path: Path, ciphertext: str) -> None:
    fake = FakeTransit()
    fake.add("root")
    fake.replies["encrypt"] = Reply(200, json.dumps({"data": {"ciphertext": ciphertext}}).encode())
    async with engine(fake, tmp_path) as (calls, _):
        with pytest.raises(KeysUnavailable):
            await TransitKms(calls, key="root").wrap(PLAIN, context=CONTEXT)


async def test_a_key_is_looked_at_again_after_a_minute(tmp_path: Path) -> None:
    fake = FakeTransit()
    fake.add("root")
    async with engine(fake, tmp_path) as (calls, clock):
        kms = TransitKms(calls, key="root")
        blob = await kms.wrap(PLAIN, context=CONTEXT)
        fake.keys["root"]["soft_deleted"] = True
        assert await kms.unwrap(blob, context=CONTEXT) == PLAIN
        clock.passed += 61
        with pytest.raises(KeysRevoked):
            await kms.unwrap(blob, context=CONTEXT)


async def test_a_mount_that_is_not_there_is_no_key_that_is_gone(tmp_path: Path) -> None:
    """Else a mistyped mount would pass for a destruction."""
    async with engine(FakeTransit(), tmp_path, mount="elsewhere") as (calls, clock):
        epochs = TransitEpochKeys(calls, clock=clock)
        for act in (epochs.state(1), epochs.destroy(1)):
            with pytest.raises(KeysUnavailable):
                await act


@pytest.mark.parametrize("body", [b"{}", b'{"message":"no Route matched"}', b"", b"null", b'{"errors":null}', b"[]"])
async def test_a_gateways_404_is_no_key_that_is_gone(tmp_path: Path, body: bytes) -> None:
    """A certificate of erasure would else name a destruction that was none, and every tenant be taken for revoked."""
    fake = FakeTransit()
    async with engine(fake, tmp_path) as (calls, clock):
        epochs = TransitEpochKeys(calls, clock=clock)
        await epochs.create(1)
        fake.replies["*"] = Reply(404, body)
        for act in (epochs.state(1), epochs.destroy(1), epochs.wrap(PLAIN, epoch=1, context=CONTEXT)):
            with pytest.raises(KeysUnavailable):
                await act


async def test_a_deletion_that_the_engine_only_pretends_is_none(tmp_path: Path) -> None:
    fake = FakeTransit()
    async with engine(fake, tmp_path) as (calls, clock):
        epochs = TransitEpochKeys(calls, clock=clock)
        await epochs.create(1)
        kept = dict(fake.keys)
        fake.keys = _Stays(kept)
        with pytest.raises(KeysUnavailable, match="still has"):
            await epochs.destroy(1)
        assert await epochs.state(1) is EpochState.USABLE


async def test_the_namespace_goes_along_and_the_token_is_read_at_each_call(tmp_path: Path) -> None:
    fake = FakeTransit()
    fake.add("root")
    async with engine(fake, tmp_path, namespace="team/health") as (calls, _):
        kms = TransitKms(calls, key="root")
        await kms.wrap(PLAIN, context=CONTEXT)
        assert set(fake.namespaces) == {"team/health"}
        fake.token = "hvs.renewed"
        (tmp_path / "token").write_text("hvs.renewed\n")
        await kms.wrap(PLAIN, context=CONTEXT)
        (tmp_path / "token").unlink()
        with pytest.raises(KeysUnavailable, match="secrets/"):
            await kms.wrap(PLAIN, context=CONTEXT)


async def test_a_root_keys_name_says_where_it_is(tmp_path: Path) -> None:
    async with engine(FakeTransit(), tmp_path) as (calls, _):
        assert TransitKms(calls, key="root").describe().root == "transit:vault/transit/root"
        assert replace(SCOPE) == calls.scope


class _Stays(dict[str, dict[str, Any]]):
    def __delitem__(self, key: str) -> None:
        """Keep it."""
