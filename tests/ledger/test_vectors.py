"""The vectors of `docs/spec/ledger.md`, checked with the standard library alone, and by our own code."""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from wellkeep.base.secrets import Secret
from wellkeep.ledger.reading import parse
from wellkeep.ledger.seal import Seal, SealKey

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "ledger.json").read_text("utf-8"))


def tree(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
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
