"""Counters of requests, by route and outcome: whole numbers in memory that the workers share.

Rule: a label is a route of ours, a class of status or a listener, never anything that was sent. Each worker writes its
own slot, so no lock is needed; whoever is asked adds the slots up, so any worker answers for all.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Iterator, MutableSequence
from typing import cast

_SPAWN = multiprocessing.get_context("spawn")
_CLASSES = 5
_WIDTH = _CLASSES + 2


def shared_slots(workers: int, rows: int) -> MutableSequence[int]:
    """Return the memory for `workers` slots, inherited by processes that are spawned with it."""
    return cast("MutableSequence[int]", _SPAWN.RawArray(ctypes.c_uint64, workers * rows * _WIDTH))


class Metrics:
    """Counts one worker's requests; row 0 is for requests that met no route."""

    def __init__(
        self, names: tuple[str, ...], *, slots: MutableSequence[int] | None = None, worker: int = 0, workers: int = 1
    ) -> None:
        """`names` are the routes' operation ids, the same in each worker; `slots` is the shared memory."""
        self._names = ("unrouted", *names)
        self._rows = {name: row for row, name in enumerate(self._names)}
        self._slots = slots if slots is not None else [0] * (workers * len(self._names) * _WIDTH)
        self._base = worker * len(self._names) * _WIDTH
        self._workers = workers
        self.in_flight = 0

    @staticmethod
    def rows(names: tuple[str, ...]) -> int:
        """Return how many rows a slot has for these routes."""
        return len(names) + 1

    def count(self, name: str | None, *, status: int, microseconds: int) -> None:
        """Add one request to its route's row."""
        row = self._base + self._rows.get(name or "", 0) * _WIDTH
        self._slots[row + min(max(status // 100, 1), _CLASSES) - 1] += 1
        self._slots[row + _CLASSES] += 1
        self._slots[row + _CLASSES + 1] += microseconds

    def text(self) -> str:
        """Return all workers' counters in the Prometheus text format 0.0.4."""
        return "\n".join(self._lines()) + "\n"

    def _total(self, row: int, column: int) -> int:
        stride = len(self._names) * _WIDTH
        return sum(self._slots[worker * stride + row * _WIDTH + column] for worker in range(self._workers))

    def _lines(self) -> Iterator[str]:
        yield "# HELP wellkeep_requests_total Requests answered, by route and class of status."
        yield "# TYPE wellkeep_requests_total counter"
        for row, name in enumerate(self._names):
            for index in range(_CLASSES):
                count = self._total(row, index)
                if count:
                    yield f'wellkeep_requests_total{{route="{name}",status="{index + 1}xx"}} {count}'
        yield "# HELP wellkeep_request_seconds Time spent on requests, by route."
        yield "# TYPE wellkeep_request_seconds summary"
        for row, name in enumerate(self._names):
            count = self._total(row, _CLASSES)
            if count:
                seconds = self._total(row, _CLASSES + 1) / 1_000_000
                yield f'wellkeep_request_seconds_sum{{route="{name}"}} {seconds:.6f}'
                yield f'wellkeep_request_seconds_count{{route="{name}"}} {count}'
