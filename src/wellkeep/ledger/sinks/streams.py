"""All sinks of one process: each a task of its own, so that one that hangs or breaks is nobody else's matter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from wellkeep.base.clock import Clock
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.base.sink_settings import FileSink, HecSink, SinkSettings
from wellkeep.db.pool import Pool
from wellkeep.egress.egress import Egress
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.sinks.desk import Desk
from wellkeep.ledger.sinks.file import FileReceiver
from wellkeep.ledger.sinks.hec import HecReceiver
from wellkeep.ledger.sinks.receiver import Receiver
from wellkeep.ledger.sinks.stream import Pace, Stream
from wellkeep.ledger.sinks.syslog import SyslogReceiver

_GOODBYE_SECONDS: Final = 3.0

_log = structlog.get_logger("wellkeep.ledger")


class Streams:
    """The sinks that a deployment names, delivered to while this is started."""

    def __init__(
        self,
        sinks: Sequence[SinkSettings],
        *,
        pool: Pool,
        egress: Egress,
        home: Path,
        host: str,
        clock: Clock,
        reporter: Reporter,
        pace: Pace | None = None,
    ) -> None:
        """`pool` is wk_ledger's and not the writer's; `host` is the deployment's name; nothing runs yet."""
        self._egress = egress
        self._home = home
        self._host = host
        self._clock = clock
        holder, chosen = uuid7(), pace or Pace()
        self._streams = [
            Stream(
                sink,
                desk=Desk(pool, sink=sink, holder=holder, hold=chosen.hold),
                receiver=self._receiver(sink),
                clock=clock,
                reporter=reporter,
                pace=chosen,
            )
            for sink in sinks
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Deliver in the background; a database or a receiver that is away is waited for."""
        self._tasks = [asyncio.create_task(stream.run(), name="ledger-stream") for stream in self._streams]

    async def stop(self) -> None:
        """End every delivery, and give the turns back so that another process goes on at once."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(_leave(stream) for stream in self._streams))

    def _receiver(self, sink: SinkSettings) -> Receiver:
        if isinstance(sink, FileSink):
            return FileReceiver(sink, path=self._home / sink.path, clock=self._clock)
        if isinstance(sink, HecSink):
            token = self._home / "secrets" / sink.token
            return HecReceiver(sink, egress=self._egress, host=self._host, token=token, clock=self._clock)
        return SyslogReceiver(sink, egress=self._egress, host=self._host)


async def _leave(stream: Stream) -> None:
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await stream.stop()
    except (WellkeepError, TimeoutError):
        _log.warning("ledger.sink_turn_kept")  # it ends by itself within seconds
