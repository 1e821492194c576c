"""A server of its own process, for the tests that stop, kill and crowd it: `python served.py HOME WORKERS`.

Its runtime stands on nothing but a readiness that takes as long as it is told: what is tried here is the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from wellkeep.access.limits import Counts, RateLimits
from wellkeep.api.server import Addresses, serve
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.limit_settings import LimitSettings
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.base.settings import Settings
from wellkeep.findings.findings import Finding


class SlowReadiness:
    """Ready after a while; the parts say which process answered."""

    async def check(self) -> Mapping[str, bool]:
        await asyncio.sleep(float(os.environ.get("SLOW", "0")))
        return {f"process_{os.getpid()}": True}

    async def findings(self) -> Mapping[str, int]:
        return {}

    def keys(self) -> Mapping[str, int]:
        return {}

    async def metrics(self) -> str:
        return "wellkeep_more 1\n"


class NoFindings:
    """Nothing was found; there is no database to keep it."""

    async def list(self, _tenant: UUID) -> list[Finding]:
        return []


@asynccontextmanager
async def bare_runtime() -> AsyncIterator[Any]:
    """Open a runtime that is ready and nothing else, and say when it is given back."""
    if os.environ.get("DIES"):
        raise RuntimeError("Xk9CanaryZq")
    try:
        limits = RateLimits(Counts(deployment=uuid7(), clock=SystemClock()), LimitSettings())
        yield SimpleNamespace(readiness=SlowReadiness(), findings=NoFindings(), limits=limits)
    finally:
        sys.stdout.write(f"closed {os.getpid()}\n")
        sys.stdout.flush()


def settings() -> Settings:
    """Return settings whose listeners take free ports."""
    anywhere = ListenSettings(public="127.0.0.1:0", admin="127.0.0.1:0", plain="127.0.0.1:0")
    return Settings(version=1, deployment=uuid7(), environment="test", listen=anywhere)


def tell(addresses: Addresses) -> None:
    """Write where it listens, one line."""
    sys.stdout.write(f"ready {addresses.public} {addresses.admin} {addresses.plain}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(serve(bare_runtime, settings(), home=Path(sys.argv[1]), workers=int(sys.argv[2]), on_ready=tell))
