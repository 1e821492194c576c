"""JSON from outside: one object, no name twice, within a bound.

Rule: two readers must not see two different objects in the same bytes. The threat is a name that comes twice, where one
check reads the first value and another the last (RFC 8259, section 4, leaves it open).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


class NotJson(ValueError):
    """It is no JSON object that means one thing. Holds no value."""


def read_object(raw: bytes, *, most: int) -> dict[str, Any]:
    """Return the object that `raw` (UTF-8, at most `most` bytes) holds. Raises NotJson."""
    if len(raw) > most:
        raise NotJson
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise NotJson from None
    if not isinstance(found, dict):
        raise NotJson
    return found


def from_base64url(text: str) -> bytes:
    """Return the bytes of unpadded base64url in its one spelling (RFC 7515, appendix C). Raises NotJson."""
    if _BASE64URL.fullmatch(text) is None:
        raise NotJson
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise NotJson from None
    if to_base64url(raw) != text:
        raise NotJson
    return raw


def to_base64url(raw: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJson
    return found


def _no_constant(_name: str) -> NoReturn:
    raise NotJson
