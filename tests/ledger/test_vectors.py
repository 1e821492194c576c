"""The vectors of `docs/spec/ledger.md`, checked with the standard library and an Ed25519 alone, and by our own code."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from wellkeep.base.secrets import Secret
from wellkeep.crypto import notes
from wellkeep.crypto.merkle import leaf_hash
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner
from wellkeep.ledger.cover import cover_root
from wellkeep.ledger.reading import parse
from wellkeep.ledger.seal import Seal, SealKey

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "ledger.json").read_text("utf-8"))


def tree(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    if not leaves:
        return sha256(b"").digest()
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + tree(leaves[:middle]) + tree(leaves[middle:])).digest()


@pytest.mark.parametrize("log", VECTORS["logs"], ids=[log["origin"] for log in VECTORS["logs"]])
def test_an_outsider_can_check_the_vectors(log: dict[str, Any]) -> None:
    leaves: list[bytes] = []
    last = ""
    for seq, stored in enumerate(log["entries"]):
        raw = stored["entry"].encode("ascii")
        entry = json.loads(raw)
        assert json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() == raw
        assert sorted(entry) == ["event", "log", "prev", "seq", "time", "v"]
        assert (entry["log"], entry["seq"], entry["v"]) == (log["origin"], seq, 1)
        assert entry["prev"] == (leaves[-1].hex() if leaves else "0" * 64)
        datetime.strptime(entry["time"], "%Y-%m-%dT%H:%M:%S.%f%z")
        assert entry["time"] >= last
        last = entry["time"]
        leaves.append(sha256(b"\x00" + raw).digest())
        assert leaves[-1].hex() == stored["leaf"]
    for seal in log["seals"]:
        key = bytes.fromhex(VECTORS["seal_keys"][seal["key_id"]])
        size = seal["size"]
        message = f"wellkeep/ledger/seal/v1\n{seal['key_id']}\n{log['origin']}\n{size}\n".encode()
        message += leaves[size - 1] + tree(leaves[:size])
        assert hmac.new(key, message, "sha256").hexdigest() == seal["mac"]
        assert (leaves[size - 1].hex(), tree(leaves[:size]).hex()) == (seal["leaf"], seal["root"])
    assert log["seals"][-1]["size"] == len(leaves)


@pytest.mark.parametrize("log", VECTORS["logs"], ids=[log["origin"] for log in VECTORS["logs"]])
def test_our_code_reads_the_vectors(log: dict[str, Any]) -> None:
    keys = {name: SealKey(name, Secret(bytes.fromhex(key))) for name, key in VECTORS["seal_keys"].items()}
    for stored in log["entries"]:
        raw = stored["entry"].encode("ascii")
        parse(raw[len(b'{"event":') : raw.index(b',"log":"')])
    for seal in log["seals"]:
        parts = [bytes.fromhex(seal[part]) for part in ("leaf", "root", "mac")]
        assert Seal(seal["size"], seal["key_id"], *parts).holds(origin=log["origin"], keys=keys)
        assert not Seal(seal["size"] + 1, seal["key_id"], *parts).holds(origin=log["origin"], keys=keys)
        assert not Seal(seal["size"], seal["key_id"], *parts).holds(origin=log["origin"] + "x", keys=keys)


# ----------------------------------------------------------------------------------- what is signed, by an outsider


def public_of(vkey: str, algorithm: int) -> tuple[str, bytes]:
    """Return name and public key of a verifier key, whose hash must be right."""
    name, hashed, encoded = vkey.split("+", 2)
    raw = b64decode(encoded, validate=True)
    assert raw[0] == algorithm
    assert sha256(name.encode() + b"\n" + raw).hexdigest()[:8] == hashed
    return name, raw[1:]


def text_of(note: str, vkey: str, *, time: int | None = None) -> str:
    """Return the text of a note that the key signed, or cosigned at `time`."""
    name, public = public_of(vkey, 1 if time is None else 4)
    text, _, below = note.rpartition("\n\n")
    text += "\n"
    (signature,) = [b64decode(line.split(" ")[2]) for line in below.splitlines() if line.startswith(f"— {name} ")]
    assert signature[:4].hex() == vkey.split("+")[1]
    if time is None:
        Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text.encode())
    else:
        assert signature[4:12] == time.to_bytes(8, "big")
        message = f"cosignature/v1\ntime {time}\n{text}"
        Ed25519PublicKey.from_public_bytes(public).verify(signature[12:], message.encode())
    return text


def body(told: dict[str, Any]) -> str:
    return f"{told['origin']}\n{told['size']}\n{b64encode(bytes.fromhex(told['root'])).decode()}\n"


@pytest.mark.parametrize("told", VECTORS["checkpoints"], ids=lambda told: f"{told['origin'][-6:]} {told['size']}")
def test_an_outsider_can_check_a_checkpoint(told: dict[str, Any]) -> None:
    (log,) = [log for log in VECTORS["logs"] if log["origin"] == told["origin"]]
    leaves = [bytes.fromhex(stored["leaf"]) for stored in log["entries"]]
    assert tree(leaves[: told["size"]]).hex() == told["root"]
    assert text_of(told["note"], told["vkey"]) == body(told)
    seed = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["checkpoint_seed"]))
    assert public_of(told["vkey"], 1) == (told["origin"], seed.public_key().public_bytes_raw())


def test_an_outsider_can_check_a_cosignature() -> None:
    told = VECTORS["cosignature"]
    checkpoint = next(each for each in VECTORS["checkpoints"] if told["note"].startswith(each["note"]))
    assert text_of(told["note"], checkpoint["vkey"]) == text_of(told["note"], told["vkey"], time=told["time"])


def test_an_outsider_can_check_a_cover() -> None:
    told = VECTORS["cover"]
    leaves = [sha256(b"\0" + body(pair).encode()).digest() for pair in told["pairs"]]
    assert [leaf.hex() for leaf in leaves] == told["leaves"]
    assert tree(leaves).hex() == told["digest"]
    assert [pair["origin"] for pair in told["pairs"]] == sorted(pair["origin"] for pair in told["pairs"])


def test_an_outsider_can_check_a_proof() -> None:
    head, _, note = VECTORS["proof"]["text"].partition("\n\n")
    first, extra, place, *path = head.split("\n")
    assert (first, extra[:6], place[:6]) == ("c2sp.org/tlog-proof@v1", "extra ", "index ")
    origin, size, root, _ = text_of(note, VECTORS["proof"]["vkey"]).split("\n")
    entry, index = b64decode(extra[6:]), int(place[6:])
    assert climbed(sha256(b"\0" + entry).digest(), index, int(size), [b64decode(each) for each in path]) == b64decode(
        root
    )
    assert (json.loads(entry)["log"], json.loads(entry)["seq"]) == (origin, index)


def climbed(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """Return the root that an audit path leads to: PATH of RFC 6962, section 2.1.1, read backwards."""
    if size == 1:
        assert not path
        return leaf
    middle = 1 << ((size - 1).bit_length() - 1)
    if index < middle:
        return sha256(b"\1" + climbed(leaf, index, middle, path[:-1]) + path[-1]).digest()
    return sha256(b"\1" + path[-1] + climbed(leaf, index - middle, size - middle, path[:-1])).digest()


@pytest.mark.parametrize("told", VECTORS["trees"], ids=lambda told: str(told["size"]))
def test_an_outsider_can_check_tiles(told: dict[str, Any]) -> None:
    rows = [[sha256(b"\0%d" % number).digest() for number in range(told["size"])]]
    while len(rows[-1]) >= 256:
        rows.append([tree(rows[-1][at : at + 256]) for at in range(0, len(rows[-1]) - 255, 256)])
    assert tree(rows[0]).hex() == told["root"]
    for path, digest in told["tiles"].items():
        full, _, width = path.partition(".p/")
        level, *number = full.split("/")[1:]
        first = 256 * int("".join(number).replace("x", ""))
        tile = rows[int(level)][first : first + 256]
        assert len(tile) == int(width or 256)
        assert sha256(b"".join(tile)).hexdigest() == digest


def test_an_outsider_can_check_an_export() -> None:
    files = {path: b64decode(data) for path, data in VECTORS["export"].items()}
    manifest = json.loads(files.pop("manifest.json"))
    root_log = next(log for log in manifest["logs"] if log["origin"] == manifest["root"])
    _, public = public_of(root_log["vkey"], 1)
    covers: dict[str, str] = {}
    trees: dict[str, list[bytes]] = {}
    for log in manifest["logs"]:
        assert public_of(log["vkey"], 1) == (log["origin"], public)
        place, size = log["path"], log["size"]
        tile = files.pop(f"{place}/tile/0/000.p/{size}")
        leaves = trees[log["origin"]] = [tile[at : at + 32] for at in range(0, len(tile), 32)]
        for seq, (leaf, entry) in enumerate(
            zip(leaves, unbundled(files.pop(f"{place}/tile/entries/000.p/{size}")), strict=True)
        ):
            assert (entry == b"") == (seq < log.get("first", 0))
            if entry:
                assert sha256(b"\0" + entry).digest() == leaf
                assert json.loads(entry)["prev"] == (leaves[seq - 1].hex() if seq else "0" * 64)
                event = json.loads(entry)["event"]
                covers |= {event["id"]: event["digest"]} if event["action"] == "ledger.covered" else {}
        for path in [path for path in files if path.startswith(f"{place}/checkpoint")]:
            origin, at, root, _ = text_of(files.pop(path).decode(), log["vkey"]).split("\n")
            assert (origin, path) in {
                (log["origin"], f"{place}/checkpoint"),
                (log["origin"], f"{place}/checkpoints/{at}"),
            }
            assert tree(leaves[: int(at)]) == b64decode(root)
        for line in files.pop(f"{place}/seals.jsonl").splitlines():
            seal = json.loads(line)
            assert (leaves[seal["size"] - 1].hex(), tree(leaves[: seal["size"]]).hex()) == (seal["leaf"], seal["root"])
    for event, digest in covers.items():
        pairs = [json.loads(line) for line in files.pop(f"covers/{event}.jsonl").splitlines()]
        assert tree([sha256(b"\0" + body(pair).encode()).digest() for pair in pairs]).hex() == digest
        assert all(tree(trees[pair["origin"]][: pair["size"]]).hex() == pair["root"] for pair in pairs)
    assert len(covers) == 1
    assert not files


def unbundled(bundle: bytes) -> list[bytes]:
    entries = []
    while bundle:
        end = 2 + int.from_bytes(bundle[:2], "big")
        entries.append(bundle[2:end])
        bundle = bundle[end:]
    return entries


# ---------------------------------------------------------------------------------------- what is signed, by our code


def test_our_code_signs_and_reads_the_vectors() -> None:
    signer = CheckpointSigner(Secret(bytes.fromhex(VECTORS["checkpoint_seed"])))
    for told in VECTORS["checkpoints"]:
        found = signer.verify(told["note"].encode(), origin=told["origin"])
        assert found == Checkpoint(told["origin"], told["size"], bytes.fromhex(told["root"]))
        assert signer.vkey(told["origin"]) == told["vkey"]
        made = notes.NoteSigner(name=told["origin"], seed=Secret(bytes.fromhex(VECTORS["checkpoint_seed"])))
        assert made.sign(found.body()).decode() == told["note"]
    told = VECTORS["cosignature"]
    witness = notes.CosignatureVerifier.from_vkey(told["vkey"])
    assert witness.verify(told["note"].encode()) == told["time"]
    line = notes.cosign_v1(
        name=witness.name,
        seed=Secret(bytes.fromhex(told["seed"])),
        text=notes.split(told["note"].encode())[0],
        timestamp=told["time"],
    )
    assert told["note"].encode().endswith(line)
    pairs = [
        Checkpoint(pair["origin"], pair["size"], bytes.fromhex(pair["root"])) for pair in VECTORS["cover"]["pairs"]
    ]
    assert cover_root(pairs).hex() == VECTORS["cover"]["digest"]
    assert [leaf_hash(pair.body().encode()).hex() for pair in pairs] == VECTORS["cover"]["leaves"]
