"""AWS KMS as it is, and as it may become: slow, gone, throttling, lying, or without our key."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from anchors.world import Asked, Reply, answering
from keys.providers.aws_fake import Error, FakeAws, Key
from keys.providers.drivers import REGION, aws_calls, credentials, service_on
from keys.rig import SetClock
from local_keys import SCOPE, epoch_keys
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable, Misconfigured
from wellkeep.keys.aws import AwsEpochKeys, AwsKms
from wellkeep.keys.aws_calls import AwsCalls
from wellkeep.keys.aws_identity import StoredIdentity, WebIdentity
from wellkeep.keys.calling import Counted
from wellkeep.keys.kms import EpochState, KeyPurpose, key_context
from wellkeep.keys.ring_calls import KeyCalls
from wellkeep.keys.rows import new_row, open_row

TENANT = uuid4()
CONTEXT = key_context(TENANT, KeyPurpose.DATA, 1)
PLAIN = os.urandom(32)


def root(port: int, key: Key, clock: SetClock | None = None) -> AwsKms:
    clock = clock or SetClock()
    return AwsKms(aws_calls(port), arn=key.arn, scope=SCOPE, clock=clock)


@pytest.mark.parametrize(
    ("kind", "status", "raised"),
    [
        ("ThrottlingException", 400, KeysUnavailable),
        ("LimitExceededException", 400, KeysUnavailable),
        ("KMSInternalException", 500, KeysUnavailable),
        ("DependencyTimeoutException", 503, KeysUnavailable),
        ("KeyUnavailableException", 500, KeysUnavailable),
        ("SomethingNewException", 400, KeysUnavailable),
        ("UnrecognizedClientException", 400, KeysUnavailable),
        ("ExpiredTokenException", 400, KeysUnavailable),
        ("AccessDeniedException", 400, KeysRevoked),
        ("DisabledException", 400, KeysRevoked),
        ("KMSInvalidStateException", 400, KeysRevoked),
        ("NotFoundException", 400, KeysRevoked),
        ("InvalidCiphertextException", 400, IntegrityBroken),
        ("IncorrectKeyException", 400, IntegrityBroken),
    ],
)
async def test_a_refusal_is_told_apart_by_its_name(kind: str, status: int, raised: type[Exception]) -> None:
    fake = FakeAws()
    key = fake.add()
    async with answering(fake.handle) as server:
        kms = root(server.port, key)
        blob = await kms.wrap(PLAIN, context=CONTEXT)
        fake.errors["Decrypt"] = Error(kind, status)
        with pytest.raises(raised) as refused:
            await kms.unwrap(blob, context=CONTEXT)
    assert "secret detail" not in str(refused.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>"),
        Reply(200, b"{}"),
        Reply(200, b'{"KeyId": 7, "Plaintext": "AAAA"}'),
        Reply(200, b'{"KeyId": "k", "Plaintext": "not base64!"}'),
        Reply(200, b"\xff\xfe"),
        Reply(500, b""),
        Reply(429, b"{}"),
        Reply(403, b"<AccessDenied/>"),
        Reply(302, headers={"Location": "https://elsewhere.example.org/"}),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)),
        Reply(raw=b"SSH-2.0\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"),
    ],
)
@pytest.mark.parametrize("action", ["Decrypt", "Encrypt", "DescribeKey"])
async def test_rubbish_revokes_nothing_and_is_no_key(reply: Reply, action: str) -> None:
    fake = FakeAws()
    key = fake.add()
    async with answering(fake.handle) as server:
        blob = await root(server.port, key).wrap(PLAIN, context=CONTEXT)
        fake.replies[action] = reply
        kms = root(server.port, key)
        with pytest.raises(KeysUnavailable):
            await (kms.wrap(PLAIN, context=CONTEXT) if action == "Encrypt" else kms.unwrap(blob, context=CONTEXT))


async def test_an_error_whose_type_stands_in_the_header_alone_is_understood() -> None:
    fake = FakeAws()
    key = fake.add()
    fake.replies["Encrypt"] = Reply(400, b"", headers={"x-amzn-ErrorType": "DisabledException:http://internal/"})
    async with answering(fake.handle) as server:
        with pytest.raises(KeysRevoked):
            await root(server.port, key).wrap(PLAIN, context=CONTEXT)


async def test_nothing_that_listens_is_unavailable() -> None:
    fake = FakeAws()
    async with answering(fake.handle) as server:
        kms = root(server.port, fake.add())
    with pytest.raises(KeysUnavailable):
        await kms.wrap(PLAIN, context=CONTEXT)


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion", "PendingImport", "Unavailable"])
async def test_a_key_that_is_disabled_is_revoked_also_where_the_service_still_opens_with_it(state: str) -> None:
    """Moto does, and a real KMS may for a while."""
    fake, clock = FakeAws(opens_disabled=True), SetClock()
    key = fake.add()
    async with answering(fake.handle) as server:
        kms = root(server.port, key, clock)
        blob = await kms.wrap(PLAIN, context=CONTEXT)
        key.state = state
        assert await kms.unwrap(blob, context=CONTEXT) == PLAIN  # it was looked at a moment ago
        clock.passed += 61
        with pytest.raises(KeysRevoked):
            await kms.unwrap(blob, context=CONTEXT)
        key.state = "Enabled"
        assert await kms.unwrap(blob, context=CONTEXT) == PLAIN


async def test_a_key_is_described_once_a_minute_and_only_when_it_is_used() -> None:
    fake, clock = FakeAws(), SetClock()
    key = fake.add()
    async with answering(fake.handle) as server:
        kms = root(server.port, key, clock)
        for _ in range(5):
            await kms.wrap(PLAIN, context=CONTEXT)
        assert fake.calls == {"DescribeKey": 1, "Encrypt": 5}
        clock.passed += 3_600
        await kms.wrap(PLAIN, context=CONTEXT)
        assert fake.calls["DescribeKey"] == 2


async def test_who_may_not_describe_the_key_goes_by_what_each_call_says() -> None:
    fake = FakeAws(errors={"DescribeKey": Error("AccessDeniedException")})
    key = fake.add()
    async with answering(fake.handle) as server:
        kms = root(server.port, key)
        blob = await kms.wrap(PLAIN, context=CONTEXT)
        assert await kms.unwrap(blob, context=CONTEXT) == PLAIN
        key.state = "Disabled"
        with pytest.raises(KeysRevoked):
            await kms.unwrap(blob, context=CONTEXT)


async def test_a_key_for_signatures_is_not_taken() -> None:
    fake = FakeAws()
    async with answering(fake.handle) as server:
        with pytest.raises(KeysRevoked):
            await root(server.port, fake.add(usage="SIGN_VERIFY")).wrap(PLAIN, context=CONTEXT)


async def test_another_keys_answer_is_refused_whatever_it_opens() -> None:
    """A service that opens with any key it has says so in its answer, or lies about it."""
    fake = FakeAws(opens_with_any=True)
    one, other = fake.add(), fake.add()
    async with answering(fake.handle) as server:
        blob = await root(server.port, other).wrap(PLAIN, context=CONTEXT)
        with pytest.raises(IntegrityBroken):
            await root(server.port, one).unwrap(blob, context=CONTEXT)
        fake.says = other.arn
        with pytest.raises(KeysUnavailable):
            await root(server.port, one).wrap(PLAIN, context=CONTEXT)


async def test_a_service_that_opens_in_any_context_is_found_out_by_the_keys_commitment() -> None:
    """Two tenants' shares are swapped in the database; such a service opens both, and neither is used."""
    fake = FakeAws(ignores_context=True)
    epochs = epoch_keys(1)
    async with answering(fake.handle) as server:
        kms = root(server.port, fake.add())
        other = uuid4()
        mine, theirs = [
            await new_row(kms, epochs, tenant=tenant, purpose=KeyPurpose.DATA, epoch=1, kms_epoch=1)
            for tenant in (TENANT, other)
        ]
        assert await open_row(mine, kms, epochs, tenant=TENANT)
        with pytest.raises(IntegrityBroken):
            await open_row(theirs, kms, epochs, tenant=TENANT)


@pytest.mark.parametrize("size", [0, 31, 33, 4_096])
async def test_an_answer_that_is_no_key_is_broken(size: int) -> None:
    fake = FakeAws(plain=bytes(size) or None)
    key = fake.add()
    async with answering(fake.handle) as server:
        kms = root(server.port, key)
        blob = await kms.wrap(PLAIN, context=CONTEXT)
        if not size:
            fake.replies["Decrypt"] = Reply(200, b'{"KeyId": "' + key.arn.encode() + b'", "Plaintext": ""}')
        with pytest.raises(IntegrityBroken):
            await kms.unwrap(blob, context=CONTEXT)


@pytest.mark.parametrize("blob", [b"", bytes(7_000)])
async def test_a_wrapping_that_is_none_is_refused_and_so_is_one_that_shows_the_key(blob: bytes) -> None:
    fake = FakeAws()
    key = fake.add()
    async with answering(fake.handle) as server:
        kms = root(server.port, key)
        for shown in (blob, b"x" + PLAIN):
            fake.replies["Encrypt"] = Reply(200, _encrypted(key, shown))
            with pytest.raises(KeysUnavailable):
                await kms.wrap(PLAIN, context=CONTEXT)


async def test_an_alias_that_points_to_another_key_wraps_nothing_of_an_epoch() -> None:
    """Else it would be wrapped by a key that no roll destroys."""
    fake = FakeAws()
    async with answering(fake.handle) as server:
        epochs = AwsEpochKeys(aws_calls(server.port), scope=SCOPE, wait_days=7, clock=SetClock())
        await epochs.create(1)
        fake.aliases[f"alias/wellkeep-{SCOPE.deployment}-epoch-1"] = fake.add(description="kept for ever").arn
        for act in (epochs.wrap(PLAIN, epoch=1, context=CONTEXT), epochs.destroy(1), epochs.state(1), epochs.create(1)):
            with pytest.raises(IntegrityBroken):
                await act


async def test_an_epochs_destruction_names_its_date_and_can_be_seen_to_be_cancelled() -> None:
    fake, clock = FakeAws(), SetClock()
    async with answering(fake.handle) as server:
        epochs = AwsEpochKeys(aws_calls(server.port), scope=SCOPE, wait_days=30, clock=clock)
        await epochs.create(1)
        blob = await epochs.wrap(PLAIN, epoch=1, context=CONTEXT)
        expected = datetime.fromtimestamp(4_000_000_000, UTC) + timedelta(days=30)
        assert [await epochs.destroy(1) for _ in range(2)] == [expected] * 2
        assert fake.calls["ScheduleKeyDeletion"] == 1
        assert await epochs.state(1) is EpochState.PENDING
        with pytest.raises(KeysRevoked):
            await epochs.unwrap(blob, epoch=1, context=CONTEXT)
        with pytest.raises(KeysRevoked):
            await epochs.create(1)
        next(iter(fake.keys.values())).state = "Enabled"
        assert await epochs.state(1) is EpochState.USABLE
        fake.keys.clear()
        assert await epochs.state(1) is EpochState.GONE
        assert await epochs.destroy(1) == clock.now()


async def test_a_twin_who_came_second_takes_its_key_back() -> None:
    fake = FakeAws()
    described = f"wellkeep {SCOPE.deployment} {SCOPE.environment} epoch 1"
    winner = fake.add(description=described)

    async def late(asked: Asked) -> Reply:
        if asked.headers["x-amz-target"].endswith("CreateAlias"):
            fake.aliases.setdefault(f"alias/wellkeep-{SCOPE.deployment}-epoch-1", winner.arn)
        return await fake.handle(asked)

    async with answering(late) as server:
        epochs = AwsEpochKeys(aws_calls(server.port), scope=SCOPE, wait_days=7, clock=SetClock())
        await epochs.create(1)
    states = {key.arn == winner.arn: key.state for key in fake.keys.values()}
    assert states == {True: "Enabled", False: "PendingDeletion"}


async def test_requests_are_signed_for_kms_and_no_redirect_or_other_key_is_asked() -> None:
    fake = FakeAws()
    key = fake.add()
    async with answering(fake.handle) as server:
        await root(server.port, key).wrap(PLAIN, context=CONTEXT)
        signed = server.asked[-1].headers["authorization"]
        assert f"/{REGION}/kms/aws4_request" in signed
        assert all(key.arn.encode() in asked.body for asked in server.asked)


async def test_a_role_is_assumed_by_a_token_and_anew_before_it_ends(tmp_path: Path) -> None:
    fake, clock, token = FakeAws(), SetClock(), tmp_path / "token"
    key = fake.add()
    token.write_text("eyJhbGciOi.one\n")
    fake.expires = "2026-01-01T01:00:00Z"
    async with answering(fake.handle) as server:
        calls = AwsCalls(service_on(server.port), region=REGION, identity=_web(server.port, token, clock), clock=clock)
        kms = AwsKms(calls, arn=key.arn, scope=SCOPE, clock=clock)
        for _ in range(3):
            await kms.wrap(PLAIN, context=CONTEXT)
        assert len(fake.tokens) == 1
        assert "WebIdentityToken=eyJhbGciOi.one" in fake.tokens[0]
        assert "Credential=ASIAIOSFODNN7EXAMPLE/" in fake.signed_by[-1]
        assert all("x-amz-security-token" in asked.headers for asked in server.asked if "x-amz-target" in asked.headers)
        clock.passed += 3_400
        token.write_text("eyJhbGciOi.two")
        await kms.wrap(PLAIN, context=CONTEXT)
        assert "WebIdentityToken=eyJhbGciOi.two" in fake.tokens[-1]


@pytest.mark.parametrize("expires", ["", "soon", "2026-01-01T00:00:00", "2026-99-01T00:00:00Z"])
async def test_a_session_that_can_not_be_read_is_no_identity(tmp_path: Path, expires: str) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    async with answering(FakeAws(expires=expires).handle) as server:
        with pytest.raises(KeysUnavailable):
            await _web(server.port, token, SetClock()).credentials()


async def test_a_token_that_is_missing_or_a_role_that_is_refused_is_unavailable(tmp_path: Path) -> None:
    async with answering(FakeAws().handle) as server:
        for content in (None, "", "é", "x" * 30_000):
            token = tmp_path / "token"
            if content is not None:
                token.write_text(content)
            with pytest.raises(KeysUnavailable):
                await _web(server.port, token, SetClock()).credentials()

    async def refuse(_: Asked) -> Reply:
        return Reply(403, b"<ErrorResponse/>")

    (tmp_path / "token").write_text("t")
    async with answering(refuse) as server:
        with pytest.raises(KeysUnavailable):
            await _web(server.port, tmp_path / "token", SetClock()).credentials()


async def test_credentials_that_went_bad_while_it_runs_are_unavailable() -> None:
    def read() -> object:
        raise Misconfigured("gone")

    with pytest.raises(KeysUnavailable):
        await StoredIdentity(read).credentials()  # type: ignore[arg-type]
    assert (await StoredIdentity(credentials).credentials()).access_key_id == "AKIATEST"


def _web(port: int, token: Path, clock: SetClock | SystemClock) -> WebIdentity:
    return WebIdentity(service_on(port), role="arn:aws:iam::123456789012:role/wellkeep", token=token, clock=clock)


def _encrypted(key: Key, blob: bytes) -> bytes:
    return msgspec.json.encode({"KeyId": key.arn, "CiphertextBlob": blob})


async def test_looks_at_a_key_are_counted_among_the_calls() -> None:
    """AWS bills and throttles them like any other."""
    fake, counted, clock = FakeAws(), Counted(), SetClock()
    key = fake.add()
    identity = StoredIdentity(credentials)
    async with answering(fake.handle) as server:
        service = service_on(server.port)
        calls = AwsCalls(service, region=REGION, identity=identity, clock=SystemClock(), counted=counted)
        kms = AwsKms(calls, arn=key.arn, scope=SCOPE, clock=clock)
        for _ in range(2):
            await kms.wrap(PLAIN, context=CONTEXT)
            await kms.wrap(PLAIN, context=CONTEXT)
            clock.passed += 61
    ring = KeyCalls(clock=clock, seconds=1.0)
    ring.include(counted)
    assert ring.counts == {("aws", "described"): fake.calls["DescribeKey"]} == {("aws", "described"): 2}


@pytest.mark.parametrize("date", [1e300, -1e300, 4e12], ids=["far", "long-past", "year-128000"])
async def test_a_date_of_deletion_that_is_none_is_rubbish_like_any_other(date: float) -> None:
    """It is what certificates of erasure name."""
    fake = FakeAws()
    async with answering(fake.handle) as server:
        epochs = AwsEpochKeys(aws_calls(server.port), scope=SCOPE, wait_days=7, clock=SetClock())
        await epochs.create(1)
        (key,) = fake.keys.values()
        key.state, key.deletion = "PendingDeletion", date
        with pytest.raises(KeysUnavailable):
            await epochs.destroy(1)
