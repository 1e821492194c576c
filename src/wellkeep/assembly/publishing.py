"""What the trust page stands on: who publishes it, what was tried, and the end of the root log with its anchors.

Rule: the public asks as often as it likes and the database is asked twice a minute: all who come meanwhile are given
the same rows. The threat is a page for strangers that becomes a load on the system it is about.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from wellkeep.assembly.home import Home
from wellkeep.assembly.ledger_proofs import LedgerProofs
from wellkeep.assembly.trials import Trials, Tried
from wellkeep.base.clock import Clock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.settings import Settings
from wellkeep.base.trust_settings import TrustSettings
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.ledger.proof import Signed

KEPT_SECONDS: Final = 30.0
LOOK_BACK: Final = timedelta(days=91)
LOGO_BYTES: Final = 65_536
_ALTERED: Final = frozenset({Kind.SCHEMA_CHANGED, Kind.LEDGER_BROKEN, Kind.LEDGER_BEHIND, Kind.MIGRATION_MISMATCH})
_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Shown:
    """What was read at `at`: what was tried, the root log's end (None: not signed yet), its anchors.

    `doubted`: it is an open finding that the ledger, or what guards it, was altered.
    """

    at: datetime
    tried: Tried
    end: Signed | None
    anchors: AnchorStatus
    doubted: bool


class Publishing:
    """Reads what the page shows, once for everybody."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        *,
        trials: Trials,
        proofs: LedgerProofs,
        anchoring: Anchoring,
        findings: Findings,
        clock: Clock,
    ) -> None:
        """Publish what the settings of `home` say."""
        self.host = settings.host
        self.environment = settings.environment
        self.settings: TrustSettings = settings.trust
        self.clock = clock
        self.trials = trials
        self._logo = None if settings.trust.logo is None else home.resolve(settings.trust.logo)
        self._proofs = proofs
        self._anchoring = anchoring
        self._findings = findings
        self._turn = asyncio.Lock()
        self._shown: tuple[float, Shown] | None = None

    async def shown(self) -> Shown:
        """Return what there is to show, at most half a minute old. Raises DatabaseUnavailable, IntegrityBroken."""
        async with self._turn:
            if self._shown is None or self.clock.monotonic() - self._shown[0] > KEPT_SECONDS:
                read = await self._read()
                self._shown = self.clock.monotonic(), read  # from when it was there, however long it took
            return self._shown[1]

    async def _read(self) -> Shown:
        at = self.clock.now()
        return Shown(
            at=at,
            tried=await self.trials.since(at - LOOK_BACK),
            end=await self._proofs.end(),
            anchors=await self._anchoring.status(),
            doubted=any(one.kind in _ALTERED for one in await self._findings.list(PLATFORM_TENANT)),
        )

    def logo(self) -> tuple[bytes, str] | None:
        """Return the logo and its media type; None where there is none, or it is neither SVG nor PNG, or too large."""
        return None if self._logo is None else _image(self._logo)


def _image(path: Path) -> tuple[bytes, str] | None:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe would hold us up
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            body = file.read(LOGO_BYTES + 1) if regular else b""
    except (OSError, ValueError):
        return None
    if len(body) > LOGO_BYTES:
        return None
    if body.startswith(_PNG):
        return body, "image/png"
    return (body, "image/svg+xml") if b"<svg" in body[:1024] else None
