"""Secrets whose repr is redacted.

The threat is the accident: a key in a traceback, a log line, an f-string. A `Secret` must be revealed by name, so a
reviewer can search for the places that do.

What comes in by bytes is read into a buffer of ours that is overwritten afterwards (`wiped`). The secret itself can't
be: Python's strings and bytes never change, libraries copy what they are given, and freed memory is not overwritten.
docs/explanation/memory.md says what stays, for how long, and what stands in front of it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T", str, bytes)


class Secret(Generic[T]):
    """A string or bytes that no formatting, comparison or pickling gives away."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        """Hold `value` until it is revealed."""
        self._value: T = value

    def reveal(self) -> T:
        """Return the secret itself; each call site is a place to review."""
        return self._value

    def matches(self, other: T) -> bool:
        """Compare in constant time."""
        mine, theirs = self._value, other
        left = mine.encode() if isinstance(mine, str) else mine
        right = theirs.encode() if isinstance(theirs, str) else theirs
        return hmac.compare_digest(left, right)

    def __repr__(self) -> str:
        """Say that there is a secret, and nothing about it."""
        return "Secret(redacted)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Say that there is a secret, whatever format is asked for."""
        return repr(self)

    def __reduce__(self) -> str:
        """Refuse to be pickled: a spool or a cache is no place for a secret."""
        raise TypeError("a Secret can't be pickled")


@contextmanager
def wiped(size: int) -> Iterator[bytearray]:
    """Lend a buffer of `size` bytes, which is overwritten with zeros when the work is done, or has failed.

    What is copied out of it is the copier's to answer for.
    """
    buffer = bytearray(size)
    try:
        yield buffer
    finally:
        buffer[:] = bytes(len(buffer))
