"""What the trust page stands on: who publishes it, what was tried, and the end of the root log with its anchors.

Rule: the public asks as often as it likes and the database is asked twice a minute: all who come meanwhile are given
the same rows. The threat is a page for strangers that becomes a load on the system it is about.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from wellkeep.assembly.home import Home
from wellkeep.assembly.ledger_proofs import LedgerProofs
from wellkeep.assembly.trials import Trials, Tried
from wellkeep.base.clock import Clock
from wellkeep.base.settings import Settings
from wellkeep.base.trust_settings import TrustSettings
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.ledger.proof import Signed

KEPT_SECONDS: Final = 30.0
LOOK_BACK: Final = timedelta(days=91)
LOGO_BYTES: Final = 65_536
_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Shown:
    """What was read at `at`: what was tried, the root log's end (None: not signed yet), its anchors."""

    at: datetime
    tried: Tried
    end: Signed | None
    anchors: AnchorStatus


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
        self._turn = asyncio.Lock()
        self._shown: tuple[float, Shown] | None = None

    async def shown(self) -> Shown:
        """Return what there is to show, at most half a minute old. Raises DatabaseUnavailable, IntegrityBroken."""
        async with self._turn:
            now = self.clock.monotonic()
            if self._shown is None or now - self._shown[0] > KEPT_SECONDS:
                self._shown = now, await self._read()
            return self._shown[1]

    async def _read(self) -> Shown:
        at = self.clock.now()
        return Shown(
            at=at,
            tried=await self.trials.since(at - LOOK_BACK),
            end=await self._proofs.end(),
            anchors=await self._anchoring.status(),
        )

    def logo(self) -> tuple[bytes, str] | None:
        """Return the logo and its media type; None where there is none, or it is neither SVG nor PNG, or too large."""
        return None if self._logo is None else _image(self._logo)


def _image(path: Path) -> tuple[bytes, str] | None:
    try:
        with path.open("rb") as file:
            body = file.read(LOGO_BYTES + 1)
    except OSError:
        return None
    if len(body) > LOGO_BYTES:
        return None
    if body.startswith(_PNG):
        return body, "image/png"
    return (body, "image/svg+xml") if b"<svg" in body[:1024] else None
