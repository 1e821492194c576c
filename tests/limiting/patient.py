"""`wellkeep`, whose every process waits for Redis as long as a slow machine takes: `python patient.py serve HOME`."""

from __future__ import annotations

from wellkeep.access import redis_line
from wellkeep.cli.main import main

redis_line.ANSWER_SECONDS = 10.0  # type: ignore[misc]  # in each worker too: they read this file when they are made

if __name__ == "__main__":
    main()
