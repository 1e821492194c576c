"""Whether a directory lies on an encrypted volume: file systems, what is mounted where, swap, and what was stated.

Rules: what is not understood is unknown, and unknown is as bad as in clear; a file system in memory is as good as the
swap; an operator's statement stands in where nothing can be seen, while it holds, and is told apart from what was seen.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from wellkeep.assembly.block_devices import BlockDevices, Footing, Ground, worst
from wellkeep.base.volume_settings import AttestedVolume

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_BESIDE: Final = re.compile(r"(?:^|,)(?:logdev|rtdev|jdev|journal_path)=([^,]+)")
"""Options that name a second device of a file system: its journal, or files' contents (XFS)."""
_GET_POLICY: Final = 0xC0096616
"""FS_IOC_GET_ENCRYPTION_POLICY_EX (linux/fscrypt.h); an architecture that numbers it otherwise refuses it."""
_POLICY_BYTES: Final = 24
_ZFS: Final = ("/usr/sbin/zfs", "/sbin/zfs", "/usr/local/sbin/zfs")
_ZFS_SECONDS: Final = 5
_LONGEST: Final = timedelta(days=400)
"""A statement is looked at anew each year."""
_DEEPEST: Final = 8


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo (proc(5)): device, where, kind of file system, source, all options."""

    number: str
    point: Path
    kind: str
    source: str
    options: str


def fscrypt_policy(directory: Path) -> bool:
    """Say whether the kernel encrypts what is made in `directory` (fscrypt: ext4, f2fs, ubifs)."""
    policy = bytearray(_POLICY_BYTES.to_bytes(8, "little") + bytes(_POLICY_BYTES))
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.ioctl(descriptor, _GET_POLICY, policy)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def zfs_encryption(dataset: str) -> str:
    """Return what `zfs get encryption` says of a dataset; nothing where it can't be asked."""
    program = next((name for name in _ZFS if Path(name).is_file()), None)
    if program is None or dataset.startswith("-"):
        return ""
    try:
        said = subprocess.run(  # noqa: S603 -- the system's own program, no shell
            [program, "get", "-H", "-o", "value", "encryption", dataset],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ZFS_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.decode("ascii", "replace").strip() if said.returncode == 0 else ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the kernel beside its files: replaced in trials alone."""

    policy: Callable[[Path], bool] = fscrypt_policy
    dataset: Callable[[str], str] = zfs_encryption


class Volumes:
    """The volumes of this machine."""

    def __init__(self, root: Path = Path("/"), asked: Asked = Asked()) -> None:
        """Read /proc and /sys below `root`."""
        self._root = root
        self._asked = asked
        self._devices = BlockDevices(root, file=self.file)
        self._mounts = [_mount(line) for line in _lines(root / "proc/self/mountinfo")]
        self._depth = 0

    def of(self, path: Path) -> Footing:
        """Return what `path` lies on, or will once it is made."""
        if self._depth > _DEEPEST:
            return Footing(Ground.UNKNOWN, "it lies on a file on a file, and so on")
        mount = self.mount(path)
        if mount is None:
            return Footing(Ground.UNKNOWN, "the kernel does not say what is mounted there")
        self._depth += 1
        try:
            return self._mounted(mount, path)
        finally:
            self._depth -= 1

    def file(self, path: Path) -> Footing:
        """Return what a file lies on that the kernel names, in whose words that may be another container's."""
        if not os.path.lexists(self._root / str(path).lstrip("/")):
            return Footing(Ground.UNKNOWN, "a file that can't be seen from here")
        return self.of(path)

    def mount(self, path: Path) -> Mount | None:
        """Return what is mounted where `path` lies: the longest of the mount points, the last of those at one place."""
        settled = path.resolve()
        found = [one for one in self._mounts if settled.is_relative_to(one.point)]
        longest = max((len(one.point.parts) for one in found), default=0)
        return next((one for one in reversed(found) if len(one.point.parts) == longest), None)

    def swap(self) -> Footing:
        """Return what is swapped out to, of all swaps the worst."""
        lines = _lines(self._root / "proc/swaps")[1:]
        if not lines:
            return Footing(Ground.MEMORY, "there is no swap")
        return worst(self._swapped(*line.split()[:2]) for line in lines)

    def _swapped(self, name: str, kind: str) -> Footing:
        name = _unescaped(name)
        return self._devices.named(name) if kind == "partition" else self.file(Path(name))

    def _mounted(self, mount: Mount, path: Path) -> Footing:
        own = {
            "tmpfs": self._memory,
            "ramfs": self._memory,
            "zfs": self._zfs,
            "overlay": self._overlay,
            "btrfs": self._btrfs,
        }
        if mount.kind in own:
            return own[mount.kind](mount)
        if mount.kind == "ecryptfs":
            return Footing(Ground.ENCRYPTED, "eCryptfs")
        if self._asked.policy(_nearest(path)):
            return Footing(Ground.ENCRYPTED, "fscrypt")
        if mount.number.startswith("0:"):
            return Footing(Ground.UNKNOWN, f"a file system of the kind {mount.kind} shows nothing of what it lies on")
        beside = (_unescaped(name) for name in _BESIDE.findall(mount.options))
        return worst([self._devices.numbered(mount.number), *(self._devices.named(name) for name in beside)])

    def _memory(self, mount: Mount) -> Footing:
        if mount.kind == "ramfs" or "noswap" in mount.options.split(","):
            return Footing(Ground.MEMORY, f"{mount.kind}, never swapped")
        swap = self.swap()
        return Footing(Ground.MEMORY if swap.safe else swap.ground, f"{mount.kind}, and swap: {swap.by}")

    def _zfs(self, mount: Mount) -> Footing:
        said = self._asked.dataset(mount.source)
        if said == "off":
            return Footing(Ground.CLEAR, "the ZFS dataset is not encrypted")
        if said.startswith("aes-"):
            return Footing(Ground.ENCRYPTED, f"ZFS ({said})")
        return Footing(Ground.UNKNOWN, "zfs does not say whether the dataset is encrypted")

    def _overlay(self, mount: Mount) -> Footing:
        """Follow what is written; where that directory lies outside, as in a container, nothing can be seen."""
        upper = re.search(r"(?:^|,)upperdir=([^,]+)", mount.options)
        directory = Path(_unescaped(upper[1])) if upper else None
        if directory is None or not (self._root / str(directory).lstrip("/")).is_dir():
            return Footing(Ground.UNKNOWN, "an overlay whose directories can't be seen from here: mount a volume")
        return self.of(directory)

    def _btrfs(self, mount: Mount) -> Footing:
        """Follow each device of the file system: its own number stands for none of them."""
        name = Path(mount.source).name
        source = self._root / mount.source.lstrip("/")
        name = source.resolve().name if source.is_symlink() else name
        for folder in sorted((self._root / "sys/fs/btrfs").glob("*/devices")):
            devices = sorted(one.name for one in folder.iterdir())
            if name in devices:
                return worst(self._devices.named(f"/dev/{one}") for one in devices)
        return Footing(Ground.UNKNOWN, "the kernel does not say which devices the btrfs has")


def attested(footing: Footing, stated: AttestedVolume | None, *, today: date) -> Footing:
    """Return what is to be shown of something that lies on `footing`, and of which `stated` was stated."""
    if footing.safe or stated is None:
        return footing
    if stated.until < today:
        return Footing(footing.ground, f"{footing.by}; what {stated.by} attested ended on {stated.until}")
    if stated.until > today + _LONGEST:
        return Footing(footing.ground, f"{footing.by}; attested beyond {_LONGEST.days} days: state it again each year")
    return Footing(Ground.ATTESTED, f"attested by {stated.by} ({stated.reference}) through {stated.until}")


def stated_of(path: Path, stated: Sequence[AttestedVolume], *, home: Path, volumes: Volumes) -> AttestedVolume | None:
    """Return what was stated of the volume of `path`: of it, or of a directory above it on the same volume."""
    for one in stated:
        named = (home / one.path).resolve()
        if path.resolve().is_relative_to(named) and volumes.mount(named) == volumes.mount(path):
            return one
    return None


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    fields, (kind, source, options) = before.split(" "), after.split(" ")[:3]
    return Mount(fields[2], Path(_unescaped(fields[4])), kind, _unescaped(source), f"{fields[5]},{options}")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def _nearest(path: Path) -> Path:
    """Return the directory that is there and in which `path` lies or would be made."""
    return next((one for one in (path, *path.parents) if one.is_dir()), path)
