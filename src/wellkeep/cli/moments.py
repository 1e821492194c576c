"""Days and times as they are typed, and as the API takes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from wellkeep.cli.console import WRONG_USAGE, refuse

Since = Annotated[str | None, typer.Option("--since", help="From this day or time on: 2026-05-03 or RFC 3339")]
Until = Annotated[str | None, typer.Option("--until", help="Before this day or time")]


def moment(text: str | None) -> str | None:
    """Return a day (its first moment in UTC) or a time as the API takes it; ends where it is neither."""
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        refuse("A time is a day such as 2026-05-03, or RFC 3339: 2026-05-03T14:02:00Z.", code=WRONG_USAGE)
    aware = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
