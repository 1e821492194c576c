"""The one-file verifier, run in this process: what it was given, what it said; and the places of an export."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from verifiers.exporting import HOST, TENANTS, put
from wellkeep.base.secrets import Secret
from wellkeep.ledger.seal import origin

PROGRAM = Path(__file__).parents[2] / "verifiers" / "python" / "wellkeep_verify.py"
ROOT = f"{HOST}/ledger/root"
FIRST, SECOND, THIRD = (origin(HOST, tenant, 1) for tenant in TENANTS)
THIEF = Secret(bytes(32))


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wellkeep_verify", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wellkeep_verify"] = module
    spec.loader.exec_module(module)
    return module


VERIFIER = loaded()


class Result:
    """What a run printed as JSON, and its exit code."""

    def __init__(self, code: int, printed: str) -> None:
        self.code = code
        self.told: dict[str, Any] = json.loads(printed)

    @property
    def places(self) -> list[tuple[str, int]]:
        return [(bad["log"], bad["seq"]) for bad in self.told.get("bad", [])]


Run = Callable[..., Result]


def log_of(top: Path, number: int) -> Path:
    return top / f"logs/{TENANTS[number]}/1"


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    before = path.read_bytes()
    after = change(before)
    assert after != before
    path.write_bytes(after)


def manifest(top: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads((top / "manifest.json").read_text())
    change(said)
    put(top / "manifest.json", json.dumps(said).encode())


def at(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda said: said.__setitem__(key, value)


def in_log(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda said: said["logs"][1].__setitem__(key, value)


def unbundled(raw: bytes) -> list[bytes]:
    entries = []
    while raw:
        length = int.from_bytes(raw[:2], "big")
        entries.append(raw[2 : 2 + length])
        raw = raw[2 + length :]
    return entries


def in_entry(top: Path) -> None:
    """Change one word of entry 1 of the first log."""
    edit(log_of(top, 0) / "tile/entries/000", lambda raw: raw.replace(b'"clinician"', b'"clinichan"', 1))
