"""A process of its own, to be killed or not: a writer with callers that says on its output what was acknowledged.

Run as `python crashing.py`, with the DSN of wk_ledger, the tenant, how many callers and how often each (0: for ever) as
four lines on its input.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1]))

from ledger.making import HOST, SEAL_KEY, Reports, prepared
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.secrets import Secret
from wellkeep.db import dsn
from wellkeep.db.pool import Limits, Pool
from wellkeep.ledger.writer import LedgerWriter


async def main() -> None:
    """Append as often as asked, or until killed; a line of `<event id>` for each acknowledged one, in one write."""
    endpoint = dsn.parse(Secret(sys.stdin.readline().strip()))
    tenant = UUID(sys.stdin.readline().strip())
    callers, calls = int(sys.stdin.readline()), int(sys.stdin.readline())
    async with Pool(endpoint, context_key=None, limits=Limits(max_size=2, command_seconds=5.0)) as pool:
        writer = LedgerWriter(pool, host=HOST, seal_key=SEAL_KEY, clock=SystemClock(), reporter=Reports())
        await writer.start()

        async def caller() -> None:
            for _ in range(calls) if calls else count():
                events = prepared(2)
                try:
                    await writer.append(tenant, events)
                except LedgerUnavailable:
                    await asyncio.sleep(0.05)
                    continue
                sys.stdout.write("".join(f"{each.event.id}\n" for each in events))
                sys.stdout.flush()

        await asyncio.gather(*(caller() for _ in range(callers)))
        await writer.stop()


asyncio.run(main())
