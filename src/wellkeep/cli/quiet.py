"""What the rooms log while a command runs: errors alone, on standard error, as the allow-list of `api.logs` has them.

A command says itself what it did; stdout belongs to its answer, which programs read.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from wellkeep.api import logs


def quieten() -> None:
    """Set up logging for a command; `serve` sets it up anew for its workers."""
    logs.configure(stream=sys.stderr)
    _from(logging.ERROR)


@contextmanager
def silenced() -> Iterator[None]:
    """Log nothing meanwhile: what a probe takes away on purpose is no news, and its steps tell what came of it."""
    _from(logging.CRITICAL)
    try:
        yield
    finally:
        _from(logging.ERROR)


def _from(level: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
