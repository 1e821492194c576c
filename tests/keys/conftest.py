"""Fixtures of the keys room."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from database import Database
from keys.rig import LIFETIMES, Bench, CompanyKms, SetClock
from local_keys import epoch_keys
from wellkeep.findings.findings import Findings
from wellkeep.keys.kms import OneRoot
from wellkeep.keys.ring import KeyRing


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    kms, clock = CompanyKms(), SetClock()
    epochs = epoch_keys(1)
    async with database.pool("wk_app") as pool:
        findings = Findings(pool)
        ring = KeyRing(pool, OneRoot(kms), epochs, findings, clock=clock, lifetimes=LIFETIMES)
        yield Bench(ring, kms, clock, findings, pool, epochs)
        await ring.stop()
        await findings.stop()
