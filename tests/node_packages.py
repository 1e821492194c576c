"""What was installed from npm for the tests (scripts/node-packages), and whether it is what was reviewed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def modules(lock: Path) -> Path:
    """Return where the packages of a lock lie."""
    return Path(__file__).parents[1] / ".node" / lock.stem / "node_modules"


def missing(lock: Path) -> str | None:
    """Return why they can't run here, or None; what is installed is, to the byte, what was reviewed."""
    place = modules(lock)
    if shutil.which("node") is None or not place.is_dir():
        return f"node and the packages of {lock.name} are not installed (scripts/node-packages)"
    found = json.loads((place / ".package-lock.json").read_text())["packages"]
    lines = {f"{name} {one['version']} {one['integrity']}" for name, one in found.items()}
    return None if lines == set(lock.read_text().split("\n")[:-1]) else "other packages than reviewed"
