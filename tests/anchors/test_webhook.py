"""A signed webhook: what receivers verify with their own library, with one id for all attempts."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from standardwebhooks.webhooks import Webhook as Receiver

from anchors.world import (
    ORIGIN,
    REDIRECT,
    Asked,
    Handler,
    Reply,
    always,
    answering,
    end,
    never,
    outside,
    place,
    published,
    way_out,
)
from anchors.world import trouble as trouble_of
from ledger.making import HOST
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble
from wellkeep.ledger.anchors.outside import Outside
from wellkeep.ledger.anchors.webhook import Webhook, read_key

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellkeep.ledger.anchors.webhook._PAUSES", (0.0, 0.0))


def anchor(port: int, *, handler: Handler | None = None) -> Webhook:
    secret = read_key(Secret(SECRET.encode()), name="hook")
    return Webhook(outside(port, handler=handler), name="hook", path="/in", secret=secret, clock=SystemClock())


async def test_a_receiver_verifies_it_with_its_own_library() -> None:
    async with answering(always(Reply(204))) as server:
        note, receipt = await published(anchor(server.port))
    (asked,) = server.asked
    told = Receiver(SECRET).verify(asked.body, asked.headers)
    assert told["type"] == "ledger.checkpoint"
    assert told["data"]["note"].encode() == note
    assert (told["data"]["origin"], told["data"]["size"]) == (f"{HOST}/ledger/root", 7)
    assert (asked.method, asked.target) == ("POST", "/in")
    assert not anchor(0).check(receipt, note).independent
    assert await anchor(0).seen(ORIGIN, None) is None


async def test_each_attempt_has_the_same_id_and_a_signature_of_its_own() -> None:
    answers = [Reply(500), Reply(raw=b"220 welcome\r\n"), Reply(200), Reply(200)]

    async def handler(_asked: Asked) -> Reply:
        return answers.pop(0)

    async with answering(handler) as server:
        await published(anchor(server.port))
        await published(anchor(server.port))
    assert len({asked.headers["webhook-id"] for asked in server.asked}) == 1
    for asked in server.asked:
        Receiver(SECRET).verify(asked.body, asked.headers)


@pytest.mark.parametrize(
    ("reply", "attempts", "expected"),
    [
        (Reply(500), 3, Trouble.REFUSED),
        (Reply(429), 3, Trouble.REFUSED),
        (Reply(400), 1, Trouble.REFUSED),
        (REDIRECT, 1, Trouble.REFUSED),
        (Reply(raw=b"220 welcome\r\n"), 3, Trouble.UNREACHABLE),
    ],
    ids=["broken", "busy", "refusing", "redirecting", "no-http"],
)
async def test_a_receiver_that_does_not_take_it(reply: Reply, attempts: int, expected: Trouble) -> None:
    async with answering(always(reply)) as server:
        assert await trouble_of(anchor(server.port)) is expected
    assert len(server.asked) == attempts


async def test_a_receiver_that_says_nothing() -> None:
    async with answering(never) as server:
        assert await trouble_of(anchor(server.port, handler=never)) is Trouble.UNREACHABLE


async def test_a_receipt_is_for_one_note_and_bears_our_signature() -> None:
    async with answering(always(Reply())) as server:
        note, receipt = await published(anchor(server.port))
    forged = json.dumps(json.loads(receipt) | {"timestamp": 0}).encode()
    for bad, given in ((receipt, end(8)[0]), (forged, note), (b"{}", note), (b"no", note)):
        with pytest.raises(AnchorFailed, match="not-proven"):
            anchor(0).check(bad, given)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!", SECRET.removeprefix("whsec_"), "whsec_" + "QUJD" * 4])
def test_a_secret_that_is_none_stops_the_start(text: str) -> None:
    with pytest.raises(Misconfigured, match="anchor hook") as raised:
        read_key(Secret(text.encode()), name="hook")
    assert len(text) < 8 or text not in raised.value.message


async def test_a_place_that_may_not_be_connected_to() -> None:
    refused = Outside(way_out(place("anchor", 1, networks=("127.1.0.0/16",))), "anchor")
    secret = read_key(Secret(SECRET.encode()), name="hook")
    one = Webhook(refused, name="hook", path="/in", secret=secret, clock=SystemClock())
    assert await trouble_of(one) is Trouble.EGRESS_REFUSED
