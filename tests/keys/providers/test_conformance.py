"""What each driver must do, whatever it talks to: the key ring above can't tell one from another."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
from base64 import b64encode
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from anchors.world import Reply
from keys.providers.drivers import Driver
from local_keys import SCOPE
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.keys.kms import EpochState, KeyPurpose, key_context
from wellkeep.keys.rows import new_row, open_row
from wellkeep.keys.scope import Scope

TENANT = UUID("0198c2f0-0000-7000-8000-0000000000aa")
CONTEXT = key_context(TENANT, KeyPurpose.WRAP, 1)
ALL = ("local", "aws", "aws-moto", "pkcs11", "transit")
OUTSIDE = ("aws", "transit")

every = pytest.mark.parametrize("driver", ALL, indirect=True)


@every
async def test_what_is_wrapped_opens_and_no_two_blobs_are_alike(driver: Driver) -> None:
    root, plain = driver.root(SCOPE, "one"), os.urandom(32)
    blobs = [await root.wrap(plain, context=CONTEXT) for _ in range(3)]
    assert [await driver.root(SCOPE, "one").unwrap(blob, context=CONTEXT) for blob in blobs] == [plain] * 3
    assert len(set(blobs)) == 3
    assert all(plain not in blob and len(blob) < 2**12 for blob in blobs)


@every
@pytest.mark.parametrize(
    "context",
    [
        key_context(uuid4(), KeyPurpose.WRAP, 1),
        key_context(TENANT, KeyPurpose.DATA, 1),
        key_context(TENANT, KeyPurpose.WRAP, 2),
    ],
    ids=["tenant", "purpose", "epoch"],
)
async def test_another_context_opens_nothing(driver: Driver, context: dict[str, str]) -> None:
    root = driver.root(SCOPE, "one")
    blob = await root.wrap(os.urandom(32), context=CONTEXT)
    with pytest.raises(IntegrityBroken):
        await root.unwrap(blob, context=context)


@every
@pytest.mark.parametrize(
    "scope",
    [replace(SCOPE, environment="production"), replace(SCOPE, deployment=uuid4())],
    ids=["environment", "deployment"],
)
async def test_another_environment_or_deployment_with_the_same_key_opens_nothing(driver: Driver, scope: Scope) -> None:
    blob = await driver.root(SCOPE, "one").wrap(os.urandom(32), context=CONTEXT)
    with pytest.raises(IntegrityBroken):
        await driver.root(scope, "one").unwrap(blob, context=CONTEXT)


@every
async def test_another_keys_blob_opens_nothing_whatever_it_names(driver: Driver) -> None:
    blob = await driver.root(SCOPE, "other").wrap(os.urandom(32), context=CONTEXT)
    with pytest.raises(_broken(driver)):
        await driver.root(SCOPE, "one").unwrap(blob, context=CONTEXT)


@every
async def test_what_was_cut_or_changed_in_one_bit_opens_nothing(driver: Driver) -> None:
    root = driver.root(SCOPE, "one")
    blob = await root.wrap(os.urandom(32), context=CONTEXT)
    touched = [blob[:-1], blob[1:], blob[:20], b"", b"\x00" * 63, blob + blob, os.urandom(200)]
    places = range(0, len(blob), max(len(blob) // 16, 1))
    touched += [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in places]
    for wrong in touched:
        with pytest.raises(_broken(driver)):
            await root.unwrap(wrong, context=CONTEXT)


@every
@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
async def test_only_32_bytes_are_wrapped(driver: Driver, size: int) -> None:
    with pytest.raises(Exception, match="32 bytes"):
        await driver.root(SCOPE, "one").wrap(bytes(size), context=CONTEXT)


@every
async def test_a_context_that_is_none_is_a_fault_of_ours(driver: Driver) -> None:
    root = driver.root(SCOPE, "one")
    for wrong in ({}, {"tenant": TENANT.hex}, CONTEXT | {"environment": "test"}):
        with pytest.raises(ValueError, match="encryption context"):
            await root.wrap(os.urandom(32), context=wrong)


@every
async def test_a_root_keys_name_is_stable_its_own_and_fits_the_database(driver: Driver) -> None:
    one, again, other = (driver.root(SCOPE, name).describe() for name in ("one", "one", "other"))
    assert one == again
    assert one.root != other.root
    for found in (one, other):
        assert found.root.startswith(found.driver + ":")
        assert len(found.root) <= 200
        assert not set(found.root) - set("abcdefghijklmnopqrstuvwxyz0123456789:/._-")
    assert driver.root(replace(SCOPE, environment="production"), "one").describe() == one


@pytest.mark.parametrize("driver", [name for name in ALL if name != "local"], indirect=True)
async def test_a_root_key_that_was_taken_away_is_a_revocation(driver: Driver) -> None:
    blob = await driver.root(SCOPE, "one").wrap(os.urandom(32), context=CONTEXT)
    assert driver.revoke is not None
    await driver.revoke()
    root = driver.root(SCOPE, "one")
    with pytest.raises(KeysRevoked):
        await root.unwrap(blob, context=CONTEXT)
    with pytest.raises(KeysRevoked):
        await root.wrap(os.urandom(32), context=CONTEXT)


@pytest.mark.parametrize("driver", OUTSIDE, indirect=True)
async def test_a_service_that_is_slow_revokes_nothing_and_keeps_nobody_waiting(driver: Driver) -> None:
    root = driver.root(SCOPE, "one")
    blob = await root.wrap(os.urandom(32), context=CONTEXT)
    assert driver.silence is not None
    await driver.silence()
    began = time.monotonic()
    with pytest.raises(KeysUnavailable):
        await root.unwrap(blob, context=CONTEXT)
    with pytest.raises(KeysUnavailable):
        await root.wrap(os.urandom(32), context=CONTEXT)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("driver", OUTSIDE, indirect=True)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(302, headers={"Location": "http://127.0.0.1:1/"}),
        Reply(307, headers={"Location": "/"}),
        Reply(200, b"<html>"),
        Reply(200, b"[" * 60_000),
        Reply(200, b'{"data": ' + b"1" * 60_000 + b"}"),
        Reply(404, b"<html>"),
        Reply(404, b'{"errors": "none"}'),
        Reply(502, b""),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n" + bytes(100_000)),
        Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n" + bytes(100_000)),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
        Reply(raw=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000),
        Reply(raw=b""),
    ],
    ids=(
        *(
            "redirect",
            "redirect-here",
            "html",
            "deep",
            "long-number",
            "gateways-404",
            "404-of-another-form",
            "empty-502",
        ),
        *("length-of-gigabytes", "endless-header", "endless-chunk", "no-gzip", "endless-hints", "hung-up"),
    ),
)
async def test_an_answer_that_is_none_revokes_nothing_and_destroys_nothing(driver: Driver, reply: Reply) -> None:
    root, epochs = driver.root(SCOPE, "one"), driver.epochs(SCOPE)
    blob = await root.wrap(os.urandom(32), context=CONTEXT)
    await epochs.create(1)
    assert driver.say is not None
    driver.say(reply)
    fresh, again = driver.root(SCOPE, "one"), driver.epochs(SCOPE)
    acts = [fresh.unwrap(blob, context=CONTEXT), root.unwrap(blob, context=CONTEXT), epochs.destroy(1)]
    for act in (*acts, fresh.wrap(os.urandom(32), context=CONTEXT), again.create(2), again.state(1)):
        await _refused(act, KeysUnavailable)
    driver.say(None)
    assert await again.state(1) is EpochState.USABLE


@every
async def test_what_a_service_is_spoken_to_with_stands_in_no_error_and_no_log(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    root, plain = driver.root(SCOPE, "one"), os.urandom(32)
    blob = await root.wrap(plain, context=CONTEXT)
    assert await root.unwrap(blob, context=CONTEXT) == plain
    told = [caplog.text, repr(root), repr(driver.epochs(SCOPE))]
    for act in (root.unwrap(blob[:-1] + b"0", context=CONTEXT), root.unwrap(b"", context=CONTEXT)):
        try:
            await act
        except (IntegrityBroken, KeysRevoked) as error:
            told += traceback.format_exception(error)
    if driver.revoke is not None:
        await driver.revoke()
        with pytest.raises(KeysRevoked) as refused:
            await driver.root(SCOPE, "one").unwrap(blob, context=CONTEXT)
        told += traceback.format_exception(refused.value)
    said = "".join([*told, caplog.text])
    secrets = (*driver.credentials, plain.hex(), b64encode(plain).decode(), repr(plain)[2:-1])
    assert [one for one in secrets if one in said] == []


@every
async def test_many_at_once_get_what_is_theirs(driver: Driver) -> None:
    root = driver.root(SCOPE, "one")
    contexts = [key_context(uuid4(), KeyPurpose.DATA, number) for number in range(1, 13)]
    plains = [os.urandom(32) for _ in contexts]
    blobs = await asyncio.gather(*(root.wrap(p, context=c) for p, c in zip(plains, contexts, strict=True)))
    opened = await asyncio.gather(*(root.unwrap(b, context=c) for b, c in zip(blobs, contexts, strict=True)))
    assert opened == plains


@every
async def test_an_epochs_key_is_made_once_opens_its_own_and_is_destroyed_for_good(driver: Driver) -> None:
    scope = replace(SCOPE, deployment=uuid4())
    epochs, plain = driver.epochs(scope), os.urandom(32)
    assert await epochs.state(1) is EpochState.GONE
    for epoch in (1, 2, 1):
        await epochs.create(epoch)
    first = await epochs.wrap(plain, epoch=1, context=CONTEXT)
    second = await epochs.wrap(plain, epoch=2, context=CONTEXT)
    assert await driver.epochs(scope).unwrap(first, epoch=1, context=CONTEXT) == plain
    for wrong in (epochs.unwrap(first, epoch=2, context=CONTEXT), epochs.unwrap(second, epoch=1, context=CONTEXT)):
        await _refused(wrong, *_broken(driver))
    now = SystemClock().now()
    from_when = await epochs.destroy(1)
    assert from_when >= now - timedelta(minutes=1)
    assert abs(await epochs.destroy(1) - from_when) < timedelta(minutes=1)
    assert await epochs.state(1) in (EpochState.GONE, EpochState.PENDING)
    assert await epochs.state(2) is EpochState.USABLE
    for other in (epochs, driver.epochs(scope)):
        for act in (other.unwrap(first, epoch=1, context=CONTEXT), other.wrap(plain, epoch=1, context=CONTEXT)):
            await _refused(act, KeysRevoked, KeysUnavailable)
    assert await epochs.unwrap(second, epoch=2, context=CONTEXT) == plain


@every
async def test_twins_who_make_an_epochs_key_at_once_share_one(driver: Driver) -> None:
    scope = replace(SCOPE, deployment=uuid4())
    twins = [driver.epochs(scope) for _ in range(4)]
    await asyncio.gather(*(twin.create(1) for twin in twins))
    plain = os.urandom(32)
    blob = await twins[0].wrap(plain, epoch=1, context=CONTEXT)
    assert [await twin.unwrap(blob, epoch=1, context=CONTEXT) for twin in twins] == [plain] * 4


@every
async def test_another_environments_epoch_keys_open_nothing(driver: Driver) -> None:
    scope = replace(SCOPE, deployment=uuid4())
    epochs = driver.epochs(scope)
    await epochs.create(1)
    blob = await epochs.wrap(os.urandom(32), epoch=1, context=CONTEXT)
    stranger = driver.epochs(replace(scope, environment="production"))
    await _refused(stranger.unwrap(blob, epoch=1, context=CONTEXT), IntegrityBroken, KeysUnavailable)


@every
async def test_a_tenants_key_is_split_between_root_and_epoch_and_either_alone_opens_nothing(driver: Driver) -> None:
    root, epochs = driver.root(SCOPE, "one"), driver.epochs(replace(SCOPE, deployment=uuid4()))
    await epochs.create(1)
    row = await new_row(root, epochs, tenant=TENANT, purpose=KeyPurpose.DATA, epoch=1, kms_epoch=1)
    assert len((await open_row(row, root, epochs, tenant=TENANT)).secret) == 32
    await _refused(open_row(row, root, epochs, tenant=uuid4()), IntegrityBroken)
    await epochs.destroy(1)
    await _refused(open_row(row, root, epochs, tenant=TENANT), KeysRevoked, KeysUnavailable)


def _broken(driver: Driver) -> tuple[type[Exception], ...]:
    """Return what a blob of another key is refused with; moto calls it AccessDenied where AWS says IncorrectKey."""
    return (IntegrityBroken, KeysRevoked) if driver.mistakes_keys else (IntegrityBroken,)


async def _refused(act: Awaitable[object], *kinds: type[Exception]) -> None:
    with pytest.raises(kinds):
        await act
