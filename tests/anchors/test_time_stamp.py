"""Time stamps of an authority of OpenSSL's: over this note, with this nonce, by this chain, near this time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from anchors.authority import Authority
from anchors.world import ORIGIN, REDIRECT, Asked, Handler, Reply, always, answering, end, never, outside, published
from anchors.world import trouble as trouble_of
from ledger.making import SetClock
from wellkeep.base.errors import Misconfigured
from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble
from wellkeep.ledger.anchors.time_stamp import TimeStamp, read_chain

# status 2 (rejection), and nothing else; status 0 (granted) without a token
_REJECTED = bytes.fromhex("30053003020102")
_EMPTY = bytes.fromhex("30053003020100")


def anchor(
    port: int, authority: Authority, clock: SetClock | None = None, *, handler: Handler | None = None
) -> TimeStamp:
    chain = read_chain(authority.chain, name="stamp")
    way = outside(port, handler=handler)
    return TimeStamp(way, name="stamp", path="/tsr", chain=chain, clock=clock or SetClock())


def stamping(authority: Authority, *, instead: bytes | None = None) -> Handler:
    """Return an authority that answers, maybe to another query than it was asked."""

    async def handler(asked: Asked) -> Reply:
        return Reply(body=await asyncio.to_thread(authority.answer, instead or asked.body))

    return handler


def query(data: bytes, algorithm: HashAlgorithm = HashAlgorithm.SHA512) -> bytes:
    return TimestampRequestBuilder().data(data).hash_algorithm(algorithm).build().as_bytes()


async def test_a_note_is_stamped_and_openssl_agrees(authority: Authority) -> None:
    async with answering(stamping(authority)) as server:
        one = anchor(server.port, authority)
        note, receipt = await published(one)
    (asked,) = server.asked
    assert (asked.target, asked.headers["content-type"]) == ("/tsr", "application/timestamp-query")
    assert "Verification: OK" in authority.verify(note, receipt)
    evidence = one.check(receipt, note)
    assert evidence.independent
    assert abs(evidence.at - SetClock().now()) < timedelta(minutes=1)
    assert await one.seen(ORIGIN, None) is None
    with pytest.raises(AnchorFailed, match="wrong-hash"):
        one.check(receipt, end(8)[0])


async def test_a_stamp_holds_when_its_certificates_have_ended_and_none_is_taken_then(tmp_path: Path) -> None:
    """A receipt is checked for years, by the time that it tells; what an authority signs after its end is nothing."""
    authority = Authority.make(tmp_path / "authority")
    authority.ends_in(3)
    async with answering(stamping(authority)) as server:
        one = anchor(server.port, authority)
        note, receipt = await published(one)
        ends = one.check(receipt, note).at + timedelta(seconds=4)
        while SetClock().now() < ends:  # noqa: ASYNC110 -- nobody tells when a certificate ends
            await asyncio.sleep(0.1)
        assert one.check(receipt, note).independent
        assert await trouble_of(one) is Trouble.NOT_PROVEN


async def test_a_stamper_that_is_known_need_not_bring_its_certificate(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    for known, expected in ((authority, None), (stranger, Trouble.NOT_PROVEN)):
        stampers = [(one.folder / "stamper.pem").read_bytes() for one in (known, stranger)]
        (tmp_path / "chain").write_bytes(b"".join([*stampers, authority.chain.read_bytes()]))
        chain = read_chain(tmp_path / "chain", name="stamp")
        async with answering(stamping(authority)) as server:
            one = TimeStamp(outside(server.port), name="stamp", path="/tsr", chain=chain, clock=SetClock())
            if expected is not None:
                assert await trouble_of(one) is expected
                continue
            note, receipt = await published(one)
        assert one.check(receipt, note).independent


async def test_an_authority_that_answers_for_another_text_or_request(authority: Authority) -> None:
    for instead, expected in ((query(end(8)[0]), Trouble.WRONG_NONCE), (query(end(7)[0]), Trouble.WRONG_NONCE)):
        async with answering(stamping(authority, instead=instead)) as server:
            assert await trouble_of(anchor(server.port, authority)) is expected


async def test_an_authority_that_stamps_another_text_under_our_nonce(authority: Authority) -> None:
    async def handler(asked: Asked) -> Reply:
        swapped = asked.body.replace(_imprint(asked.body), bytes(64))
        return Reply(body=await asyncio.to_thread(authority.answer, swapped))

    async with answering(handler) as server:
        assert await trouble_of(anchor(server.port, authority)) is Trouble.WRONG_HASH


async def test_a_stamp_by_a_weaker_digest_is_none(authority: Authority) -> None:
    note = end()[0]
    receipt = authority.answer(query(note, HashAlgorithm.SHA256))
    with pytest.raises(AnchorFailed, match="wrong-hash"):
        anchor(0, authority).check(receipt, note)


async def test_a_stranger_with_the_authority_s_name(authority: Authority, stranger: Authority) -> None:
    async with answering(stamping(stranger)) as server:
        assert await trouble_of(anchor(server.port, authority)) is Trouble.NOT_PROVEN


async def test_a_time_that_is_not_ours(authority: Authority) -> None:
    for off in (timedelta(minutes=11), -timedelta(minutes=11)):
        clock = SetClock()
        clock.off = off
        async with answering(stamping(authority)) as server:
            assert await trouble_of(anchor(server.port, authority, clock)) is Trouble.TIME_OFF


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (always(Reply(body=_REJECTED)), Trouble.REFUSED),
        (always(Reply(body=_EMPTY)), Trouble.RUBBISH),
        (always(Reply(body=b"<html>")), Trouble.RUBBISH),
        (always(Reply(403)), Trouble.REFUSED),
        (always(Reply(503)), Trouble.UNREACHABLE),
        (always(REDIRECT), Trouble.REFUSED),
        (never, Trouble.UNREACHABLE),
    ],
    ids=["rejecting", "granting-nothing", "rubbish", "forbidden", "down", "redirecting", "slow"],
)
async def test_an_authority_that_does_not_stamp(authority: Authority, handler: Handler, expected: Trouble) -> None:
    async with answering(handler) as server:
        assert await trouble_of(anchor(server.port, authority, handler=handler)) is expected


def test_a_chain_that_is_none_stops_the_start(authority: Authority, tmp_path: Path) -> None:
    for text in (b"", b"no certificate", (authority.folder / "middle.pem").read_bytes()):
        (tmp_path / "chain").write_bytes(text)
        with pytest.raises(Misconfigured, match="anchor stamp"):
            read_chain(tmp_path / "chain", name="stamp")
    with pytest.raises(Misconfigured, match="anchor stamp"):
        read_chain(tmp_path / "none", name="stamp")


def _imprint(asked: bytes) -> bytes:
    """Return the 64 bytes of the digest in a query: an OCTET STRING of that length."""
    at = asked.index(b"\x04\x40") + 2
    return asked[at : at + 64]
