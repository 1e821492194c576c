"""What a browser says of itself: its cookies, and whose page made it send a request.

Rules: a request that changes something is taken from our own pages alone. `Sec-Fetch-Site` says so where a browser
sends it (no page can set it); where there is none, `Origin` must be the very host that the request was sent to. A
program that is no browser sends neither, and has no cookie of ours that another page could make it use. The threats:
a page of somebody else that changes something with the victim's cookie (CSRF), signs the victim in as somebody else,
or reads answers through a name that it pointed at us.
"""

from __future__ import annotations

from wellkeep.access.session_door import Presented
from wellkeep.access.session_format import COOKIE
from wellkeep.access.sessions import Begun
from wellkeep.base.errors import Forbidden

_OURS = frozenset({b"same-origin", b"none"})
_SAFE = frozenset({"GET", "HEAD"})
_GONE = b"; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
_KEPT = b"; Path=/; Secure; HttpOnly; SameSite=Lax"


def cookie(found: dict[bytes, bytes], name: str) -> str | None:
    """Return the value of the cookie `name`; where it comes twice, nothing: one of them was planted."""
    wanted, values = name.encode("ascii"), []
    for pair in found.get(b"cookie", b"").split(b";"):
        given, separator, value = pair.strip(b" \t").partition(b"=")
        if separator and given == wanted:
            values.append(value)
    return values[0].decode("latin-1") if len(values) == 1 else ("" if values else None)


def presented(found: dict[bytes, bytes], method: str) -> Presented | None:
    """Return the session's cookie and what came beside it, or None where there is none."""
    value = cookie(found, COOKIE)
    if value is None:
        return None
    token = found.get(b"x-csrf-token")
    return Presented(
        cookie=value,
        changes=method not in _SAFE,
        csrf=None if token is None else token.decode("latin-1"),
        ours=ours(found),
    )


def ours(found: dict[bytes, bytes]) -> bool:
    """Say whether a browser says that a page of this host, or the person at the address bar, sent this."""
    site = found.get(b"sec-fetch-site")
    if site is not None:
        return site in _OURS
    origin = found.get(b"origin")
    return origin is not None and origin == b"https://" + found.get(b"host", b"")


def must_be_ours(found: dict[bytes, bytes], method: str) -> None:
    """Raise Forbidden where a browser says that another site's page sent this, and it may change something.

    It holds for what is open to all as well: signing somebody in as somebody else is an attack, too.
    """
    if method not in _SAFE and (b"sec-fetch-site" in found or b"origin" in found) and not ours(found):
        raise Forbidden("Send this from our own pages")


def session_cookie(begun: Begun) -> tuple[bytes, bytes]:
    """Return the header that gives a browser its session; it goes with the browser's own, at the latest."""
    return set_cookie(COOKIE, begun.cookie.reveal())


def set_cookie(name: str, value: str, *, seconds: int | None = None) -> tuple[bytes, bytes]:
    """Return the header of a cookie for this host alone, over TLS, that no script reads; `seconds`: kept so long."""
    kept = b"" if seconds is None else b"; Max-Age=%d" % seconds
    return (b"set-cookie", f"{name}={value}".encode("ascii") + _KEPT + kept)


def no_cookie(name: str = COOKIE) -> tuple[bytes, bytes]:
    """Return the header that takes a cookie away."""
    return (b"set-cookie", f"{name}=".encode("ascii") + _GONE)
