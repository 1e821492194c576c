"""A house with its door: gate, keys and an authenticator over the test's database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from database import ENVIRONMENT, Database
from gate.trial import House, house
from wellkeep.access.api_keys import ApiKeys
from wellkeep.access.authenticator import Authenticator
from wellkeep.access.operators import operator
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.gate.acts import Caller


class MovedClock(SystemClock):
    """The machine's clock, set forward by `by`."""

    by = timedelta()

    def now(self) -> datetime:
        return super().now() + self.by

    def seconds(self) -> float:
        return super().seconds() + self.by.total_seconds()

    def monotonic(self) -> float:
        return super().monotonic() + self.by.total_seconds()


@dataclass
class Door:
    home: House
    keys: ApiKeys
    clock: MovedClock
    operator: Caller

    def worker(self, *, environment: str = ENVIRONMENT) -> Authenticator:
        """Return another worker's authenticator, with a memory of its own."""
        return Authenticator(
            auth_pool=self.home.auth_pool,
            app_pool=self.home.pool,
            gate=self.home.gate,
            findings=self.home.findings,
            clock=self.clock,
            environment=environment,
        )


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    """Open a house with its door."""
    clock = MovedClock()
    async with house(database) as home:
        keys = ApiKeys(gate=home.gate, clock=clock, environment=ENVIRONMENT)
        yield Door(home, keys, clock, Caller(operator("root"), None, uuid7()))
