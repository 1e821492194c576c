"""One request as the edge keeps it from the first byte to the log line: ids and numbers, nothing that was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import UUID

from litestar.types import Scope

if TYPE_CHECKING:
    from wellkeep.api.routes import Route

_KEY = "wellkeep"


@dataclass(slots=True)
class Exchange:
    """The request's id (ours, UUIDv7), and what became known about it on the way."""

    request: UUID
    started: float
    route: Route | None = None
    tenant: UUID | None = None
    status: int = 0
    code: str | None = None
    rate: tuple[tuple[bytes, bytes], ...] = ()


def attach(scope: Scope, exchange: Exchange) -> None:
    """Put `exchange` where the handlers and the error handler find it."""
    scope[_KEY] = exchange  # type: ignore[literal-required]  # a key of ours beside ASGI's


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange of this request."""
    return cast("Exchange", scope[_KEY])  # type: ignore[literal-required]
