"""The keeper: starts the embedded PostgreSQL again when it is gone while a server serves.

Rules: it looks every half second and acts on nothing but a missing postmaster; one that hangs is left alone, for
killing it could be the wrong mending. It never makes a cluster: where the data directory is gone (a volume that is not
mounted) it waits for it. What can't be started is tried again, ever more slowly, and said in the log.
Meanwhile requests are refused with 503 by whoever needs the database. The threat is an outage that lasts until somebody
wakes up, because a killed PostgreSQL (the kernel's OOM killer, an operator's slip) stays down.

An external PostgreSQL is looked after by those who run it.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from wellkeep.assembly.database import Database
from wellkeep.base.errors import Misconfigured, WellkeepError
from wellkeep.db.embedded import EmbeddedServer

LOOK_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0

_log = structlog.get_logger("wellkeep.keeper")


@contextmanager
def kept(database: Database) -> Iterator[None]:
    """Keep the embedded server of `database` running within the block; leave an external one alone."""
    if database.embedded is None:
        yield
        return
    leaving = threading.Event()
    keeper = threading.Thread(target=_keep, args=(database.embedded, leaving), name="postgresql-keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        leaving.set()
        keeper.join()


def _keep(server: EmbeddedServer, leaving: threading.Event) -> None:
    pause = LOOK_SECONDS
    while not leaving.wait(pause):
        if server.pid is not None:
            continue
        _log.error("postgresql.gone")
        try:
            if not server.data.exists():
                raise Misconfigured(f"{server.data} is gone. Mount it, or restore it from your backup.")
            server.start()
        except (WellkeepError, OSError, subprocess.SubprocessError) as error:
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            _log.error("postgresql.start_failed", kind=type(error).__name__, seconds=pause)
        else:
            pause = LOOK_SECONDS
            _log.warning("postgresql.started")
