"""An attempt at an anchor: it has its time, and whatever comes of it is a code.

Rule: what a library makes of a strange answer holds up no other anchor, nor what asks them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

from wellkeep.base.errors import WellkeepError
from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble

ANCHOR_SECONDS = 40.0
"""How long one anchor may take, all its exchanges together."""

_log = structlog.get_logger("wellkeep.ledger")


async def attempted(anchor: str, work: Awaitable[None], *, seconds: float) -> Trouble | None:
    """Return what kept `work` from ending well within `seconds`, None where it did end well.

    Raises WellkeepError: that is the database, and not the anchor.
    """
    try:
        async with asyncio.timeout(seconds):
            await work
    except AnchorFailed as failed:
        return failed.trouble
    except TimeoutError:
        return Trouble.TIMED_OUT
    except WellkeepError:
        raise
    except Exception as fault:  # noqa: BLE001 -- its class is said, and the others go on
        _log.error("anchor_broken", anchor=anchor, error=type(fault).__name__)
        return Trouble.INTERNAL
    return None
