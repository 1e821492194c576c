"""What the kernel says of a block device: whether anything between it and the disks encrypts what is written.

Rules: read from /sys alone, never from a name; each layer is followed down to all of its disks, and what holds is what
the worst of them says; what is not understood is unknown, never fine. dm-verity and dm-integrity carry dm-crypt's mark
in their ids and encrypt nothing. The threats are a disk that is thrown away, stolen or returned, and a volume that
somebody believes to be encrypted.

Which cipher dm-crypt uses is not looked at: only root could see it, in a table that holds the key too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_CRYPT: Final = re.compile(r"CRYPT-(?P<kind>LUKS[12]|PLAIN|LOOPAES|TCRYPT|BITLK|FVAULT2)(-|\Z)")
_DELETED: Final = " (deleted)"
_DEEPEST: Final = 16


class Ground(StrEnum):
    """What becomes of bytes that are written."""

    ENCRYPTED = "encrypted"
    MEMORY = "in memory"
    ATTESTED = "attested"
    UNKNOWN = "unknown"
    CLEAR = "in clear"


_WORST_FIRST: Final = (Ground.CLEAR, Ground.UNKNOWN, Ground.ATTESTED, Ground.MEMORY, Ground.ENCRYPTED)


@dataclass(frozen=True, slots=True)
class Footing:
    """What something lies on, and by what that was told."""

    ground: Ground
    by: str

    @property
    def safe(self) -> bool:
        """Whether a thief of the disks reads nothing."""
        return self.ground not in {Ground.CLEAR, Ground.UNKNOWN}


def worst(footings: Iterable[Footing]) -> Footing:
    """Return the worst of at least one."""
    return min(footings, key=lambda one: _WORST_FIRST.index(one.ground))


class BlockDevices:
    """The block devices below `root`, which is / but for trials."""

    def __init__(self, root: Path, *, file: Callable[[Path], Footing]) -> None:
        """`file` tells what a file lies on: the one behind a loop device."""
        self._root = root
        self._file = file

    def named(self, device: str) -> Footing:
        """Return what lies beneath a device by its path below /dev, such as /dev/mapper/vault."""
        path = self._root / device.lstrip("/")
        name = path.resolve().name if path.is_symlink() else path.name
        number = _read(self._root / "sys/class/block" / name / "dev")
        return self.numbered(number) if number else Footing(Ground.UNKNOWN, f"/sys does not know the device {name}")

    def numbered(self, number: str, *, depth: int = 0) -> Footing:
        """Return what lies beneath the device `major:minor`."""
        folder = self._root / "sys/dev/block" / number
        if depth > _DEEPEST or not folder.is_dir():
            return Footing(Ground.UNKNOWN, f"/sys does not say what the device {number} lies on")
        return self._looked_at(folder.resolve(), depth)

    def _looked_at(self, folder: Path, depth: int) -> Footing:
        crypt = _CRYPT.match(_read(folder / "dm/uuid"))
        if crypt is not None:
            return Footing(Ground.ENCRYPTED, f"dm-crypt ({crypt['kind']})")
        backing = _read(folder / "loop/backing_file")
        if backing.endswith(_DELETED):
            return Footing(Ground.UNKNOWN, "a loop device whose file was deleted")
        if backing:
            return self._file(Path(backing))
        return self._beneath(folder, depth)

    def _beneath(self, folder: Path, depth: int) -> Footing:
        """Return what the devices beneath one that encrypts nothing itself amount to."""
        below = [_read(one / "dev") for one in sorted(_entries(folder / "slaves"))]
        if not below and (folder / "partition").exists():
            below = [_read(folder.parent / "dev")]
        if below:
            return worst(self.numbered(number, depth=depth + 1) for number in below)
        if folder.name.startswith("zram"):
            return self._compressed_memory(folder)
        return Footing(Ground.CLEAR, f"nothing encrypts it down to {folder.name}, as far as this machine sees")

    def _compressed_memory(self, folder: Path) -> Footing:
        behind = _read(folder / "backing_dev")
        return Footing(Ground.MEMORY, "zram") if behind in {"", "none"} else self.named(behind)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _read(file: Path) -> str:
    """Return what a file of /sys says, or nothing where there is none."""
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
