"""A process of its own, to be killed or not: it delivers to a file and to a syslog receiver.

Run as `python delivering.py`, with one JSON object on its input: the DSN of wk_ledger, the home, the port and authority
of the receiver, and for how many seconds a turn lasts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from egress.outside import HOST as SIEM
from egress.outside import LOOPBACK, Noted, way_out
from ledger.making import HOST, Reports
from sinks.streaming import OUT
from wellkeep.base.clock import SystemClock
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Place
from wellkeep.base.sink_settings import FileSink, SyslogSink
from wellkeep.db import dsn
from wellkeep.db.pool import Limits, Pool
from wellkeep.ledger.sinks.stream import Pace
from wellkeep.ledger.sinks.streams import Streams


async def main() -> None:
    """Deliver until killed."""
    told = json.loads(sys.stdin.readline())
    place = Place(name="siem", host=SIEM, ports=(told["port"],), networks=LOOPBACK, ca=told["authority"])
    endpoint = dsn.parse(Secret(told["dsn"]))
    async with Pool(endpoint, context_key=None, limits=Limits(max_size=2)) as pool:
        streams = Streams(
            [FileSink(name="lines", path="lines.jsonl", rotate_bytes=65_536), SyslogSink(name="siem", place="siem")],
            pool=pool,
            egress=way_out(Noted(), place, limits=OUT),
            home=Path(told["home"]),
            host=HOST,
            clock=SystemClock(),
            reporter=Reports(),
            pace=Pace(look=0.02, wait=0.1, hold=told["hold"], keep=0.3, first_pause=0.05, longest_pause=0.3),
        )
        await streams.start()
        sys.stdout.write("started\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main())
