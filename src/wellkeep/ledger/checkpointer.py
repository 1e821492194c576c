"""The checkpointer: signs each log that grew, within a second of the commit; one task a process, beside its writer.

Rules: what is signed is what this process itself appended, not what the database says. Others' heads are signed only
where our own seal holds over them: at the start and each minute those that nobody signed (of a process that died, or of
a commit whose answer was lost). A checkpoint that could not be stored is tried again with the next one; appends never
wait for it. What was stored is remembered outside the database, and before anything else is done with it; what a crash
kept from being remembered is remembered at the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from wellkeep.base.clock import Clock
from wellkeep.base.turns import give_way
from wellkeep.crypto.errors import BadProof
from wellkeep.crypto.merkle import Frontier
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner
from wellkeep.ledger.memory import Memory
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import WIDTH

PERIOD_SECONDS: Final = 0.8
"""From one round to the next while logs grow; with a round's own time the checkpoint is there within a second."""

CATCH_UP_SECONDS: Final = 60.0
"""How long a log may stay unsigned whose writer could not say that it grew."""

_SEALED = """
SELECT tenant_id, epoch, origin, size, leaf, "time", frontier, key_id, root, mac, signed FROM ledger.sealed_heads($1)
"""
_ADD = "SELECT ledger.add_checkpoints($1)"
_AT_ONCE = 16
_LOGS_KEPT = 100_000

_Log = tuple[UUID, int]
_log = structlog.get_logger("wellkeep.ledger")


class Checkpointer:
    """Signs checkpoints; started before the writer whose heads it is told of, and stopped after it."""

    def __init__(
        self,
        pool: Pool,
        *,
        signer: CheckpointSigner,
        seal_keys: Mapping[str, SealKey],
        memory: Memory,
        clock: Clock,
        reporter: Reporter,
        period: float = PERIOD_SECONDS,
        catch_up: float = CATCH_UP_SECONDS,
    ) -> None:
        """`pool` is wk_ledger's; `memory` is where this host remembers what was signed."""
        self._pool = pool
        self._signer = signer
        self._seal_keys = seal_keys
        self._memory = memory
        self._clock = clock
        self._reporter = reporter
        self._period = period
        self._catch_up = catch_up
        self._grown: dict[_Log, Head] = {}
        self._tiled: dict[_Log, int] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._round = asyncio.Lock()
        self._caught_up_at: float | None = None
        self._failed = False

    @property
    def healthy(self) -> bool:
        """Whether it runs, and its last round could be stored."""
        return self._task is not None and not self._task.done() and not self._failed

    def grown(self, heads: Iterable[Head]) -> None:
        """Take the heads of logs that were just appended to, durably."""
        for head in heads:
            self._grown[head.tenant, head.epoch] = head
        self._wake.set()

    async def start(self) -> None:
        """Begin; what others left unsigned is signed with the first round."""
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="ledger-checkpointer")

    async def stop(self) -> None:
        """Sign what grew last, and end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.sign_now()

    async def sign_now(self) -> bool:
        """Sign and store what has grown; say whether that could be done. Whoever is at it already is waited for."""
        async with self._round:
            return await self._sign_round()

    async def _sign_round(self) -> bool:
        grown, self._grown = self._grown, {}
        try:
            await self._sign(grown)
        except Exception as error:  # noqa: BLE001  # logged and tried again; a task that died of it would sign no more
            self._failed = True
            self._grown = grown | self._grown
            _log.error("ledger.checkpoint_failed", kind=type(error).__name__)
            return False
        except asyncio.CancelledError:
            self._grown = grown | self._grown
            raise
        self._failed = False
        return True

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._catch_up):  # wait_for of Python 3.11 may pass over a cancellation
                    await self._wake.wait()
            self._wake.clear()
            began = self._clock.monotonic()
            if not await self.sign_now():
                self._wake.set()
            await asyncio.sleep(max(self._period - (self._clock.monotonic() - began), 0.0))

    async def _sign(self, grown: dict[_Log, Head]) -> None:
        async with self._pool.connection() as connection:
            began = self._clock.monotonic()
            catching_up = self._caught_up_at is None or began - self._caught_up_at >= self._catch_up
            if catching_up:
                for log, head in (await self._left(connection)).items():
                    grown.setdefault(log, head)
            if grown:
                rows, checkpoints = await self._signed(grown, self._clock.now())
                await connection.execute(_ADD, rows)
                await asyncio.to_thread(self._memory.note, checkpoints)
                for log, head in grown.items():
                    await self._tile(connection, log, head.size)
        if catching_up:
            self._caught_up_at = began

    async def _signed(
        self, grown: Mapping[_Log, Head], now: datetime
    ) -> tuple[list[tuple[Any, ...]], list[Checkpoint]]:
        rows, checkpoints = [], []
        for count, ((tenant, epoch), head) in enumerate(grown.items(), start=1):
            checkpoint = Checkpoint(head.origin, head.size, Frontier(size=head.size, hashes=head.frontier).root())
            signature = self._signer.signature(checkpoint)
            rows.append((tenant, epoch, head.size, checkpoint.root, now, signature))
            checkpoints.append(checkpoint)
            if count % _AT_ONCE == 0:
                await give_way()
        return rows, checkpoints

    async def _tile(self, connection: Connection, log: _Log, size: int) -> None:
        full = size // WIDTH
        if full > self._tiled.get(log, 0):
            tenant, epoch = log
            await TileStore(connection, tenant=tenant, epoch=epoch).grow(size)
            if len(self._tiled) >= _LOGS_KEPT:
                self._tiled.clear()
            self._tiled[log] = full

    async def _left(self, connection: Connection) -> dict[_Log, Head]:
        """Return the heads that nobody signed, at the start also those that are not remembered here.

        Our own seal must vouch for them; of those that it does not a finding tells.
        """
        remembered = await asyncio.to_thread(self._memory.load) if self._caught_up_at is None else None
        heads: dict[_Log, Head] = {}
        for row in await connection.fetch(_SEALED, remembered is not None):
            tenant, epoch, name, size, leaf, time, frontier, key_id, root, mac, signed = row
            if signed and remembered is not None and name in remembered and remembered[name].size >= size:
                continue
            head = Head(tenant, epoch, name, size, leaf, time, tuple(frontier))
            if self._sealed(head, key_id, root, mac):
                heads[tenant, epoch] = head
            else:
                self._reporter.note(
                    tenant,
                    kind=Kind.LEDGER_BROKEN,
                    severity=Severity.CRITICAL,
                    key=finding_key(Kind.LEDGER_BROKEN, "head"),
                    detail={"what": "head", "size": size},
                )
        return heads

    def _sealed(self, head: Head, key_id: str | None, root: bytes, mac: bytes) -> bool:
        if key_id is None:
            return False
        try:
            computed = Frontier(size=head.size, hashes=head.frontier).root()
        except BadProof:
            return False
        seal = Seal(head.size, key_id, head.leaf, root, mac)
        return computed == root and seal.holds(origin=head.origin, keys=self._seal_keys)
