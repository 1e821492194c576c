"""Passwords: `bcrypt(base64(HMAC-SHA-384(pepper, NFC(password))))`, worked out apart from the event loop.

Rules: bcrypt reads 72 bytes and stops at a NUL; 64 letters of base64 hold all of the password, whatever its length and
letters. Between 12 and 1,024 code points after NFC, no rules about their kinds, no change forced by the calendar (NIST
SP 800-63B, 5.1.1.2). Whose account there is not, or has no password, costs the same hash and gets the same answer. What
was hashed at a lower cost, or under an older pepper, is hashed anew when its owner signs in.

The threats: a stolen table (the pepper is not in it), a flood of sign-ins (a bounded number waits for two threads, the
rest are sent away with 503), and a password that everybody tries first (`breached`).
"""

from __future__ import annotations

import asyncio
import base64
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import bcrypt

from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.breached import Breached
from wellkeep.base.errors import FieldProblem, Unavailable, Validation

T = TypeVar("T")

LEAST: Final = 12
MOST: Final = 1_024
THREADS: Final = 2
WAITING: Final = 16
"""How many may wait for a thread: at a quarter of a second each, about two seconds."""

_NOBODYS = "$2b$%02d$abcdefghijklmnopqrstuuCnR3Oe3tM5H0yHq8gWwUB7q3yhyo8Xa"
"""A hash of the right form that no password is known for."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A stored password: bcrypt's own text, and the epoch of the pepper."""

    hash: str
    pepper: int


class Passwords:
    """Hashes and checks; one per process, `stop` it at the end."""

    def __init__(self, secrets: AccountSecrets, *, cost: int, breached: Breached) -> None:
        """Hash at `cost` (12 to 16) under the newest pepper; refuse what `breached` knows."""
        self._secrets = secrets
        self._cost = cost
        self._breached = breached
        self._nobodys = Hashed(_NOBODYS % cost, secrets.epoch)
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="passwords")
        self._under_way = 0

    def stop(self) -> None:
        """Let the threads go; what they work at is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> Hashed:
        """Return what is stored of `password`. Raises Unavailable where too many wait."""
        epoch = self._secrets.epoch
        fed = self._fed(password, epoch)
        made = await self._apart(lambda: bcrypt.hashpw(fed, bcrypt.gensalt(self._cost)))
        return Hashed(made.decode("ascii"), epoch)

    async def matches(self, password: str, stored: Hashed | None) -> bool:
        """Say whether `password` is the stored one; with none stored it costs the same and is False."""
        against = stored or self._nobodys
        fed = self._fed(password, against.pepper)
        same = await self._apart(lambda: bcrypt.checkpw(fed, against.hash.encode("ascii")))
        return same and stored is not None

    def outdated(self, stored: Hashed) -> bool:
        """Say whether it would be hashed otherwise today."""
        return stored.pepper != self._secrets.epoch or int(stored.hash[4:6]) != self._cost

    async def check(self, password: str, *, about: tuple[str, ...], path: str = "/password") -> None:
        """Raise Validation where a new password is too short, too long, known to others, or made of words `about`."""
        length = len(_nfc(password))
        if not LEAST <= length <= MOST:
            raise Validation(fields=(FieldProblem(path, "too-short" if length < LEAST else "too-long"),))
        if await self._apart(lambda: self._breached.knows(_nfc(password), about=about)):
            raise Validation(
                "This password is one that others use or that is easily guessed. Choose another, for instance four "
                "words that have nothing to do with each other.",
                fields=(FieldProblem(path, "password-weak"),),
            )

    def _fed(self, password: str, epoch: int) -> bytes:
        return base64.b64encode(self._secrets.peppered(_nfc(password).encode("utf-8", "surrogatepass"), epoch=epoch))

    async def _apart(self, work: Callable[[], T]) -> T:
        if self._under_way >= THREADS + WAITING:
            raise Unavailable("Many sign in at this moment. Repeat it shortly.", retry_after=2)
        self._under_way += 1
        try:
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
            future.add_done_callback(lambda _: self._done())
        except RuntimeError:
            self._done()
            raise Unavailable from None
        return await asyncio.shield(future)

    def _done(self) -> None:
        self._under_way -= 1


def _nfc(password: str) -> str:
    return unicodedata.normalize("NFC", password)
