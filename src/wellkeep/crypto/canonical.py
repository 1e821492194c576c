"""Canonical JSON: the subset of RFC 8785 in which orjson with sorted keys equals JCS.

Rules: keys are ASCII, numbers are integers with |n| < 2^53, no floats; everything else is refused, not converted.
Threat: one entry with two encodings, so that a hash covers something else than what a verifier reads.
"""

from typing import Any

import orjson

from wellkeep.crypto.errors import NotCanonical

_MAX_INTEGER = 2**53 - 1


def encode(value: Any) -> bytes:
    """Return the canonical bytes of None, bool, int, str, list and dict; raises `NotCanonical` for anything else."""
    _check(value)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError):
        raise NotCanonical("a string is not valid Unicode, or the nesting too deep") from None


def decode(data: bytes) -> Any:
    """Return the value of canonical bytes; raises `NotCanonical` where `encode` would have written other bytes.

    That refuses white space, unsorted and duplicate keys, floats, other escapes, and invalid UTF-8.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise NotCanonical("not JSON") from None
    if encode(value) != data:
        raise NotCanonical("not the canonical encoding")
    return value


def _check(value: Any) -> None:
    # An explicit stack: a hostile document must not be able to exhaust Python's.
    pending = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is str or kind is bool or item is None:
            continue
        if kind is int:
            if not -_MAX_INTEGER <= item <= _MAX_INTEGER:
                raise NotCanonical("an integer of 2^53 or more")
        elif kind is dict:
            if not all(type(key) is str and key.isascii() for key in item):
                raise NotCanonical("a key that is not ASCII text")
            pending.extend(item.values())
        elif kind is list:
            pending.extend(item)
        else:
            raise NotCanonical("neither null, boolean, integer, string, list nor object")
