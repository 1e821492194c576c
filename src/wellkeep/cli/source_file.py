"""A file to import, looked over once before it is sent: what it is, which run of it is ours, how long it will take.

Rule: the fingerprint covers the bytes and how they were asked for, so the same command finds its earlier run again, and
another collection or map is another import.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from wellkeep.cli.console import refuse

_CHUNK = 1 << 20
_HEAD = 64 << 10
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

Advance = Callable[[int], None]
"""Told how many bytes were read."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one reading of the file showed. `lines` is None where a gzip breaks off: the server will say so."""

    fingerprint: str
    lines: int | None


def is_gzip(file: Path) -> bool:
    """Tell by the first bytes, as the server does, whatever the name says."""
    with file.open("rb") as stream:
        return stream.read(2) == _GZIP_MAGIC


def guess_format(file: Path) -> str:
    """Tell the format by the file's name and first bytes: `csv`, or `fhir` where the first line is a FHIR resource."""
    if file.name.removesuffix(".gz").endswith(".csv"):
        return "csv"
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(_GZIP_MAGIC):
        try:
            head = zlib.decompressobj(_GZIP_WINDOW).decompress(head, _HEAD)
        except zlib.error:
            refuse(f"{file} is not a whole gzip file.", hint="Make it anew, or unpack it and import what is inside.")
    return "fhir" if b'"resourceType"' in head.partition(b"\n")[0] else "ndjson"


def read_mapping(file: Path) -> dict[str, str]:
    """Read column → field pairs from TOML or JSON."""
    try:
        decode = msgspec.json.decode if file.suffix == ".json" else msgspec.toml.decode
        return decode(file.read_bytes(), type=dict[str, str])
    except msgspec.MsgspecError:
        refuse(f"{file} is not a table of column = field pairs.", hint='Example line:  "Last Name" = "family"')


def look(file: Path, request: dict[str, Any], advance: Advance) -> Looked:
    """Read the file once: its fingerprint for this `request`, and how many lines it has."""
    digest = hashlib.sha256(msgspec.json.encode(request, order="sorted"))
    count = _GzipLines() if is_gzip(file) else _Lines()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            count.feed(chunk)
            advance(len(chunk))
    return Looked(f"import-{digest.hexdigest()[:48]}", count.total())


class _Lines:
    """Counts lines, the last one with or without its newline."""

    def __init__(self) -> None:
        self._newlines = 0
        self._last = b"\n"

    def feed(self, chunk: bytes) -> None:
        if chunk:
            self._newlines += chunk.count(b"\n")
            self._last = chunk[-1:]

    def total(self) -> int | None:
        return self._newlines + (self._last != b"\n")


class _GzipLines(_Lines):
    """Counts the lines inside a gzip of one member or more, never holding more than a little of it."""

    def __init__(self) -> None:
        super().__init__()
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._broken = False

    def feed(self, chunk: bytes) -> None:
        while chunk and not self._broken:
            try:
                super().feed(self._member.decompress(chunk, _CHUNK))
            except zlib.error:
                self._broken = True
                return
            chunk = self._member.unconsumed_tail
            if self._member.eof:
                chunk = self._member.unused_data
                self._member = zlib.decompressobj(_GZIP_WINDOW)

    def total(self) -> int | None:
        return None if self._broken else super().total()
