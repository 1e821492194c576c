"""A worker that dies at its n-th transaction: at its end, or just after the commit, before anybody learns of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wellkeep.base.errors import WellkeepError
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool


class Died(WellkeepError):
    """The worker is gone."""


class DyingPool(Pool):
    """The real pool, in a worker that dies; once dead, it does nothing more."""

    def __init__(self, pool: Pool, *, at: int, committed: bool) -> None:
        self.__dict__.update(pool.__dict__)
        self.left = at
        self.committed = committed
        self.dead = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        if self.dead:
            raise Died
        self.left -= 1
        async with super().transaction() as connection:
            yield connection
            if self.left <= 0 and not self.committed:
                self.dead = True
                raise Died
        if self.left <= 0:
            self.dead = True
            raise Died
