"""What the doctor says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing looked at. `mend` says what to do where it is not fine."""

    what: str
    fine: bool
    mend: str = ""
