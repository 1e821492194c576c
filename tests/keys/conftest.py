"""Fixtures of the keys room."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from database import Database
from keys.rig import LIFETIMES, Bench, CompanyKms, SetClock
from wellkeep.base.secrets import Secret
from wellkeep.findings.findings import Findings
from wellkeep.keys.local import LocalEpochKeys
from wellkeep.keys.ring import KeyRing


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    kms, clock = CompanyKms(), SetClock()
    epochs = LocalEpochKeys({1: Secret(os.urandom(32))})
    async with database.pool("wk_app") as pool:
        findings = Findings(pool)
        ring = KeyRing(pool, kms, epochs, findings, clock=clock, lifetimes=LIFETIMES)
        yield Bench(ring, kms, clock, findings, pool, epochs)
        await ring.stop()
        await findings.stop()
