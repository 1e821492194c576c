"""The files of an export: what stands where, and what a directory is allowed to hold.

Rule of reading: nothing is believed for lying in the right place; links are not followed, nothing longer than it can
be is read, JSON is read strictly. The threat is whoever hands an export over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar
from uuid import UUID

import msgspec

from wellkeep.base.errors import Misconfigured, Validation
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.strict_json import check
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tiles import HASH_BYTES, TILE_BYTES, WIDTH, TilePlace

FORMAT: Final = "wellkeep/ledger-export/v1"
MANIFEST: Final = "manifest.json"
LENGTH_BYTES: Final = 2
MAX_ENTRY: Final = 32_768
MAX_NOTE: Final = 131_072
MAX_JSON: Final = 1 << 28

Line = TypeVar("Line", bound=msgspec.Struct)
Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Printable = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,400}\Z")]
KeyId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
Month = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}\Z")]
Time = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{6}Z\Z")]
Size = Annotated[int, msgspec.Meta(ge=1)]


class NoExport(Misconfigured):  # like every error of the tree
    """The directory is no export that can be judged: not there, another format, a manifest that is none."""


class LogManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the manifest says of a log; `first` is the first entry that was not pruned."""

    origin: str
    tenant: UUID
    epoch: int
    size: int
    path: str
    vkey: str
    older_vkeys: tuple[str, ...] = ()
    first: int = 0


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an export says it is; `root` is the newest root log's origin, `tenant` and `month` make it partial."""

    format: str
    made_at: Time
    root: str | None
    logs: tuple[LogManifest, ...]
    tenant: UUID | msgspec.UnsetType = msgspec.UNSET
    month: Month | msgspec.UnsetType = msgspec.UNSET

    @property
    def partial(self) -> bool:
        """Whether it leaves logs out."""
        return self.tenant is not msgspec.UNSET or self.month is not msgspec.UNSET


class SealLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of `seals.jsonl`, its hashes in hex."""

    key_id: KeyId
    leaf: Hex32
    mac: Hex32
    root: Hex32
    size: Size


class PairLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a cover's pairs, the root in hex."""

    origin: Printable
    root: Hex32
    size: Size


def read_line(line: bytes, form: type[Line]) -> Line:
    """Return what a line holds; raises ValueError or MsgspecError where it is not of that form, or not strictly so."""
    try:
        check(line)
    except Validation:
        raise ValueError from None
    return msgspec.json.decode(line, type=form)


def canonical_uuid(text: str) -> UUID:
    """Return a UUID in its one form, lower case with dashes; raises ValueError."""
    found = UUID(text)
    if str(found) != text:
        raise ValueError
    return found


def log_path(tenant: UUID, epoch: int) -> str:
    """Return where a log lies."""
    return f"logs/{'root' if tenant == PLATFORM_TENANT else tenant}/{epoch}"


def bundle(entries: Sequence[bytes]) -> bytes:
    """Return entries as a bundle has them, each behind its length; b"" stands for one that was pruned."""
    return b"".join(len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries)


def unbundle(raw: bytes) -> list[bytes] | None:
    """Return the entries of a bundle, None where it ends in the middle of one."""
    entries, at = [], 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + LENGTH_BYTES], "big")
        at += LENGTH_BYTES + length
        entries.append(raw[at - length : at])
    return entries if at == len(raw) else None


class Files:
    """The files of an export that somebody handed over."""

    def __init__(self, top: Path) -> None:
        """Take the directory; raises NoExport where there is none."""
        if not top.is_dir():
            raise NoExport(f"There is no directory {top}")
        self.top = top

    def read(self, path: str, most: int) -> bytes | None:
        """Return a file's bytes; None where there is none, or it is longer than it can be, or no plain file."""
        if self._linked(Path(path).parent):
            return None
        try:
            found = (self.top / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            return None
        return (self.top / path).read_bytes()

    def below(self, path: str) -> set[str]:
        """Return the paths of all that is no directory below `path`, relative to it; links are not followed.

        Where the way to `path` leads over a link, that is all there is: ".".
        """
        if self._linked(Path(path)):
            return {"."}
        top = self.top / path
        found = set()
        for directory, directories, files in os.walk(top):
            links = [name for name in directories if (Path(directory) / name).is_symlink()]
            found |= {(Path(directory) / name).relative_to(top).as_posix() for name in files + links}
        return found

    def _linked(self, path: Path) -> bool:
        """Say whether `path`, or a directory on the way to it, is a link; what is above the export is not its own."""
        return any((self.top / each).is_symlink() for each in (path, *path.parents) if each.parts)

    def manifest(self) -> Manifest:
        """Return what the export says it is; raises NoExport."""
        raw = self.read(MANIFEST, MAX_JSON)
        try:
            if raw is None:
                raise NoExport(f"There is no {MANIFEST} in it: this is no export of a ledger")
            check(raw)
            found = msgspec.json.decode(raw, type=Manifest)
            _tenants_are_canonical(raw)
        except (Validation, ValueError, msgspec.MsgspecError):
            raise NoExport(f"Its {MANIFEST} is none of ours") from None
        if found.format != FORMAT or not found.logs:
            raise NoExport(f"It is of another format than {FORMAT}")
        return found

    def lines(self, path: str) -> Iterator[bytes] | None:
        """Return the lines of a file, each whole; None where there is no such file or its last line does not end."""
        raw = self.read(path, MAX_JSON)
        if raw is None or (not raw.endswith(b"\n") and raw):
            return None
        return iter(raw.split(b"\n")[:-1])


class _WrittenLog(msgspec.Struct, frozen=True):
    tenant: str


class _Written(msgspec.Struct, frozen=True):
    logs: tuple[_WrittenLog, ...]
    tenant: str | msgspec.UnsetType = msgspec.UNSET


def _tenants_are_canonical(raw: bytes) -> None:
    """Raise ValueError where a manifest writes a tenant in another than its one form, which its reader lets pass."""
    written = msgspec.json.decode(raw, type=_Written)
    for tenant in (written.tenant, *(log.tenant for log in written.logs)):
        if tenant is not msgspec.UNSET:
            canonical_uuid(tenant)


class FileTiles:
    """The tree of one log of an export, as its tiles have it; for proofs and roots, once they were verified."""

    def __init__(self, files: Files, head: Head) -> None:
        """Read the tiles of the log that ends at `head`."""
        self._files = files
        self._path = log_path(head.tenant, head.epoch)
        self._size = head.size

    async def tile(self, level: int, number: int) -> bytes | None:
        """Return a full tile, or None."""
        raw = self._files.read(f"{self._path}/{TilePlace(level, number, WIDTH).path}", TILE_BYTES)
        return raw if raw is not None and len(raw) == TILE_BYTES else None

    async def roots(self, level: int, first: int, end: int) -> Sequence[bytes]:
        """Return roots of full tiles, which stand in the row above."""
        return self._row(level + 1, first, end)

    async def leaves(self, first: int, end: int) -> Sequence[bytes]:
        """Return leaf hashes."""
        return self._row(0, first, end)

    def _row(self, level: int, first: int, end: int) -> list[bytes]:
        number = first // WIDTH
        width = min(WIDTH, (self._size >> 8 * level) - number * WIDTH)
        raw = self._files.read(f"{self._path}/{TilePlace(level, number, width).path}", TILE_BYTES) or b""
        hashes = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
        return hashes[first - number * WIDTH : end - number * WIDTH]
