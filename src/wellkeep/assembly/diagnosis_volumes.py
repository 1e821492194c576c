"""The volumes underneath a deployment: what lies where, what each lies on, and how to mend what lies in clear."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from wellkeep.assembly.block_devices import Footing, Ground
from wellkeep.assembly.home import Home
from wellkeep.assembly.verdict import Verdict
from wellkeep.assembly.volumes import Volumes, attested, stated_of
from wellkeep.base.apart import Apart
from wellkeep.base.clock import SystemClock
from wellkeep.base.key_settings import LocalRoot
from wellkeep.base.settings import Settings

_SECONDS = 5.0
_DATABASE = "database"
_SWAP = "swap"


@dataclass(frozen=True, slots=True)
class Underneath:
    """One thing that is written to disks, where it lies (nowhere that this machine sees: None), and on what."""

    what: str
    where: Path | None
    footing: Footing


async def underneath(home: Home, settings: Settings) -> list[Underneath]:
    """Return what each directory of the deployment lies on, and the swap; a mount that hangs is unknown."""
    looking = Apart(name="volumes").submit(lambda: look(home, settings, Volumes(), today=SystemClock().now().date()))
    try:
        return await asyncio.wait_for(asyncio.wrap_future(looking), _SECONDS)
    except TimeoutError:
        footing = Footing(Ground.UNKNOWN, "a file system did not answer in time")
        return [Underneath(what, where, footing) for what, where in directories(home, settings)]


def look(home: Home, settings: Settings, volumes: Volumes, *, today: date) -> list[Underneath]:
    """Return what each directory of the deployment lies on, and the swap, as `volumes` and the settings say."""
    stated = settings.volumes.attested
    by_name = {one.path: one for one in stated}
    found = []
    for what, where in directories(home, settings):
        if where is None:
            afar = Footing(Ground.UNKNOWN, "it lies on another machine, which this one can't look into")
            footing = attested(afar, by_name.get(_DATABASE), today=today)
        else:
            said = stated_of(where, stated, home=home.path, volumes=volumes)
            footing = attested(volumes.of(where), said, today=today)
        found.append(Underneath(what, where, footing))
    return [*found, Underneath("swap", None, attested(volumes.swap(), by_name.get(_SWAP), today=today))]


def directories(home: Home, settings: Settings) -> Iterator[tuple[str, Path | None]]:
    """Yield what is written to disks and where: None for what lies on another machine."""
    if settings.database.mode == "embedded":
        data = home.path / "postgres" / "data"
        yield "the database's files", data
        yield "the database's write-ahead log", data / "pg_wal"
        yield "the database's temporary files", data / "base" / "pgsql_tmp"
        yield "the database's log", data / "log"
    else:
        yield "the database's files, write-ahead log, temporary files and log", None
    yield "the server's log", home.log
    yield "temporary files", Path(tempfile.gettempdir())
    yield "secrets", home.secrets
    local = [one.key for one in settings.keys.all_roots() if isinstance(one, LocalRoot)]
    for folder in dict.fromkeys(home.resolve(name).parent for name in (*local, settings.tls.key)):
        if folder != home.secrets:
            yield "a key's file", folder
    yield "what this host remembers of the ledger", home.resolve(settings.ledger.memory).parent


async def volume_verdicts(home: Home, settings: Settings) -> list[Verdict]:
    """Tell of each directory whether a thief of the disks could read it."""
    return [_verdict(one) for one in await underneath(home, settings)]


def _verdict(one: Underneath) -> Verdict:
    place = "" if one.where is None else f" ({one.where})"
    mend = f"{one.footing.by[0].upper()}{one.footing.by[1:]}. See docs/how-to/encrypt-volumes.md"
    return Verdict(f"On encrypted volumes: {one.what}{place}", one.footing.safe, mend)
