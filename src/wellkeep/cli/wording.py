"""What went wrong, in words for whoever gave the command. Imported when something did."""

from __future__ import annotations

import asyncpg
import httpx

from wellkeep.api.logs import describe
from wellkeep.base.errors import WellkeepError
from wellkeep.cli.console import told
from wellkeep.prove.deployment import Unseen


def words(error: BaseException) -> tuple[str, str | None]:
    """Return what `error` means to whoever gave the command, and what to do next; never its own text, unless ours.

    Texts of drivers and libraries quote what they were given: of those the type is told.
    """
    match error:
        case WellkeepError():
            return told(error)
        case Unseen():
            return f"This could not be seen to its end: {error}.", None
        case httpx.HTTPError() | httpx.InvalidURL():
            kind = type(error).__name__
            return f"The connection to the API broke off ({kind}).", "Give the command again once the server answers."
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            state = getattr(error, "sqlstate", None) or type(error).__name__
            return f"PostgreSQL did not do it ({state}).", "See what is wrong with it: wellkeep doctor"
        case OSError():
            place = f" ({error.filename})" if error.filename else ""
            return f"The system said: {error.strerror or type(error).__name__}{place}.", None
        case _:
            seen = describe(error)
            frames = seen["frames"]
            place = f" at {frames[-1]}" if isinstance(frames, list) and frames else ""
            return f"A fault of ours: {seen['type']}{place}.", "Please report it with this line; it holds no data."
