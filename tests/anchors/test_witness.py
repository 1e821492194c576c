"""The witness by its specification: what goes on is cosigned once it is on the disk, and nothing else ever is."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from base64 import b64encode
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchors.world import LEAVES, ORIGIN, end
from ledger.making import SetClock
from ledger.signing import SIGNER
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.crypto import merkle
from wellkeep.crypto.notes import CosignatureVerifier, NoteSigner, NoteVerifier
from wellkeep.ledger import witness_store
from wellkeep.ledger.witness import MAX_REQUEST_BYTES, Reply, Witness
from wellkeep.ledger.witness_app import WitnessApp
from wellkeep.ledger.witness_key import make_key, read_key
from wellkeep.ledger.witness_store import End, WitnessStore

SEED = Secret(b"w" * 32)
LOG = NoteVerifier.from_vkey(SIGNER.vkey(ORIGIN))


@pytest.fixture
def store(tmp_path: Path) -> WitnessStore:
    return WitnessStore(tmp_path / "state")


@pytest.fixture
def witness(store: WitnessStore) -> Witness:
    return Witness(name="w.example.org", seed=SEED, logs=[LOG], store=store, clock=SetClock())


def request(old: int, size: int, *, proof: list[bytes] | None = None, note: bytes | None = None) -> bytes:
    """Return a request for the made-up log, right unless the arguments say otherwise."""
    if proof is None:
        proof = merkle.consistency_proof(LEAVES[:size], old_size=old) if 0 < old < size else []
    lines = "".join(f"{b64encode(each).decode()}\n" for each in proof)
    return f"old {old}\n{lines}\n".encode() + (note or end(size)[0])


def cosigned(reply: Reply, note: bytes) -> int:
    assert reply.status == 200, reply
    public = NoteSigner(name="w.example.org", seed=SEED).public
    return CosignatureVerifier(name="w.example.org", public=public).verify(note + reply.body)


def test_a_log_that_grows_is_cosigned(witness: Witness, store: WitnessStore) -> None:
    assert dict(witness.origins) == {ORIGIN: 0}
    for old, size in ((0, 3), (3, 3), (3, 7), (7, 40)):
        at = cosigned(witness.add_checkpoint(request(old, size)), end(size)[0])
        assert abs(at - SetClock().seconds()) < 5
    assert dict(witness.origins) == {ORIGIN: 40}
    assert [(one.size, one.evidence) for one in store.all()] == [(40, 0)]


def test_an_old_size_that_is_not_its_own_is_told_which_is(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 7))
    for old, size in ((0, 9), (5, 9), (8, 9), (0, 7)):
        reply = witness.add_checkpoint(request(old, size))
        assert (reply.status, reply.body, reply.kind) == (409, b"7\n", "text/x.tlog.size")
    assert witness.add_checkpoint(request(5, 5)).status == 409
    assert dict(witness.origins) == {ORIGIN: 7}


def test_another_history_is_refused_and_kept_as_evidence(witness: Witness, store: WitnessStore) -> None:
    witness.add_checkpoint(request(0, 7))
    other = end(7, root=b"x" * 32)[0]
    assert witness.add_checkpoint(request(7, 7, note=other)).status == 409
    assert witness.add_checkpoint(request(7, 9, note=end(9, root=b"y" * 32)[0])).status == 422
    assert witness.add_checkpoint(request(7, 9, proof=[])).status == 422
    assert witness.add_checkpoint(request(7, 9, note=end(9, root=b"y" * 32)[0])).status == 422
    assert [(one.size, one.root, one.evidence) for one in store.all()] == [(7, merkle.root(LEAVES[:7]), 4)]
    cosigned(witness.add_checkpoint(request(7, 9)), end(9)[0])
    assert forks(store) == {end(7)[0], other, end(9)[0], end(9, root=b"y" * 32)[0]}, "both of each pair are kept"


def forks(store: WitnessStore) -> set[bytes]:
    """Return the notes that prove two histories."""
    with closing(sqlite3.connect(store.path)) as database:
        return {note for (note,) in database.execute("SELECT note FROM evidence WHERE forked = 1")}


def test_a_stranger_fills_no_evidence_and_a_fork_is_kept(
    witness: Witness, store: WitnessStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_store, "_EVIDENCE_KEPT", 3)
    witness.add_checkpoint(request(0, 7))
    for number in range(5):
        junk = f"— a{number} ".encode() + b64encode(bytes([number]) * 68) + b"\n"
        assert witness.add_checkpoint(request(7, 9, proof=[bytes([number]) * 32], note=end(9)[0] + junk)).status == 422
    assert [one.evidence for one in store.all()] == [1]
    for size in range(10, 20):
        assert witness.add_checkpoint(request(7, size, proof=[])).status == 422
    assert [one.evidence for one in store.all()] == [3]
    other = end(7, root=b"x" * 32)[0]
    assert witness.add_checkpoint(request(7, 7, note=other)).status == 409
    assert forks(store) == {end(7)[0], other}


def test_a_note_that_proved_nothing_proves_it_when_another_comes(witness: Witness, store: WitnessStore) -> None:
    witness.add_checkpoint(request(0, 7))
    early = end(9, root=b"y" * 32)[0]
    assert witness.add_checkpoint(request(7, 9, note=early)).status == 422
    assert not forks(store)
    cosigned(witness.add_checkpoint(request(7, 9)), end(9)[0])
    assert witness.add_checkpoint(request(9, 9, note=early)).status == 409
    assert forks(store) == {end(9)[0], early}


def test_the_empty_log(witness: Witness) -> None:
    assert witness.add_checkpoint(request(0, 0, note=end(0, root=b"x" * 32)[0])).status == 422
    empty = end(0, root=merkle.EMPTY_ROOT)[0]
    cosigned(witness.add_checkpoint(request(0, 0, note=empty)), empty)
    assert witness.add_checkpoint(request(0, 7, proof=[b"x" * 32])).status == 422
    cosigned(witness.add_checkpoint(request(0, 7)), end(7)[0])


def test_who_is_not_known_or_did_not_sign(witness: Witness, store: WitnessStore) -> None:
    elsewhere = end(7, name="other.example.org/log")[0]
    assert witness.add_checkpoint(request(0, 7, note=elsewhere)).status == 404
    stranger = NoteSigner(name=ORIGIN, seed=Secret(b"z" * 32)).sign(end(7)[1].body())
    assert witness.add_checkpoint(request(0, 7, note=stranger)).status == 403
    note = end(7)[0]
    signature = note[-8:-3]
    assert witness.add_checkpoint(request(0, 7, note=note.replace(signature, signature[::-1]))).status in {400, 403}
    assert witness.add_checkpoint(request(8, 7, proof=[])).status == 400
    assert not store.all()


def test_a_log_may_have_two_keys(store: WitnessStore) -> None:
    newer = NoteSigner(name=ORIGIN, seed=Secret(b"n" * 32))
    both = Witness(
        name="w.example.org",
        seed=SEED,
        logs=[LOG, NoteVerifier.from_vkey(newer.vkey)],
        store=store,
        clock=SetClock(),
    )
    cosigned(both.add_checkpoint(request(0, 7)), end(7)[0])
    note = newer.sign(end(9)[1].body())
    cosigned(both.add_checkpoint(request(7, 9, note=note)), note)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"new 0\n\n" + end()[0],
        b"old 00\n\n" + end()[0],
        b"old -1\n\n" + end()[0],
        b"old 99999999999999999\n\n" + end()[0],
        b"old 0\nnot base64\n\n" + end()[0],
        b"old 0\n" + b64encode(b"short") + b"\n\n" + end()[0],
        b"old 0\n" + b"\n".join([b64encode(b"h" * 32)] * 64) + b"\n\n" + end()[0],
        b"old 0\n\nno note",
        b"old 0\n\n" + end(10**17, root=b"r" * 32)[0],
        b"old 0\n\n" + end(-5, root=b"r" * 32)[0],
        b"old 0\n\n" + end()[0] + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_what_is_no_request(witness: Witness, body: bytes) -> None:
    assert witness.add_checkpoint(body).status == 400


@given(st.binary(max_size=300))
def test_no_bytes_break_it(body: bytes) -> None:
    assert _QUIET.add_checkpoint(body).status in {400, 403, 404}
    assert _QUIET.add_checkpoint(b"old 0\n\n" + body).status in {400, 403, 404}


class _NoStore:
    """A store that nothing may reach."""


_QUIET = Witness(name="w.example.org", seed=SEED, logs=[LOG], store=_NoStore(), clock=SetClock())  # type: ignore[arg-type]


def test_of_two_at_once_exactly_one_wins(witness: Witness, store: WitnessStore) -> None:
    witness.add_checkpoint(request(0, 7))
    leaves = {name: [*LEAVES[:7], name * 32] for name in (b"a", b"b", b"c", b"d")}
    bodies = [
        request(
            7,
            8,
            proof=merkle.consistency_proof(each, old_size=7),
            note=end(8, root=merkle.root(each))[0],
        )
        for each in leaves.values()
    ]
    started, replies = threading.Barrier(len(bodies)), list[Reply]()

    def ask(body: bytes) -> None:
        started.wait()
        replies.append(witness.add_checkpoint(body))

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [200, 409, 409, 409]
    assert [(one.size) for one in store.all()] == [8]
    assert forks(store) == {end(8, root=merkle.root(each))[0] for each in leaves.values()}, "all four histories"


@pytest.mark.parametrize("old", [0, 5, 7])
def test_another_root_of_its_size_is_evidence_whatever_it_is_said_to_go_on_from(
    witness: Witness, store: WitnessStore, old: int
) -> None:
    witness.add_checkpoint(request(0, 7))
    other = end(7, root=b"x" * 32)[0]
    reply = witness.add_checkpoint(request(old, 7, proof=[], note=other))
    assert (reply.status, reply.body) == (409, b"7\n")
    assert forks(store) == {end(7)[0], other}


def test_the_store_moves_only_from_where_it_was_told(store: WitnessStore) -> None:
    first, second = End(3, b"r" * 32), End(4, b"s" * 32)
    assert store.move(ORIGIN, old=None, new=first, note=b"n", at=1)
    assert not store.move(ORIGIN, old=None, new=second, note=b"n", at=1)
    assert not store.move("gone", old=first, new=second, note=b"n", at=1)
    assert (store.end(ORIGIN), store.end("gone")) == (first, None)


@pytest.mark.parametrize("found", ["a file", "another's", "closed"])
def test_a_place_that_can_t_be_kept_in_is_told(tmp_path: Path, found: str) -> None:
    place = tmp_path / "state"
    if found == "a file":
        place.write_text("mine")
    else:
        place.mkdir()
        file = place / witness_store.FILE_NAME
        file.write_bytes(b"no database at all" * 100) if found == "another's" else file.mkdir()
    with pytest.raises(Misconfigured, match="can't keep its state"):
        WitnessStore(place)


def test_a_race_that_was_lost_after_all_checks_is_told(store: WitnessStore) -> None:
    class Late(WitnessStore):
        """A store in which somebody else was quicker."""

        def end(self, origin: str) -> End | None:
            found = super().end(origin)
            super().move(origin, old=found, new=End(5, merkle.root(LEAVES[:5])), note=b"n", at=1)
            return found

    late = Witness(name="w", seed=SEED, logs=[LOG], store=Late(store.path.parent), clock=SetClock())
    reply = late.add_checkpoint(request(0, 7))
    assert (reply.status, reply.body) == (409, b"5\n")


# ------------------------------------------------------------------------------------------------------------- HTTP


async def test_over_http(witness: Witness) -> None:
    transport = httpx.ASGITransport(WitnessApp(witness))
    async with httpx.AsyncClient(transport=transport, base_url="http://w") as client:
        answer = await client.post("/add-checkpoint", content=request(0, 7))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        answer = await client.post("/add-checkpoint", content=request(0, 9))
        assert (answer.text, answer.headers["content-type"]) == ("7\n", "text/x.tlog.size")
        assert (await client.get("/add-checkpoint")).status_code == 405
        assert (await client.post("/")).status_code == 404
        assert (await client.post("/add-checkpoint", content=bytes(MAX_REQUEST_BYTES + 1))).status_code == 413


async def test_a_body_that_does_not_come_ends(witness: Witness) -> None:
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        await asyncio.sleep(30)
        raise AssertionError

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    app = WitnessApp(witness, body_seconds=0.05)
    await app({"type": "http", "path": "/add-checkpoint", "method": "POST"}, receive, send)
    assert sent[0]["status"] == 408


async def test_a_disk_that_takes_nothing_means_no_signature(witness: Witness, store: WitnessStore) -> None:
    with sqlite3.connect(store.path) as database:
        database.execute("DROP TABLE log")
    database.close()
    transport = httpx.ASGITransport(WitnessApp(witness))
    async with httpx.AsyncClient(transport=transport, base_url="http://w") as client:
        assert (await client.post("/add-checkpoint", content=request(0, 7))).status_code == 503


# -------------------------------------------------------------------------------------------------------------- key


def test_a_key_is_made_once_and_read_back(tmp_path: Path) -> None:
    made = make_key(tmp_path / "key", name="w.example.org/1")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    found = read_key(tmp_path / "key")
    assert (found.name, found.vkey, found.seed.reveal()) == (made.name, made.vkey, made.seed.reveal())
    CosignatureVerifier.from_vkey(made.vkey)
    with pytest.raises(Misconfigured, match="exists already"):
        make_key(tmp_path / "key", name="w.example.org/1")
    with pytest.raises(Misconfigured, match="no white space"):
        make_key(tmp_path / "other", name="w example")
    text = (tmp_path / "key").read_text()
    for bad in ("", "nothing", text.replace("w.example", "v.example"), text.replace("+B", "+A"), text[:-6]):
        (tmp_path / "key").write_text(bad or "\n")
        with pytest.raises(Misconfigured):
            read_key(tmp_path / "key")
