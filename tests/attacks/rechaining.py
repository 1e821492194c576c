"""What an attacker who knows the format makes of entries that were changed: numbered, linked and hashed anew."""

from __future__ import annotations

from hashlib import sha256
from typing import Any


def chained(rows: list[dict[str, Any]]) -> list[bytes]:
    """Give the rows seqs, prevs and leaves that fit."""
    leaf, leaves = bytes(32), []
    for seq, row in enumerate(rows):
        entry: bytes = row["entry"]
        start = entry.index(b'"prev":"') + 8
        entry = entry[:start] + leaf.hex().encode() + entry[start + 64 :]
        start = entry.index(b',"seq":') + 7
        entry = entry[:start] + str(seq).encode() + entry[entry.index(b",", start) :]
        leaf = sha256(b"\x00" + entry).digest()
        leaves.append(leaf)
        row.update(seq=seq, entry=entry, leaf=leaf)
    return leaves
