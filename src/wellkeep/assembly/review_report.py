"""A review of access as a report to file: CSV for a spreadsheet, Markdown to read and to print.

Rules: no cell is a formula to a spreadsheet, and nothing that somebody called themselves is markup in Markdown. Times
are UTC, to the minute. The threat is a person whose name runs on the officer's machine.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec

from wellkeep.access.review_shapes import Item, Shown
from wellkeep.vault.csv_source import harmless, write_rows

COLUMNS: Final = (
    *("item", "kind", "person", "name", "email", "state", "roles", "granted_by", "granted_at", "last_used_at"),
    *("last_seen_at", "expires_at", "outcome", "decided_by", "decided_at"),
)
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&:/@=])")
_WAITS = "waits for a decision"
_STUCK = "waits: nobody of the tenant may decide it; a second person, or the platform's operator, must"
_OUTCOMES = {"keep": "kept", "revoke": "revoked", "ended": "had ended before anybody decided"}


def as_csv(shown: Shown) -> bytes:
    """Return the items as CSV with a header, CRLF, UTF-8."""
    return write_rows(COLUMNS, ([harmless(cell) for cell in _cells(one)] for one in shown.items))


def as_json(shown: Shown) -> bytes:
    """Return the review as the API does, on one line."""
    return msgspec.json.encode(shown) + b"\n"


def as_markdown(shown: Shown) -> bytes:
    """Return the review as a Markdown document, UTF-8."""
    review = shown.review
    lines = [
        f"# Review of access {review.id}",
        "",
        f"Opened {_moment(review.opened_at)} by {_plain(review.opened_by)}, due {_moment(review.due_at)}, "
        + (f"closed {_moment(review.closed_at)}." if review.closed_at else "still open."),
        f"Of {review.items}: {review.kept} kept, {review.revoked} revoked, {review.undecided} undecided.",
        "",
        "| who or what | roles | granted | last used | until | decision |",
        "|---|---|---|---|---|---|",
        *(_line(one) for one in shown.items),
        "",
    ]
    return "\n".join(lines).encode()


def decision(item: Item) -> str:
    """Return in words what became of an item."""
    if item.outcome is None:
        return _STUCK if item.stuck else _WAITS
    word = _OUTCOMES[item.outcome]
    return word if item.decided_by is None else f"{word} by {item.decided_by}, {_moment(item.decided_at)}"


def who(item: Item) -> str:
    """Return whom or what an item is about, as people call it."""
    name = item.name or str(item.person or item.id)
    if item.kind == "key":
        return f"API key {name}"
    disabled = ", disabled" if item.state == "disabled" else ""
    return name if item.email is None else f"{name} ({item.email}{disabled})"


def _cells(item: Item) -> tuple[str, ...]:
    return (
        *(str(item.id), item.kind, _text(item.person), _text(item.name), _text(item.email), _text(item.state)),
        *(" ".join(item.roles), _text(item.granted_by), _moment(item.granted_at), _moment(item.last_used_at)),
        *(_moment(item.last_seen_at), _moment(item.expires_at), item.outcome or "undecided"),
        *(_text(item.decided_by), _moment(item.decided_at)),
    )


def _line(item: Item) -> str:
    granted = f"{_moment(item.granted_at)}, {item.granted_by or 'unknown'}"
    used, until = _moment(item.last_used_at) or "never", _moment(item.expires_at) or "for good"
    cells = (who(item), ", ".join(item.roles), granted, used, until, decision(item))
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Return `text` so that Markdown shows it as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
