"""A witness asked by us: ours in a process of its own, and witnesses that lie, forget, or know another history."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from anchors.test_witness import request
from anchors.witnesses import made, running
from anchors.world import (
    LEAVES,
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
    proving,
    published,
)
from anchors.world import trouble as trouble_of
from deployments import command
from ledger.making import SetClock
from ledger.signing import SIGNER
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.cli.witness import app
from wellkeep.crypto import merkle
from wellkeep.crypto.errors import BadProof
from wellkeep.crypto.notes import COSIGNATURE_V1, NoteSigner, NoteVerifier, cosign_v1, vkey
from wellkeep.ledger.anchors.anchor import AnchorFailed, Seen, Trouble
from wellkeep.ledger.anchors.witnessing import Witnessing, read_vkey
from wellkeep.ledger.witness import Witness
from wellkeep.ledger.witness_store import End, WitnessStore

NAME, SEED = "w.example.org", Secret(b"w" * 32)
VKEY = vkey(NAME, NoteSigner(name=NAME, seed=SEED).public, algorithm=COSIGNATURE_V1)


def anchor(port: int, key: str = VKEY, clock: SetClock | None = None, *, handler: Handler | None = None) -> Witnessing:
    verifier = read_vkey(key, name="witness")
    way = outside(port, handler=handler)
    return Witnessing(way, name="witness", path="", verifier=verifier, clock=clock or SetClock())


@dataclass
class Serving:
    """Our witness, served by this process."""

    store: WitnessStore
    port: int
    vkey: str = VKEY

    @property
    def ends(self) -> list[tuple[str, int, int]]:
        return [(one.origin, one.size, one.evidence) for one in self.store.all()]


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[Serving]:
    store = WitnessStore(tmp_path / "state")
    log = NoteVerifier.from_vkey(SIGNER.vkey(ORIGIN))
    witness = Witness(name=NAME, seed=SEED, logs=[log], store=store, clock=SetClock())

    async def handler(asked: Asked) -> Reply:
        assert (asked.method, asked.target) == ("POST", "/add-checkpoint")
        reply = await asyncio.to_thread(witness.add_checkpoint, asked.body)
        return Reply(reply.status, reply.body)

    async with answering(handler) as server:
        yield Serving(store, server.port)


async def test_our_witness_cosigns_what_grows_and_tells_how_far_it_is(fresh: Serving) -> None:
    one = anchor(fresh.port, fresh.vkey)
    for size in (7, 7, 9, 40):
        note, receipt = await published(one, size)
        evidence = one.check(receipt, note)
        assert evidence.independent
        assert abs(evidence.at - SetClock().now()) < timedelta(minutes=1)
    assert await one.seen(ORIGIN, end(40)[0]) == Seen((end(40)[0],), 40)
    assert await one.seen(ORIGIN, end(9)[0]) == Seen(size=40)
    assert await one.seen(ORIGIN, None) == Seen()
    assert fresh.ends == [(ORIGIN, 40, 0)]


async def test_who_starts_anew_learns_the_size_from_the_witness(fresh: Serving) -> None:
    await published(anchor(fresh.port, fresh.vkey), 7)
    await published(anchor(fresh.port, fresh.vkey), 9)
    other = anchor(fresh.port, vkey("else", NoteSigner(name=NAME, seed=SEED).public, algorithm=COSIGNATURE_V1))
    with pytest.raises(AnchorFailed, match="not-proven"):
        other.check((await published(anchor(fresh.port, fresh.vkey), 9))[1], end(9)[0])


async def test_a_log_that_went_back_or_was_written_anew_is_an_alarm(fresh: Serving) -> None:
    await published(anchor(fresh.port, fresh.vkey), 9)
    assert await trouble_of(anchor(fresh.port, fresh.vkey), 7) is Trouble.AHEAD
    known = anchor(fresh.port, fresh.vkey)
    await published(known, 9)
    assert await trouble_of(known, 7) is Trouble.AHEAD
    other, checkpoint = end(12, root=b"x" * 32)
    with pytest.raises(AnchorFailed, match="forked"):
        await anchor(fresh.port, fresh.vkey).publish(other, checkpoint, proving(12))
    same, checkpoint = end(9, root=b"x" * 32)
    with pytest.raises(AnchorFailed, match="forked"):
        await known.publish(same, checkpoint, proving(9))
    with pytest.raises(AnchorFailed, match="forked"):
        await known.seen(ORIGIN, same)
    assert fresh.ends == [(ORIGIN, 9, 3)], "the two that fit no history, and the one that stood"


async def test_a_log_that_can_prove_nothing_is_forked(fresh: Serving) -> None:
    await published(anchor(fresh.port, fresh.vkey), 9)

    async def unable(_old: int) -> list[bytes]:
        raise BadProof("the tree has fewer leaves than it should")

    with pytest.raises(AnchorFailed, match="forked"):
        await anchor(fresh.port, fresh.vkey).publish(*end(12), unable)


def asked(port: int, old: int, size: int) -> httpx.Response:
    url = f"http://127.0.0.1:{port}/add-checkpoint"
    return httpx.post(url, content=request(old, size), trust_env=False)


def test_killed_between_persisting_and_signing_it_signs_when_it_is_asked_again(tmp_path: Path) -> None:
    key, seven = made(tmp_path), end(7)
    new = End(7, seven[1].root)
    WitnessStore(tmp_path / "state").move(ORIGIN, old=None, new=new, note=seven[0], at=1)
    with running(tmp_path, key) as one:
        told = asked(one.port, 0, 9)
        assert (told.status_code, told.text) == (409, "7\n")
        assert told.headers["content-type"] == "text/x.tlog.size"
        again = asked(one.port, 7, 7)
        assert read_vkey(key, name="witness").verify(seven[0] + again.content) > 1
        assert asked(one.port, 7, 9).status_code == 200
        one.kill()
    told_after = command("witness", "status", "--state", tmp_path / "state", "--json").json()
    assert [(each["log"], each["size"], each["evidence"]) for each in told_after] == [(ORIGIN, 9, 0)]


def test_killed_at_any_moment_it_stays_behind_nothing_that_it_signed(tmp_path: Path) -> None:
    key, signed = made(tmp_path), 0
    for seconds in (0.02, 0.1):
        with running(tmp_path, key) as one:
            timer = threading.Timer(seconds, one.kill)
            timer.start()
            with suppress(httpx.TransportError):
                for size in range(signed, len(LEAVES)):
                    answer = asked(one.port, size, size + 1)
                    signed = size + 1 if answer.status_code == 200 else max(signed, int(answer.text))
            timer.join()
        (known,) = WitnessStore(tmp_path / "state").all() or (None,)
        assert (0 if known is None else known.size) in {signed, signed + 1}
        signed = 0 if known is None else known.size


def line(text: str, *, timestamp: float | None = None, name: str = NAME) -> bytes:
    moment = SetClock().seconds() if timestamp is None else timestamp
    return cosign_v1(name=name, seed=SEED, text=text, timestamp=int(moment))


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (always(Reply(body=line(end(8)[1].body()))), Trouble.NOT_PROVEN),
        (always(Reply(body=line(end()[1].body(), name="else"))), Trouble.NOT_PROVEN),
        (always(Reply(body=line(end()[1].body(), timestamp=1))), Trouble.TIME_OFF),
        (always(Reply(body=line(end()[1].body(), timestamp=2**62))), Trouble.NOT_PROVEN),
        (always(Reply(body=b"")), Trouble.NOT_PROVEN),
        (always(Reply(body=b"yes\n")), Trouble.NOT_PROVEN),
        (always(Reply(409, b"0\n")), Trouble.FORKED),
        (always(Reply(409, b"3\n")), Trouble.FORKED),
        (always(Reply(409, b"8\n")), Trouble.AHEAD),
        (always(Reply(409, b"many\n")), Trouble.RUBBISH),
        (always(Reply(409, b"9" * 40)), Trouble.RUBBISH),
        (always(Reply(422)), Trouble.FORKED),
        (always(Reply(404)), Trouble.REFUSED),
        (always(Reply(403)), Trouble.REFUSED),
        (always(Reply(503)), Trouble.UNREACHABLE),
        (always(REDIRECT), Trouble.REFUSED),
        (never, Trouble.UNREACHABLE),
    ],
    ids=[
        *("another-text", "another-name", "another-time", "no-time", "nothing", "no-line", "stuck", "stuck-on"),
        *("ahead", "no-size", "too-long", "no-proof", "unknown", "untrusted", "down", "redirecting", "slow"),
    ],
)
async def test_a_witness_that_lies_or_fails(handler: Handler, expected: Trouble) -> None:
    async with answering(handler) as server:
        assert await trouble_of(anchor(server.port, handler=handler)) is expected


async def test_lines_of_others_are_passed_over() -> None:
    text = end()[1].body()
    async with answering(always(Reply(body=line(text, name="else") + line(text)))) as server:
        await published(anchor(server.port))


async def test_a_size_is_taken_once() -> None:
    sizes = [b"3\n", b"4\n", b"5\n"]

    async def handler(_asked: Asked) -> Reply:
        return Reply(409, sizes.pop(0))

    async with answering(handler) as server:
        assert await trouble_of(anchor(server.port)) is Trouble.FORKED
        assert len(server.asked) == 2
    first, second = (asked.body.split(b"\n") for asked in server.asked)
    assert (first[0], second[0]) == (b"old 0", b"old 3")
    proof = [b64decode(each) for each in second[1 : second.index(b"")]]
    assert proof == merkle.consistency_proof(LEAVES[:7], old_size=3)


def test_a_key_that_is_no_witness_s_stops_the_start() -> None:
    for text in ("", "w+00000000+" + "A" * 44, NoteSigner(name=NAME, seed=SEED).vkey):
        with pytest.raises(Misconfigured, match="anchor witness"):
            read_vkey(text, name="witness")


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    key = tmp_path / "key"
    assert said("keygen", NAME, "--key", key) == 0
    assert said("keygen", NAME, "--key", key) == 1, "a key is never replaced"
    assert said("status", "--state", tmp_path) == 1
    (tmp_path / "witness.sqlite3").write_text("mine")
    assert said("status", "--state", tmp_path) == 1, "that is no state of a witness"
    assert said("--state", tmp_path / "state") == 2
    whole = ("--state", tmp_path / "state", "--key", key, "--log", SIGNER.vkey(ORIGIN))
    assert said(*whole, "--certificate", key) == 2
    assert said(*whole, "--certificate", key, "--certificate-key", key) == 1, "that is no certificate"
    assert said(*whole, "--listen", "nowhere:1") == 1
    assert said(*whole[:-1], VKEY) == 1, "a witness is no log"
    assert said("status", "--state", tmp_path / "state") == 0


def said(*arguments: str | Path) -> int:
    """Return how the command ends, run in this process."""
    return CliRunner().invoke(app, [str(one) for one in arguments]).exit_code
