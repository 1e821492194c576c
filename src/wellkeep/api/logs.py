"""Logs: one JSON object a line, made of an allow-list.

Rules: a line has an event name (a literal of ours) and fields of this module's list, each with its own shape; whatever
else somebody hands in is dropped and counted. Of an exception the type and our own frames are kept, never the message
and never a local. Lines of other libraries are reduced to their logger's name and level. The threat is PHI, a key or a
path of an address in a log that more people read than the vault.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

import msgspec
import structlog

from wellkeep.base.clock import Clock, SystemClock, iso

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,79}")
_TEMPLATE = re.compile(r"/[a-z0-9_{}./-]{0,160}|-")
_OURS = "wellkeep"
_FRAMES_KEPT = 12

Shape = Callable[[object], object | None]


def _identifier(value: object) -> object | None:
    return str(value) if isinstance(value, UUID) else None


def _number(value: object) -> object | None:
    return value if isinstance(value, int | float) else None


def _word(value: object) -> object | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _template(value: object) -> object | None:
    return value if isinstance(value, str) and _TEMPLATE.fullmatch(value) else None


def _error(value: object) -> object | None:
    return describe(value) if isinstance(value, BaseException) else None


FIELDS: Mapping[str, Shape] = {
    "event": _word,
    "level": _word,
    "logger": _word,
    "listener": _word,
    "method": _word,
    "code": _word,
    "kind": _word,
    "what": _word,
    "route": _template,
    "status": _number,
    "ms": _number,
    "port": _number,
    "process": _number,
    "worker": _number,
    "workers": _number,
    "restarts": _number,
    "exit": _number,
    "dropped": _number,
    "count": _number,
    "lost": _number,
    "seconds": _number,
    "request": _identifier,
    "tenant": _identifier,
    "error": _error,
}
"""The only fields a line may have, each with what it may look like."""


def describe(error: BaseException) -> dict[str, object]:
    """Return the type of `error` and the frames of ours that it passed: module, function, line."""
    return {"type": type(error).__name__, "frames": _frames(error.__traceback__)}


def _frames(trace: TracebackType | None) -> list[str]:
    found: list[str] = []
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.split(".", 1)[0] == _OURS:
            found.append(f"{module}:{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return found[-_FRAMES_KEPT:]


def allow(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep what the list allows in the shape that it demands; count the rest."""
    kept: dict[str, Any] = {}
    dropped = 0
    for name, value in line.items():
        shape = FIELDS.get(name)
        allowed = None if shape is None or value is None else shape(value)
        if allowed is not None:
            kept[name] = allowed
        elif value is not None and name != "exc_info":
            dropped += 1
    if dropped:
        kept["dropped"] = dropped
    return kept


class RequestLine(msgspec.Struct, gc=False):
    """The line of one request: an allow-list by its shape, written without another copy because every request pays it.

    `route` is a template of ours, `method` and `code` are of closed vocabularies; nothing here was sent by anybody.
    """

    time: datetime
    listener: str
    method: str
    route: str
    status: int
    ms: float
    request: UUID
    tenant: UUID | None
    code: str | None
    event: str = "request"


class _Sink:
    """Where lines of this process go.

    One that can't be written is lost and counted: a full disk under the log must not stop what the log is about.
    """

    __slots__ = ("clock", "lost", "stream")

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self.clock: Clock = SystemClock()
        self.lost = 0

    def write(self, line: bytes) -> None:
        """Write one line, and how many were lost before it."""
        stream = self.stream or sys.stderr
        try:
            stream.write(line.decode() + "\n")
            if self.lost:
                stream.write(f'{{"time":"{iso(self.clock.now())}","event":"log.lost","lost":{self.lost}}}\n')
                self.lost = 0
        except (OSError, ValueError):
            self.lost += 1


_sink = _Sink()


def request_line(
    *, listener: str, method: str, route: str, status: int, ms: float, request: UUID, tenant: UUID | None,
    code: str | None,
) -> None:  # fmt: skip
    """Write the line of one request."""
    line = RequestLine(_sink.clock.now(), listener, method, route, status, ms, request, tenant, code)
    _sink.write(msgspec.json.encode(line))


def lines_to(where: Path | int | None) -> TextIO:
    """Return a stream that hands each line on whole, so that several processes may share what is behind it.

    A path is appended to and readable by its owner alone (0600); a number is a descriptor that every worker inherits;
    None is standard error.
    """
    if where is None:
        return sys.stderr
    if isinstance(where, int):
        opened = os.dup(where)
    else:
        opened = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(opened, "w", buffering=1, encoding="utf-8")


class _Lines:
    """What structlog writes through: every level goes to the same place."""

    def __init__(self, *_names: object) -> None:
        """Take what structlog hands to each logger."""

    def line(self, line: bytes) -> None:
        """Write one line."""
        _sink.write(line)

    debug = info = warning = error = critical = line


class _Quiet(logging.Handler):
    """Turns a line of another library into its logger's name and level."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        log.warning("library.line", logger=record.name, code=record.levelname.lower(), error=error)


def configure(*, stream: TextIO | None = None, clock: Clock | None = None) -> None:
    """Set up logging for this process: ours to `stream` (standard error), other libraries' from WARNING up."""
    _sink.stream = stream
    _sink.clock = timekeeper = clock or SystemClock()

    def stamp(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"time": iso(timekeeper.now()), **line}

    def render(_logger: object, _method: str, line: MutableMapping[str, Any]) -> bytes:
        return msgspec.json.encode(line)

    structlog.configure(
        processors=[structlog.processors.add_log_level, allow, stamp, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Quiet(level=logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)  # the standard library's own signature


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
"""Every module of the edge logs through this; `log.error("request.failed", error=error)`."""
