"""Made-up machines: trees of /proc and /sys of known stackings, to try what tells encrypted volumes from others.

Laid out as the kernel does (Documentation/ABI/testing/sysfs-block; proc(5)): a device is a directory with its number
in `dev`, what it stands on in `slaves`, and for device-mapper its id in `dm/uuid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_MOUNT = "{id} 1 {number} / {point} rw,relatime - {kind} {source} {options}\n"
_SWAPS = "Filename Type Size Used Priority\n"


class Machine:
    """One made-up machine below `root`, an empty directory."""

    def __init__(self, root: Path) -> None:
        """Begin with nothing mounted and no swap."""
        self.root = root
        self._numbers: dict[str, str] = {}
        for folder in ("proc/self", "sys/dev/block", "sys/class/block", "sys/devices", "dev/mapper"):
            (root / folder).mkdir(parents=True)
        self._mounts = root / "proc/self/mountinfo"
        self._swaps = root / "proc/swaps"
        self._mounts.write_text("")
        self._swaps.write_text(_SWAPS)

    def device(self, name: str, *, on: Sequence[str] = (), uuid: str = "", partition_of: str = "") -> str:
        """Make a block device that stands on others; return its number."""
        number = self._numbers[name] = f"8:{len(self._numbers)}"
        folder = self.root / "sys/devices" / (f"{partition_of}/{name}" if partition_of else name)
        (folder / "slaves").mkdir(parents=True)
        (folder / "dev").write_text(number + "\n")
        if partition_of:
            (folder / "partition").write_text("1\n")
        if uuid:
            (folder / "dm").mkdir()
            (folder / "dm/uuid").write_text(uuid + "\n")
        for below in on:
            (folder / "slaves" / below).symlink_to(self._folder(below))
        for link in (f"sys/dev/block/{number}", f"sys/class/block/{name}"):
            (self.root / link).symlink_to(folder)
        return number

    def tell(self, device: str, file: str, said: str) -> None:
        """Have /sys say something else of a device, such as what file is behind a loop device."""
        path = self._folder(device) / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(said + "\n")

    def file(self, name: str) -> None:
        """Make a file that the machine sees: what a loop device or a swap file may lie in."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def mounted(self, point: str, device: str = "", *, kind: str = "ext4", source: str = "", options: str = "") -> None:
        """Mount a device, or a file system that has none."""
        number = self._numbers.get(device, "0:40")
        with self._mounts.open("a") as lines:
            at = point.replace(" ", "\\040")
            source = source or f"/dev/{device}"
            lines.write(
                _MOUNT.format(id=20, number=number, point=at, kind=kind, source=source, options=options or "rw")
            )

    def swap(self, name: str, kind: str) -> None:
        """Have pages swapped out to a device, or to a file."""
        with self._swaps.open("a") as lines:
            lines.write(f"{name} {kind} 8388604 0 -2\n")

    def _folder(self, device: str) -> Path:
        return (self.root / "sys/class/block" / device).resolve()
