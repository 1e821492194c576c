"""Templates to bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

_PACKAGE = "wellkeep.web"
_STEPS = ((timedelta(days=2), timedelta(days=1), "d"), (timedelta(hours=2), timedelta(hours=1), "h"))
_MINUTE = timedelta(minutes=1)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["moment"] = moment
    made.filters["day"] = day
    made.filters["instant"] = instant
    made.filters["number"] = number
    return made


def page(template: str, **told: object) -> bytes:
    """Return the page that `template` makes of what it is told."""
    return _environment().get_template(template).render(**told).encode()


@cache
def static(name: str) -> bytes:
    """Return a file that pages load, such as `wellkeep.css`."""
    return resources.files(_PACKAGE).joinpath("static", name).read_bytes()


def moment(at: datetime) -> str:
    """Write a time for people: `23 Nov 2026, 10:41 UTC`."""
    utc = at.astimezone(UTC)
    return f"{day(utc)}, {utc:%H:%M} UTC"


def instant(at: datetime) -> str:
    """Write a time to the second, for tables: `2026-11-23 10:41:07`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def day(at: datetime) -> str:
    """Write a day for people: `23 Nov 2026`."""
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def number(value: int) -> str:
    """Write a number for people: `1,284,911`."""
    return f"{value:,}"


def age(since: timedelta) -> str:
    """Write how long ago something was: `4 min`, `7 h`, `3 d`; less than a minute is `now`."""
    for least, unit, word in _STEPS:
        if since >= least:
            return f"{since // unit} {word} ago"
    return f"{since // _MINUTE} min ago" if since >= _MINUTE else "just now"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
