"""Anchors of a deployment: opened from its settings, asked how they stand, and for all that the outside holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from wellkeep.assembly.home import Home
from wellkeep.base.anchor_settings import needed
from wellkeep.base.clock import Clock
from wellkeep.base.errors import WellkeepError
from wellkeep.base.settings import LedgerSettings, Settings
from wellkeep.db.dsn import Endpoint
from wellkeep.db.pool import Limits, Pool
from wellkeep.egress.egress import Egress
from wellkeep.ledger.anchors import gathering
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.anchors.book import AnchorBook
from wellkeep.ledger.anchors.gathering import Gathered
from wellkeep.ledger.anchors.opening import open_anchors
from wellkeep.ledger.anchors.status import AnchorStatus, Policy, metrics, weigh
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.checkpoint import CheckpointSigner

if TYPE_CHECKING:
    from wellkeep.assembly.core import Core

_KEPT_SECONDS = 5.0
_ASK_SECONDS = 2.0


def policy_of(settings: LedgerSettings) -> Policy:
    """Return the policy that the settings state."""
    return Policy(
        needed=needed(settings.anchors, settings.anchors_needed),
        every=timedelta(seconds=settings.anchor_every_seconds),
        stale=timedelta(seconds=settings.anchors_stale_seconds),
    )


def open_anchoring(
    home: Home,
    settings: Settings,
    pool: Pool,
    *,
    egress: Egress,
    signers: Sequence[CheckpointSigner],
    reporter: Reporter,
    clock: Clock,
) -> Anchoring:
    """Return what anchors the root log; `pool` is wk_ledger's. Raises Misconfigured where a secret or key is none."""
    return Anchoring(
        open_anchors(settings.ledger.anchors, home=home.path, egress=egress, signers=signers, clock=clock),
        book=AnchorBook(pool, host=settings.host),
        signers=signers,
        policy=policy_of(settings.ledger),
        reporter=reporter,
        clock=clock,
    )


async def read_status(settings: Settings, endpoint: Endpoint, *, now: datetime) -> AnchorStatus:
    """Return how the anchors stand, without opening any; `endpoint` is wk_ledger's. Raises WellkeepError."""
    async with Pool(endpoint, context_key=None, limits=Limits(min_size=1, max_size=1)) as pool:
        book = AnchorBook(pool, host=settings.host)
        standings = await book.standings([one.name for one in settings.ledger.anchors])
    return weigh(settings.ledger.anchors, standings, policy=policy_of(settings.ledger), now=now)


class AnchorMetrics:
    """The anchors' lines of `/metrics`, asked of the database every five seconds at most."""

    def __init__(self, core: Core) -> None:
        """Ask nothing yet."""
        self._core = core
        self._text = ""
        self._asked: float | None = None

    async def text(self) -> str:
        """Return the lines; none without anchors, and while the database does not say."""
        now = self._core.clock.monotonic()
        if self._core.anchoring.anchors and (self._asked is None or now - self._asked >= _KEPT_SECONDS):
            self._asked, self._text = now, ""
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    self._text = metrics(await self._core.anchoring.status())
            except (WellkeepError, TimeoutError):
                return ""
        return self._text


async def anchor_status(core: Core) -> AnchorStatus:
    """Return how the anchors stand against the policy. Raises DatabaseUnavailable."""
    return await core.anchoring.status()


async def gather(core: Core) -> Gathered:
    """Return every checkpoint of the root log that anchors hold or took. Raises DatabaseUnavailable."""
    return await gathering.gather(core.anchoring)
