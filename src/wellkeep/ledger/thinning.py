"""Thinning: of what was signed over a day ago, the last checkpoint of each log and minute is kept, and no other.

Rules: the root log's stay, for anchors hold them, and so does each that the root log covers: what was shown to anybody
can be shown again. It goes back hour by hour until some hours in a row held nothing to thin, so a round costs what came
since the last one, however much was kept before; what an outage left is caught up with as far back as no such hours lie
between, and what lies behind them is kept whole, which takes space and nothing else. Each statement takes a bounded
share.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from wellkeep.db.pool import Pool

KEPT_WHOLE: Final = timedelta(days=1)
"""For how long every checkpoint is kept."""

_HOUR = timedelta(hours=1)
_HOURS_WITHOUT = 3
_SHARE = 10_000
_THIN = "SELECT ledger.thin_checkpoints($1, $2, $3)"


async def thin(pool: Pool, *, now: datetime, stopping: Callable[[], bool]) -> int:
    """Thin until nothing is left to thin, or `stopping`; return how many checkpoints went. `pool` is wk_ledger's."""
    until, without, thinned = now - KEPT_WHOLE, 0, 0
    while without < _HOURS_WITHOUT and not stopping():
        gone = await _thin_hour(pool, until - _HOUR, stopping)
        without = 0 if gone else without + 1
        thinned += gone
        until -= _HOUR
    return thinned


async def _thin_hour(pool: Pool, since: datetime, stopping: Callable[[], bool]) -> int:
    thinned, gone = 0, _SHARE
    while gone == _SHARE and not stopping():
        async with pool.connection() as connection:
            gone = await connection.fetchval(_THIN, since, since + _HOUR, _SHARE)
        thinned += gone
    return thinned
