"""A backup taken and put back with PostgreSQL's own programs and none of ours, as whoever stole one would.

Rules: `pg_basebackup` with its WAL, then `postgres` on the copy, with no setting of ours but where its socket is; it is
stopped and removed afterwards. What is read from it is what lay in the backup.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from wellkeep.base.errors import WellkeepError
from wellkeep.db.account import server_account
from wellkeep.db.connection import Connection
from wellkeep.db.dsn import Endpoint
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.provision import connected
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.scratch import Scratch

_FOLDER: Final = "raw"
_BACKUP_SECONDS = 120.0
_STOP_SECONDS = 20.0
_LOOKS = 200
_LOOK_SECONDS = 0.1
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}


async def taken(scratch: Scratch) -> Path:
    """Take a base backup with its WAL and return where it lies. Raises Unseen where that can't be done."""
    server = _embedded(scratch)
    account = server_account()
    folder = scratch.home.path.parent / _FOLDER
    folder.mkdir(mode=0o700)
    account.own(folder)
    endpoint = scratch.superuser()
    password = {} if endpoint.password is None else {"PGPASSWORD": endpoint.password.reveal()}
    place = ["-h", endpoint.host, "-p", str(endpoint.port), "-U", endpoint.user, "-w"]
    program = [server.program("pg_basebackup"), "-D", str(folder / "data"), "-X", "stream", "-c", "fast", *place]

    def copy() -> int:
        done = subprocess.run(  # noqa: S603 -- PostgreSQL's own program, no shell
            program,
            env=_ENVIRONMENT | password,
            cwd="/",
            capture_output=True,
            timeout=_BACKUP_SECONDS,
            check=False,
            **account.credentials(),
        )
        return done.returncode

    code = await asyncio.to_thread(copy)
    if code:
        raise Unseen(f"pg_basebackup ended with {code}")
    return folder


@asynccontextmanager
async def started(scratch: Scratch, folder: Path) -> AsyncIterator[Connection]:
    """Start PostgreSQL on the backup in `folder`, lend a superuser's connection to it, stop it and remove it all."""
    process = subprocess.Popen(  # noqa: ASYNC220, S603 -- PostgreSQL's own program, which outlives this line
        [
            *(_embedded(scratch).program("postgres"), "-D", str(folder / "data")),
            *("-c", f"unix_socket_directories={folder}", "-c", "listen_addresses="),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_ENVIRONMENT,
        start_new_session=True,
        **server_account().credentials(),
    )
    try:
        endpoint = dataclasses.replace(scratch.superuser(), host=str(folder))
        await _ready(process, endpoint)
        async with connected(endpoint) as connection:
            yield connection
    finally:
        os.kill(process.pid, signal.SIGINT)
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _ready(process: subprocess.Popen[bytes], endpoint: Endpoint) -> None:
    for _ in range(_LOOKS):
        if process.poll() is not None:
            break
        try:
            async with connected(endpoint):
                return
        except (WellkeepError, OSError):
            await asyncio.sleep(_LOOK_SECONDS)
    raise Unseen("PostgreSQL did not start on the backup")


def _embedded(scratch: Scratch) -> EmbeddedServer:
    embedded = scratch.database.embedded
    if embedded is None:
        raise Unseen("the scratch deployment's database is an external server")
    return embedded
