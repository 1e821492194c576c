"""Anchors of a deployment: opened from its settings, and asked how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from wellkeep.assembly.home import Home
from wellkeep.base.anchor_settings import needed
from wellkeep.base.clock import Clock
from wellkeep.base.settings import LedgerSettings, Settings
from wellkeep.db.dsn import Endpoint
from wellkeep.db.pool import Limits, Pool
from wellkeep.egress.egress import Egress
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.anchors.book import AnchorBook
from wellkeep.ledger.anchors.opening import open_anchors
from wellkeep.ledger.anchors.status import AnchorStatus, Policy, metrics, weigh
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.checkpoint import CheckpointSigner


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


async def anchor_lines(anchoring: Anchoring) -> str:
    """Return the anchors' lines of `/metrics`; without an anchor they say that none is needed and none holds.

    Raises DatabaseUnavailable.
    """
    return metrics(await anchoring.status())
