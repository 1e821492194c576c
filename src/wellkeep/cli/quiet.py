"""What the rooms log while a command runs: errors alone, on standard error, as the allow-list of `api.logs` has them.

A command says itself what it did; stdout belongs to its answer, which programs read.
"""

from __future__ import annotations

import logging
import sys

import structlog

from wellkeep.api import logs


def quieten() -> None:
    """Set up logging for a command; `serve` sets it up anew for its workers."""
    logs.configure(stream=sys.stderr)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
