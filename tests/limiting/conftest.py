"""A Redis of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from limiting.redis_server import RedisServer
from wellkeep.access import redis_line


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    running = RedisServer(tmp_path)
    await running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for answers as long as a slow machine takes, where a test is about what is counted and not about time."""
    monkeypatch.setattr(redis_line, "ANSWER_SECONDS", 10.0)
