"""How many rounds a soak has, and where it writes what it measured."""

from __future__ import annotations

import json
import os
from pathlib import Path

_FULL = 100


def soak_rounds() -> range:
    """Return the seeds of a soak: `WELLKEEP_SOAK_ROUNDS` of them, 100 where it is unset."""
    rounds = int(os.environ.get("WELLKEEP_SOAK_ROUNDS") or _FULL)
    return range(1001, 1001 + rounds)


def note(what: str, **measured: float) -> None:
    """Append what a round measured to the file that `WELLKEEP_SOAK_LOG` names, if it names one."""
    log = os.environ.get("WELLKEEP_SOAK_LOG")
    if log:
        line = {"what": what} | {name: round(value, 3) for name, value in measured.items()}
        with Path(log).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
