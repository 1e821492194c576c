"""Canaries: values that stand nowhere else, and every shape in which a store could hold a piece of one.

A leak is seldom the whole value in UTF-8. So each window of eight bytes of a canary is looked for in raw, hexadecimal
(both cases), base64 (both alphabets, all three alignments) and UTF-16 (both byte orders). A window is eight random
characters of an alphabet of 62, 47 bits: in a terabyte, one chance match in a hundred.
"""

from __future__ import annotations

import secrets
import string
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

WINDOW = 8
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Pattern:
    """One byte string to look for, the canary that it is a piece of, and the encoding."""

    canary: str
    encoding: str
    needle: bytes


class Planted(Protocol):
    """Something to look for: its name is the only part of it that evidence may show."""

    @property
    def name(self) -> str:
        """Return where it was planted."""
        ...

    def patterns(self) -> Iterator[Pattern]:
        """Yield what to look for."""
        ...


@dataclass(frozen=True, slots=True)
class Canary:
    """A planted value. `name` says where it was planted and is the only part of it that evidence may show.

    `window` is the length of its pieces: longer where its alphabet is smaller.
    """

    name: str
    value: str
    window: int = WINDOW

    @classmethod
    def make(cls, name: str, *, length: int = 24) -> Canary:
        """Return a canary of `length` random characters; drawn from the kernel, so no other store can hold it."""
        return cls(name=name, value="".join(secrets.choice(_ALPHABET) for _ in range(length)))

    @classmethod
    def digits(cls, name: str, *, length: int) -> Canary:
        """Return a canary of digits; looked for whole, since a window of digits alone would match by chance."""
        first = secrets.choice("123456789")
        return cls(name=name, value=first + "".join(secrets.choice(string.digits) for _ in range(length - 1)))

    def windows(self) -> Iterator[bytes]:
        """Yield every piece of `window` bytes; of a canary of digits alone the whole value."""
        text = self.value.encode()
        size = len(text) if self.value.isdigit() else self.window
        for start in range(len(text) - size + 1):
            yield text[start : start + size]

    def patterns(self) -> Iterator[Pattern]:
        """Yield every shape of every window; a canary of digits alone has one window, the whole value."""
        for window in self.windows():
            for encoding, needle in shapes(window):
                yield Pattern(canary=self.name, encoding=encoding, needle=needle)


def shapes(window: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (encoding, needle) for every common encoding that a store could hold `window` in."""
    yield "raw", window
    yield "hex", window.hex().encode()
    yield "hex", window.hex().upper().encode()
    if window.isascii():
        yield "utf-16", window.decode().encode("utf-16-le")
        yield "utf-16", window.decode().encode("utf-16-be")
    for alignment in range(3):
        inner = _inner_base64(window, alignment)
        yield "base64", inner
        if b"+" in inner or b"/" in inner:
            yield "base64", inner.translate(bytes.maketrans(b"+/", b"-_"))


def _inner_base64(window: bytes, alignment: int) -> bytes:
    """Return the base64 characters that `window` alone decides, `alignment` bytes into a group of three."""
    encoded = b64encode(b"\x00" * alignment + window)
    first_bit, last_bit = 8 * alignment, 8 * (alignment + len(window))
    return encoded[-(-first_bit // 6) : last_bit // 6]
