"""Query parameters: declared ones alone, each once.

Rule: an undeclared or repeated parameter is refused, not ignored. The threat is a filter that was misspelt and so did
not filter, and a name of a patient typed into an address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import parse_qsl

from wellkeep.api.limits import QUERY_BYTES, QUERY_PARAMETERS
from wellkeep.api.problems import validation

MOST_ON_A_PAGE = 200


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared query parameter: its name, what its text must match in full, and what it means."""

    name: str
    pattern: re.Pattern[str]
    meaning: str
    example: str


def parse(raw: bytes, declared: tuple[Parameter, ...]) -> dict[str, str]:
    """Return the parameters of a query string; raises Validation."""
    if not raw:
        return {}
    if len(raw) > QUERY_BYTES:
        raise validation("query", "too-long")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=QUERY_PARAMETERS, errors="strict")
    except ValueError:
        raise validation("query", "malformed") from None
    found: dict[str, str] = {}
    by_name = {parameter.name: parameter for parameter in declared}
    for name, value in pairs:
        parameter = by_name.get(name)
        if parameter is None:
            raise validation("query/*", "unknown-parameter", "This address takes no such query parameter")
        if name in found:
            raise validation(f"query/{name}", "repeated")
        if parameter.pattern.fullmatch(value) is None:
            raise validation(f"query/{name}", "malformed")
        found[name] = value
    return found


_NAME = "[a-z][a-z0-9_]{0,62}"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

FIELDS = Parameter(
    "fields",
    re.compile(f"{_NAME}(,{_NAME}){{0,999}}"),
    "names of the fields to open, comma-separated",
    "name,birth_date",
)
REVISION = Parameter("revision", re.compile("[1-9][0-9]{0,8}"), "an earlier revision", "1")
LIMIT = Parameter("limit", re.compile("[1-9][0-9]{0,2}"), "how many at most, up to 200", "50")
CURSOR = Parameter("cursor", re.compile("[A-Za-z0-9_.-]{1,1024}"), "where the page before ended", "c1.AbC")
ACTOR = Parameter(
    "actor", re.compile("[0-9a-z_-]{1,64}"), "the id of who acted", "0198c0de-0000-7000-8000-000000000001"
)
SUBJECT = Parameter("subject", re.compile(_UUID), "the id of the patient", "0198c0de-0000-7000-8000-000000000002")
ACTION = Parameter("action", re.compile(r"[a-z]{1,32}\.[a-z_]{1,32}"), "what was done", "record.read")
PURPOSE = Parameter("purpose", re.compile("[A-Z]{1,16}"), "why it was done, a purpose of use", "BTG")
OUTCOME = Parameter("outcome", re.compile("[a-z]{1,16}"), "how it ended", "denied")
FORMAT = Parameter("format", re.compile("json|html"), "json, or a page to print", "html")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")
SINCE = Parameter("since", _MOMENT, "not before this time (RFC 3339, UTC)", "2026-01-01T00:00:00Z")
UNTIL = Parameter("until", _MOMENT, "before this time (RFC 3339, UTC)", "2027-01-01T00:00:00Z")


def optional(parameter: Parameter) -> Parameter:
    """Return `parameter` as a form sends it, where what was left empty comes as an empty text."""
    return replace(parameter, pattern=re.compile(f"({parameter.pattern.pattern})?"))


def moment(given: dict[str, str], parameter: Parameter) -> datetime | None:
    """Return the time that a parameter names, or None where it is not there; raises Validation for no such day."""
    text = given.get(parameter.name)
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise validation(f"query/{parameter.name}", "malformed") from None


def limit(given: dict[str, str], *, default: int) -> int:
    """Return how many are asked for; raises Validation for more than a page holds."""
    asked = int(given.get(LIMIT.name, default))
    if asked > MOST_ON_A_PAGE:
        raise validation("query/limit", "out-of-range")
    return asked
