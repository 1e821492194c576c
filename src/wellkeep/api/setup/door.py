"""Who may come in: the first browser that shows the secret of the printed address, from this machine's own address.

Rules: the secret stands after the # of the address, which no browser sends and no log holds; it is compared in constant
time, is good once, and turns into a cookie that no script reads. A request must name the very address that we listen
on (a name that somebody pointed at us, DNS rebinding, is none), a browser must not say that another origin sent it, and
what changes something must say that our own page did. The threats: another page in the same browser, another account
of the machine, and whoever sees the address bar later.
"""

from __future__ import annotations

import hmac
import secrets

from wellkeep.api import browser
from wellkeep.base.errors import Forbidden
from wellkeep.base.secrets import Secret

COOKIE = "wellkeep-setup"
_BYTES = 32
_OURS = frozenset({b"same-origin", b"none"})


class Door:
    """The door of one first run."""

    def __init__(self, address: str) -> None:
        """Let in who comes to `address`, a loopback `host:port`."""
        self._host = address.encode("ascii")
        self._secret = Secret(secrets.token_urlsafe(_BYTES))
        self._cookie: str | None = None

    @property
    def link(self) -> Secret[str]:
        """What is printed, once."""
        return Secret(f"http://{self._host.decode('ascii')}/#{self._secret.reveal()}")

    def check(self, found: dict[bytes, bytes], method: str) -> None:
        """Raise Forbidden for another address than ours, and for what another origin's page sent."""
        if found.get(b"host") != self._host:
            raise Forbidden("This is served at the printed address alone")
        if found.get(b"sec-fetch-site", b"none") not in _OURS:
            raise Forbidden("Open the printed address yourself")
        if method != "GET" and found.get(b"origin") != b"http://" + self._host:
            raise Forbidden("Send this from our own pages")

    def knows(self, found: dict[bytes, bytes]) -> bool:
        """Say whether this is the browser that showed the secret."""
        given = browser.cookie(found, COOKIE)
        return self._cookie is not None and given is not None and _same(given, self._cookie)

    def open(self, secret: str) -> tuple[bytes, bytes]:
        """Return the header that binds the browser. Raises Forbidden for a wrong secret, and for the second browser."""
        right = _same(secret, self._secret.reveal())
        if not right or self._cookie is not None:
            raise Forbidden("This secret is not good, or another browser showed it. Start wellkeep setup again.")
        self._cookie = secrets.token_urlsafe(_BYTES)
        return (b"set-cookie", f"{COOKIE}={self._cookie}; Path=/; HttpOnly; SameSite=Strict".encode("ascii"))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("ascii"))
