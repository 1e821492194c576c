"""One token of an HSM, as this process speaks to it through the vendor's library (PKCS#11).

Rules: the library blocks, is loaded into this process and need not be safe for threads, so all calls of it are made by
one thread, each waited for as long as a KMS is and no longer; what waits behind a call that hangs is bounded. A process
that was forked loads the library again and opens sessions of its own (PKCS#11, C_Initialize). A PIN that was refused is
not tried again until the file holds another: three tries lock a token. A session that broke is opened anew, once a
call; opening is tried a few times, since libraries that keep tokens in files stumble over another process's login.
The threat is a library that hangs, dies in a fork, or locks the token while it is being mended.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wellkeep.base.errors import KeysRevoked, KeysUnavailable, Misconfigured
from wellkeep.base.secret_files import read_secret

if TYPE_CHECKING:
    import pkcs11

T = TypeVar("T")
Work = Callable[["pkcs11.Session"], T]
_SECONDS = 4.5
_MOST_WAITING = 64
_OPENINGS = 6
_DOWN = "The HSM does not answer, or its token is not there."


class _Module:
    """The library in this process: one for all tokens, since a session of one may not be used beside another's."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        self.waiting = 0
        self.sessions: dict[str, pkcs11.Session] = {}
        self.refused: dict[str, bytes] = {}
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hsm")
        self._path = str(path)

    def token(self, library: Any, label: str) -> Any:
        return library.lib(self._path).get_token(token_label=label)

    def reload(self, library: Any) -> None:
        """Have the library look for its tokens again, unless that would end another token's session."""
        if not self.sessions:
            with suppress(RuntimeError, OSError):  # the next opening says what is wrong
                library.lib(self._path).reinitialize()


_modules: dict[Path, _Module] = {}
_inherited: list[_Module] = []
"""What a fork left behind: never touched again, and kept, since letting go of it would call the parent's library."""


def _module(path: Path, library: Any) -> _Module:
    """Return the library as this very process has it."""
    found = _modules.get(path)
    if found is not None and found.process == os.getpid():
        return found
    if found is not None:
        _inherited.append(found)
        with suppress(Exception):  # what the parent's copy of the library thinks of it does not matter here
            library.lib(str(path)).reinitialize()
    _modules[path] = _Module(path)
    return _modules[path]


class Token:
    """The token; safe to share by everything in a process."""

    def __init__(self, *, module: Path, label: str, pin: Path, seconds: float = _SECONDS) -> None:
        """Load nothing yet; `module` is the vendor's library, `pin` a file in `secrets/`.

        Raises Misconfigured where the extra is not installed.
        """
        try:
            import pkcs11  # noqa: PLC0415 -- an extra
        except ImportError:
            raise Misconfigured(
                'A driver pkcs11 of [keys] needs an extra. Install it: pip install "wellkeep[pkcs11]"'
            ) from None
        self._library: Any = pkcs11
        self._path = module
        self._label = label
        self._pin = pin
        self._seconds = seconds

    @property
    def label(self) -> str:
        """What the token is called."""
        return self._label

    async def run(self, work: Work[T]) -> T:
        """Return what `work` returns of a session that is logged in.

        Raises KeysRevoked where the token does not let us in, KeysUnavailable on whatever else PKCS#11 raises or where
        it takes too long, and what `work` raises beside.
        """
        module = _module(self._path, self._library)
        if module.waiting >= _MOST_WAITING:
            raise KeysUnavailable(_DOWN)
        module.waiting += 1
        done = asyncio.get_running_loop().run_in_executor(module.thread, self._run, module, work)

        def ended(done: asyncio.Future[T]) -> None:
            module.waiting -= 1
            if not done.cancelled():
                done.exception()  # whoever waited has it; asking marks it as seen where nobody waits any more

        done.add_done_callback(ended)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(done)
        except TimeoutError:
            raise KeysUnavailable(_DOWN) from None

    def _run(self, module: _Module, work: Work[T]) -> T:
        found = self._library
        lost = (
            *(found.SessionHandleInvalid, found.SessionClosed, found.UserNotLoggedIn, found.DeviceRemoved),
            *(found.TokenNotPresent, found.DeviceError),
        )
        try:
            try:
                return work(self._opened(module))
            except lost:
                self._close(module)
                return work(self._opened(module))
        except found.PKCS11Error:
            self._close(module)
            raise KeysUnavailable(_DOWN) from None

    def _opened(self, module: _Module) -> pkcs11.Session:
        session = module.sessions.get(self._label)
        if session is None:
            session = module.sessions[self._label] = self._open(module)
        return session

    def _open(self, module: _Module) -> pkcs11.Session:
        found = self._library
        pin = self._read_pin()
        digest = hashlib.sha256(pin.encode()).digest()
        if module.refused.get(self._label) == digest:
            raise KeysRevoked
        for left in reversed(range(_OPENINGS)):
            try:
                session: pkcs11.Session = module.token(found, self._label).open(rw=True, user_pin=pin)
            except (found.PinIncorrect, found.PinInvalid, found.PinLenRange, found.PinLocked, found.PinExpired):
                module.refused[self._label] = digest
                raise KeysRevoked from None
            except (RuntimeError, OSError):  # no such library or token; or another process is logging in just now
                if not left:
                    raise KeysUnavailable(_DOWN) from None
                time.sleep(secrets.randbelow(100) / 1_000)
                module.reload(found)
            else:
                return session
        raise KeysUnavailable(_DOWN)

    def _read_pin(self) -> str:
        try:
            return read_secret(self._pin).reveal().decode("utf-8")
        except (Misconfigured, UnicodeDecodeError):
            raise KeysUnavailable("The PIN of the HSM can't be read from secrets/.") from None

    def _close(self, module: _Module) -> None:
        session = module.sessions.pop(self._label, None)
        if session is not None:
            with suppress(self._library.PKCS11Error):  # it is broken, that is why it is closed
                session.close()
