"""A locked bucket: what is put is under COMPLIANCE until the date, is read back, and nothing else counts."""

from __future__ import annotations

import json
import random
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anchors.moto import PROGRAM, Moto
from anchors.world import ORIGIN, REDIRECT, Asked, Handler, Reply, always, answering, end, never, outside, published
from anchors.world import trouble as trouble_of
from ledger.signing import SIGNER
from wellkeep.base.anchor_settings import S3Anchor
from wellkeep.base.clock import SystemClock
from wellkeep.base.secrets import Secret
from wellkeep.crypto.notes import NoteSigner
from wellkeep.egress import sigv4
from wellkeep.egress.sigv4 import Credentials
from wellkeep.ledger.anchors import reading_back, s3
from wellkeep.ledger.anchors.anchor import NEWEST, AnchorFailed, Seen, Trouble
from wellkeep.ledger.anchors.s3 import S3

FOLDER = "wellkeep.test_ledger_root/"
KEY = f"{FOLDER}9999999999999992-7.note"
LOCKS = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
LISTED = f"<R><Version><Key>{KEY}</Key><VersionId>v1</VersionId></Version></R>".encode()
UNTIL = "2099-01-01T00:00:00Z"
LOCKED = {
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": UNTIL,
    "x-amz-meta-retain-until": UNTIL,
}


def anchor(
    port: int, bucket: str, *, token: str | None = None, handler: Handler | None = None, **changes: object
) -> S3:
    told: dict[str, Any] = {
        "name": "bucket",
        "place": "anchor",
        "bucket": bucket,
        "region": "eu-central-1",
        "credentials": "s3.json",
    }
    credentials = Credentials("AKIATEST", Secret("secret"), None if token is None else Secret(token))
    settings = S3Anchor(**(told | changes))
    way = outside(port, handler=handler)
    return S3(way, settings=settings, credentials=lambda: credentials, signers=[SIGNER], clock=SystemClock())


def store(*, lock: Reply | None = None, listing: Reply | None = None, kept: Reply | None = None) -> Handler:
    """Return an S3 that answers as told; without, that it has a lock, lists one version, and gives our note back."""

    async def handler(asked: Asked) -> Reply:
        if "object-lock" in asked.target:
            return lock or Reply(body=LOCKS)
        if "versions" in asked.target:
            return listing or Reply(body=LISTED)
        return Reply() if asked.method == "PUT" else kept or Reply(body=end()[0], headers=LOCKED)

    return handler


def put(moto: Moto, target: str, content: bytes) -> None:
    """Put under lock, as whoever has the credentials can."""
    headers = LOCKED | {"x-amz-sdk-checksum-algorithm": "SHA256"}
    moto.ask("PUT", target, headers=headers, content=content.decode())


def _name(size: int) -> str:
    return f"{10**16 - 1 - size:016d}-{size}.note"


def sizes(notes: tuple[bytes, ...]) -> list[int]:
    return [int(note.split(b"\n")[1]) for note in notes]


async def test_a_note_is_put_under_lock_once_and_read_back(moto: Moto) -> None:
    bucket = moto.bucket(locked=True)
    one = anchor(moto.port, bucket, prefix="health/")
    note, receipt = await published(one)
    told = json.loads(receipt)
    days = (datetime.fromisoformat(told["retain_until"]) - datetime.now(UTC)) / timedelta(days=1)
    assert 2_556 < days <= 2_557
    assert (await one.seen(ORIGIN, None)).notes == (note,)
    again = json.loads((await published(one))[1])
    assert (again["version"], again["key"]) == (told["version"], told["key"])
    assert not (await one.seen(f"{ORIGIN}/2", None)).notes


async def test_the_newest_are_seen_first(moto: Moto) -> None:
    one = anchor(moto.port, moto.bucket(locked=True))
    for size in (7, 9, 40, 10, 11, 12, 13, 14, 15, 30):
        await published(one, size)
    assert sizes((await one.seen(ORIGIN, None)).notes) == [40, 30, 15, 14, 13, 12, 11, 10]


async def test_a_receipt_is_for_one_note(moto: Moto) -> None:
    one = anchor(moto.port, moto.bucket(locked=True))
    _, receipt = await published(one)
    unzoned = json.dumps(json.loads(receipt) | {"at": "2026-01-01T00:00:00"}).encode()
    for bad, note in ((receipt, end(8)[0]), (b"{}", end()[0]), (unzoned, end()[0])):
        with pytest.raises(AnchorFailed, match="not-proven"):
            one.check(bad, note)


async def test_an_object_whose_name_goes_on_is_another(moto: Moto) -> None:
    bucket = moto.bucket(locked=True)
    moto.ask("PUT", f"/{bucket}/{KEY}.more", content="not of ours")
    await published(anchor(moto.port, bucket))


async def test_a_bucket_without_a_lock_is_refused_and_gets_nothing(moto: Moto) -> None:
    bucket = moto.bucket(locked=False)
    assert await trouble_of(anchor(moto.port, bucket)) is Trouble.NOT_LOCKED
    assert b"<Key>" not in moto.ask("GET", f"/{bucket}?versions")
    assert await trouble_of(anchor(moto.port, "wk-none")) is Trouble.NOT_LOCKED


async def test_a_deletion_or_a_later_version_hides_nothing(moto: Moto) -> None:
    bucket = moto.bucket(locked=True)
    one = anchor(moto.port, bucket)
    note, _ = await published(one)
    moto.ask("PUT", f"/{bucket}/{KEY}", content="another past")
    moto.ask("PUT", f"/{bucket}/{KEY}.more", content="not of ours")
    moto.ask("DELETE", f"/{bucket}/{KEY}")
    assert await one.seen(ORIGIN, None) == Seen((note,), trouble=Trouble.ALTERED)
    assert (await published(one))[0] == note


async def test_old_notes_under_keys_that_sort_first_hide_nothing(moto: Moto) -> None:
    bucket = moto.bucket(locked=True)
    one = anchor(moto.port, bucket)
    old, newest = [(await published(one, size))[0] for size in (7, 14)]
    for number in range(NEWEST):
        put(moto, f"/{bucket}/{FOLDER}{number:016d}-7.note", old)
    for size in (20, 21):
        put(moto, f"/{bucket}/{FOLDER}{_name(size)}", old)
    put(moto, f"/{bucket}/{FOLDER}{_name(22)}", end(22, name=f"{ORIGIN}/2")[0])
    put(moto, f"/{bucket}/{FOLDER}{_name(23)}", b"no note")
    moto.ask("PUT", f"/{bucket}/{FOLDER}{_name(24)}", content=end(24)[0].decode())
    assert await one.seen(ORIGIN, None) == Seen((newest, old), trouble=Trouble.ALTERED)


async def test_locked_notes_that_nobody_of_ours_signed_hide_nothing(moto: Moto) -> None:
    """In their right places, under lock, more than are handed on: whoever has the credentials can put them there."""
    bucket = moto.bucket(locked=True)
    one = anchor(moto.port, bucket)
    note, _ = await published(one)
    stranger = NoteSigner(name=ORIGIN, seed=Secret(b"z" * 32))
    for size in range(20, 21 + NEWEST):
        put(moto, f"/{bucket}/{FOLDER}{_name(size)}", stranger.sign(end(size)[1].body()))
    assert await one.seen(ORIGIN, None) == Seen((note,), trouble=Trouble.ALTERED)


async def test_a_listing_is_followed_to_its_end(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_LISTED", "3")
    bucket = moto.bucket(locked=True)
    one = anchor(moto.port, bucket)
    old, newest = [(await published(one, size))[0] for size in (7, 14)]
    for _ in range(4):
        moto.ask("DELETE", f"/{bucket}/{FOLDER}{_name(14)}")
        moto.ask("PUT", f"/{bucket}/{FOLDER}{_name(14)}", content="another past")
    assert await one.seen(ORIGIN, None) == Seen((newest, old))
    assert (await published(one, 14))[0] == newest


async def test_a_listing_without_end_is_told_with_what_was_found(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_LISTED", "2")
    monkeypatch.setattr(s3, "_MOST_PAGES", 2)
    bucket = moto.bucket(locked=True)
    one = anchor(moto.port, bucket)
    _, newest = [(await published(one, size))[0] for size in (7, 14)]
    for _ in range(4):
        moto.ask("PUT", f"/{bucket}/{KEY}", content="another past")
    assert await one.seen(ORIGIN, None) == Seen((newest,), trouble=Trouble.CROWDED)
    assert await trouble_of(one) is Trouble.CROWDED


async def test_so_many_objects_are_read_and_no_more(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_back, "MOST_READ", 2)
    bucket = moto.bucket(locked=True)
    one = anchor(moto.port, bucket)
    note, _ = await published(one)
    for size in (20, 21):
        moto.ask("PUT", f"/{bucket}/{FOLDER}{_name(size)}", content="no note")
    with pytest.raises(AnchorFailed, match="crowded"):
        await one.seen(ORIGIN, None)
    monkeypatch.setattr(reading_back, "MOST_READ", 3)
    assert await one.seen(ORIGIN, None) == Seen((note,), trouble=Trouble.NOT_LOCKED)


async def test_a_store_that_goes_down_while_it_is_read() -> None:
    async with answering(store(kept=Reply(503))) as server:
        with pytest.raises(AnchorFailed, match="unreachable"):
            await anchor(server.port, "wk-bucket").seen(ORIGIN, None)


async def test_a_name_that_is_ours_but_for_a_space_or_a_control_is_another() -> None:
    versions = "".join(
        f"<Version><Key>{key}</Key><VersionId>v1</VersionId></Version>"
        for key in (KEY.replace("/", "%2F"), f"{KEY}+", f"{KEY}%01", f"{KEY}%252E")
    )
    listing = Reply(body=f"<R><EncodingType>url</EncodingType>{versions}</R>".encode())
    async with answering(store(listing=listing)) as server:
        found = await anchor(server.port, "wk-bucket").seen(ORIGIN, None)
    assert found == Seen((end()[0],), trouble=Trouble.ALTERED)
    assert sum("versionId" in asked.target for asked in server.asked) == 1


@pytest.mark.parametrize(
    ("changes", "content", "expected"),
    [
        ({}, "other", Trouble.ALTERED),
        ({"x-amz-object-lock-mode": "GOVERNANCE"}, None, Trouble.NOT_LOCKED),
        ({"x-amz-object-lock-retain-until-date": "2098-12-31T23:59:59Z"}, None, Trouble.NOT_LOCKED),
        ({"x-amz-meta-retain-until": "soon"}, None, Trouble.NOT_LOCKED),
        ({"x-amz-meta-retain-until": "2090-01-01T00:00:00"}, None, Trouble.NOT_LOCKED),
    ],
    ids=["bytes", "governance", "shorter", "unsaid", "unzoned"],
)
async def test_what_lies_there_already_must_be_ours_and_locked(
    moto: Moto, changes: dict[str, str], content: str | None, expected: Trouble
) -> None:
    bucket = moto.bucket(locked=True)
    headers = LOCKED | changes | {"x-amz-sdk-checksum-algorithm": "SHA256"}
    moto.ask("PUT", f"/{bucket}/{KEY}", headers=headers, content=content or end()[0].decode())
    assert await trouble_of(anchor(moto.port, bucket)) is expected


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (store(listing=Reply(body=b"<R/>")), Trouble.NOT_KEPT),
        (store(kept=Reply(404)), Trouble.NOT_KEPT),
        (store(kept=Reply(body=end()[0])), Trouble.NOT_LOCKED),
        (store(kept=Reply(403)), Trouble.REFUSED),
        (store(lock=Reply(body=b"<C><ObjectLockEnabled/></C>")), Trouble.NOT_LOCKED),
        (store(lock=Reply(body=b"<!DOCTYPE x><C/>")), Trouble.RUBBISH),
        (
            store(lock=Reply(body='<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x><C/>'.encode("utf-16"))),
            Trouble.RUBBISH,
        ),
        (store(lock=Reply(body=LOCKS.decode().encode("utf-16"))), Trouble.RUBBISH),
        (store(lock=Reply(body=b"no XML")), Trouble.RUBBISH),
        (store(listing=Reply(body=b"<R><IsTruncated>true</IsTruncated></R>")), Trouble.RUBBISH),
        (store(lock=Reply(403)), Trouble.REFUSED),
        (store(listing=Reply(503)), Trouble.UNREACHABLE),
        (always(REDIRECT), Trouble.REFUSED),
        (always(Reply(raw=b"220 welcome\r\n")), Trouble.UNREACHABLE),
        (never, Trouble.UNREACHABLE),
    ],
    ids=[
        *("keeps-nothing", "lost", "says-no-lock", "gives-nothing-back", "lock-unsaid", "entities"),
        *("entities-in-utf-16", "utf-16", "no-xml", "goes-on-from-nowhere"),
        *("forbidden", "down", "redirecting", "no-http", "slow"),
    ],
)
async def test_a_store_that_lies_or_fails(handler: Handler, expected: Trouble) -> None:
    async with answering(handler) as server:
        assert await trouble_of(anchor(server.port, "wk-bucket", handler=handler)) is expected


async def test_nothing_answers() -> None:
    async with answering(never) as server:
        port = server.port
    assert await trouble_of(anchor(port, "wk-bucket")) is Trouble.UNREACHABLE


async def test_the_bucket_in_the_host_s_name_and_a_session_s_token() -> None:
    async with answering(store()) as server:
        one = anchor(server.port, "wk-bucket", path_style=False, token="of-an-hour")
        await published(one)
        await published(one)
    assert {asked.target.partition("?")[0] for asked in server.asked} == {"/", f"/{KEY}"}
    assert all(asked.headers["x-amz-security-token"] == "of-an-hour" for asked in server.asked)
    assert sum("object-lock" in asked.target for asked in server.asked) == 1, "the bucket is asked once a process"


_BOTOCORE = """
import json, sys, datetime
from botocore import auth, awsrequest, credentials
now = ""
class Fixed(datetime.datetime):
    @classmethod
    def utcnow(cls): return cls.fromisoformat(now)
    @classmethod
    def now(cls, zone=None): return cls.fromisoformat(now).replace(tzinfo=zone)
auth.datetime = Fixed if hasattr(auth.datetime, "utcnow") else auth.datetime
auth.get_current_datetime = lambda remove_tzinfo=True: Fixed.fromisoformat(now)
signed = []
for asked in json.load(sys.stdin):
    now = asked["now"]
    request = awsrequest.AWSRequest(method=asked["method"], url=asked["url"], data=asked["body"].encode(),
                                    headers=asked["headers"])
    request.context["payload_signing_enabled"] = True
    who = credentials.Credentials("AKIATEST", asked["secret"], asked["token"])
    auth.S3SigV4Auth(who, "s3", asked["region"]).add_auth(request)
    signed.append(request.headers["Authorization"])
print(json.dumps(signed))
"""
_TEXT = "ab/Z09-_.~ +=&?%:@!*'(),;é—"


def test_our_signatures_are_those_of_botocore() -> None:
    """Over many requests: whatever is in path, query, headers, body, key and token."""
    chance = random.Random(18)  # noqa: S311 -- what is tried, and nothing secret

    def text(most: int, of: str = _TEXT) -> str:
        return "".join(chance.choice(of) for _ in range(chance.randint(1, most)))

    ours, asked = [], []
    for number in range(150):
        now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(10**8))
        method, path = chance.choice(["PUT", "GET"]), f"/bucket/{text(20)}"
        query = [(name, text(9)) for name in chance.sample(["prefix", "max-keys", "key-marker"], number % 4)]
        headers = {f"x-amz-{name}": text(9, _TEXT[:-2]).strip() or "a" for name in ("meta-b", "meta-a")}
        secret, token = text(40), chance.choice([None, text(30, _TEXT[:-2]).strip() or "t"])
        body, region = text(99), chance.choice(["eu-central-1", "us-east-1"])
        signed = sigv4.signed(
            Credentials("AKIATEST", Secret(secret), None if token is None else Secret(token)),
            method=method,
            authority="s3.example.org:8443",
            path=path,
            query=query,
            headers=headers,
            body=body.encode(),
            region=region,
            service="s3",
            now=now,
        )
        ours.append(signed["authorization"])
        url = f"https://s3.example.org:8443{sigv4.target(path, query)}"
        told = {"method": method, "url": url, "headers": headers, "body": body, "secret": secret, "token": token}
        asked.append(told | {"region": region, "now": now.replace(tzinfo=None).isoformat()})
    theirs = subprocess.run(  # noqa: S603 -- the interpreter of our own lock
        [str(PROGRAM.with_name("python")), "-c", _BOTOCORE],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ours == json.loads(theirs.stdout)
