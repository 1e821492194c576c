"""Passwords that others tried first: a list of ours, and a file of leaked ones where the deployment has it.

Rules: nothing is asked of anybody outside, for the question would tell. What is compared is the password and its core:
in lower case, the usual digits for letters read back, and digits and signs around it left out, for `Sunshine-2024!` is
guessed as fast as `sunshine`. The same with the words of the person's own account, and with a short piece said over and
over. The list of ours is zxcvbn's 30,000 most frequent (docs/how-to/people.md says how to add all that ever leaked).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Final

from wellkeep.base.errors import Misconfigured

_FILE: Final = "common_passwords.txt.gz"
_OWN = "wellkeep"
_DIGEST_LETTERS = 40
_LONGEST_LINE = 64
_SHORTEST_WORD = 4
_OWN_LETTERS = 8
_SQUEEZED = re.compile(r"[\W_]+")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_AROUND = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_LINE = re.compile(rb"[0-9A-Fa-f]{40}(?::[0-9]{1,12})?\r?")


class Breached:
    """Knows which passwords are no secret."""

    def __init__(self, file: Path | None = None) -> None:
        """`file`: SHA-1 digests in order, one a line. Raises Misconfigured where it is not such a file."""
        self._file = None if file is None else _Leaked(file)

    def knows(self, password: str, *, about: Iterable[str] = ()) -> bool:
        """Say whether `password` is one that others use, or that follows from the words `about` its owner."""
        if _is_pattern(password):
            return True
        forms = _forms(password)
        words = {word for text in (_OWN, *about) for word in _words(text)}
        if _is_made_of(words, password) or any(form in _common() for form in forms):
            return True
        return self._file is not None and self._file.holds(password)


class _Leaked:
    """A sorted file of SHA-1 digests in hexadecimal, searched by halves: 40 reads for all that ever leaked."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._size = os.fstat(self._descriptor).st_size
        except OSError:
            raise Misconfigured(f"The list of leaked passwords at {path} can't be opened") from None
        first = os.pread(self._descriptor, _LONGEST_LINE, 0).split(b"\n")[0]
        if _LINE.fullmatch(first) is None:
            raise Misconfigured(f"{path} is no list of SHA-1 digests, one a line, in order")

    def close(self) -> None:
        os.close(self._descriptor)

    def holds(self, password: str) -> bool:
        digest = hashlib.sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        wanted = digest.upper().encode("ascii")
        low, high = 0, self._size
        while low < high:
            start, line = self._line((low + high) // 2)
            found = line[:_DIGEST_LETTERS].upper()
            if found == wanted:
                return True
            if found and found < wanted:
                low = start + len(line) + 1
            else:
                high = (low + high) // 2
        return False

    def _line(self, place: int) -> tuple[int, bytes]:
        """Return where the first line that begins at `place` or later begins, and the line; an empty one at the end."""
        if place == 0:
            return 0, os.pread(self._descriptor, _LONGEST_LINE, 0).split(b"\n")[0]
        piece = os.pread(self._descriptor, 2 * _LONGEST_LINE, place - 1)
        skipped, separator, rest = piece.partition(b"\n")
        return place + len(skipped), rest.split(b"\n")[0] if separator else b""


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    raw = files("wellkeep.definitions").joinpath(_FILE).read_bytes()
    return frozenset(gzip.decompress(raw).decode("utf-8").split("\n")) - {""}


def _forms(password: str) -> set[str]:
    """Return the password as guessers know it: plain, squeezed, read back, without what is around it, said once."""
    lower = password.lower()
    squeezed = _SQUEEZED.sub("", lower)
    forms = {lower, lower.translate(_LEET), squeezed, squeezed.translate(_LEET)}
    forms |= {_AROUND.sub("", form) for form in forms} | {_AROUND.sub("", lower).translate(_LEET)}
    return {said for form in forms if form for said in (form, _once(form))}


def _is_pattern(password: str) -> bool:
    """Say whether it is a piece of three letters or fewer said over and over, or letters in their order."""
    steps = {ord(after) - ord(before) for before, after in pairwise(password)}
    return len(_once(password.lower())) < _SHORTEST_WORD or steps <= {1, -9} or steps <= {-1, 9}


def _is_made_of(words: set[str], password: str) -> bool:
    """Say whether little of `password` is left without these words: fewer than eight letters."""
    rest = whole = _SQUEEZED.sub("", password.lower())
    for word in sorted(words, key=len, reverse=True):
        rest = rest.replace(word, "")
    return len(rest) < _OWN_LETTERS and rest != whole


def _once(text: str) -> str:
    """Return the piece that `text` says over and over, or `text`."""
    period = (text + text).find(text, 1)
    return text[:period] if len(text) % period == 0 else text


def _words(text: str) -> set[str]:
    """Return a text, its parts, and the text without what parts them, in lower case."""
    lower = text.lower()
    parts = {*_SQUEEZED.split(lower), _SQUEEZED.sub("", lower)}
    return {part for part in parts if len(part) >= _SHORTEST_WORD}
