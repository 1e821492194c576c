"""Logs: one JSON object a line, made of an allow-list.

Rules: a line has an event name (a literal of ours) and fields of this module's list, each with its own shape; whatever
else somebody hands in is dropped and counted. Of an exception the type and our own frames are kept, never the message
and never a local. Lines of other libraries are reduced to their logger's name and level. The threat is PHI, a key or a
path of an address in a log that more people read than the vault.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
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
    """Where lines of this process go."""

    __slots__ = ("clock", "stream")

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self.clock: Clock = SystemClock()


_sink = _Sink()


def request_line(
    *, listener: str, method: str, route: str, status: int, ms: float, request: UUID, tenant: UUID | None,
    code: str | None,
) -> None:  # fmt: skip
    """Write the line of one request."""
    line = RequestLine(_sink.clock.now(), listener, method, route, status, ms, request, tenant, code)
    (_sink.stream or sys.stderr).write(msgspec.json.encode(line).decode() + "\n")


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

    def render(_logger: object, _method: str, line: MutableMapping[str, Any]) -> str:
        return msgspec.json.encode(line).decode()

    structlog.configure(
        processors=[structlog.processors.add_log_level, allow, stamp, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Quiet(level=logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)  # the standard library's own signature


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
"""Every module of the edge logs through this; `log.error("request.failed", error=error)`."""
