"""Headers: those that every answer carries, and those of a request that mean something here.

Rules: each known header may come once (two that differ are how requests are smuggled past a proxy's checks); the client
never chooses the request id; nothing of a header is echoed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from wellkeep.api.problems import MalformedRequest, UnsupportedMediaType, validation
from wellkeep.base.errors import PreconditionRequired
from wellkeep.base.purpose import Purpose

SECURITY: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""On every answer of every listener (HSTS counts over TLS alone, RFC 6797). All of them may hold PHI or lead to it, so
none is ever stored."""

PAGE_POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
)
"""For the pages that we render: they load our own style sheet and nothing else."""

_ONCE = frozenset({
    b"authorization",
    b"cookie",
    b"host",
    b"origin",
    b"sec-fetch-site",
    b"x-csrf-token",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"expect",
    b"idempotency-key",
    b"if-match",
    b"if-none-match",
    b"user-agent",
    b"x-purpose-of-use",
})  # fmt: skip
_PURPOSES = {purpose.value.encode(): purpose for purpose in Purpose}
_WEIGHT = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_TAG = re.compile(rb'"([1-9][0-9]{0,8})"')
_IDEMPOTENCY = re.compile(rb"[!-~]{1,128}")
_JSON = re.compile(rb'application/json(?:\s*;\s*charset="?utf-8"?)?', re.IGNORECASE)


def known(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers that mean something here; raises MalformedRequest where one of them comes twice."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"accept":
            found[name] = found[name] + b"," + value if name in found else value
        elif name in _ONCE:
            if name in found:
                raise MalformedRequest("A header that may come once was sent twice")
            found[name] = value
    return found


def wants_html(found: dict[bytes, bytes]) -> bool:
    """Say whether `Accept` asks for a page rather than JSON."""
    return _prefers(found, b"text/html")


def from_a_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether `Accept` asks for a page, of headers that nothing else may be known of: for refusals."""
    return wants_html({b"accept": b",".join(value for name, value in headers if name == b"accept")})


def wants_text(found: dict[bytes, bytes]) -> bool:
    """Say whether `Accept` asks for plain text rather than JSON."""
    return _prefers(found, b"text/plain")


def _prefers(found: dict[bytes, bytes], wanted: bytes) -> bool:
    """Say whether `Accept` names this media type, and JSON with less weight.

    `*/*`, and no header at all, mean JSON (RFC 9110, 12.5.1).
    """
    weights: dict[bytes, float] = {}
    for one in found.get(b"accept", b"").lower().split(b","):
        media, *parameters = (part.strip() for part in one.split(b";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                weight = float(parameter[2:]) if _WEIGHT.fullmatch(parameter[2:]) else 0.0
        weights[media] = weight
    return weights.get(wanted, 0.0) > weights.get(b"application/json", 0.0)


def authorization(found: dict[bytes, bytes]) -> str | None:
    """Return the value of Authorization, for the authenticator alone to read."""
    given = found.get(b"authorization")
    return None if given is None else given.decode("latin-1")


def purpose(found: dict[bytes, bytes]) -> Purpose | None:
    """Return the declared purpose of use, or None; raises Validation for one that does not exist."""
    given = found.get(b"x-purpose-of-use")
    if given is None:
        return None
    declared = _PURPOSES.get(given)
    if declared is None:
        raise validation("header/X-Purpose-Of-Use", "not-allowed", "X-Purpose-Of-Use is none of the documented codes")
    return declared


def if_match(found: dict[bytes, bytes]) -> int:
    """Return the revision that `If-Match` names; raises PreconditionRequired, Validation.

    `*` is refused: it would overwrite what the caller has not read. Weak tags never match (RFC 9110, 13.1.1).
    """
    given = found.get(b"if-match")
    if given is None:
        raise PreconditionRequired
    return _revision(given, "header/If-Match")


def if_none_match(found: dict[bytes, bytes]) -> int | None:
    """Return the revision that the caller has already, or None."""
    given = found.get(b"if-none-match")
    if given is None:
        return None
    return _revision(given.removeprefix(b"W/"), "header/If-None-Match")


def _revision(tag: bytes, place: str) -> int:
    match = _TAG.fullmatch(tag)
    if match is None:
        raise validation(place, "malformed", "An entity tag here is a revision in double quotes")
    return int(match[1])


def idempotency_key(found: dict[bytes, bytes]) -> str | None:
    """Return the Idempotency-Key, 1 to 128 visible ASCII characters, or None; raises Validation."""
    given = found.get(b"idempotency-key")
    if given is None:
        return None
    if _IDEMPOTENCY.fullmatch(given) is None:
        raise validation("header/Idempotency-Key", "malformed", "An Idempotency-Key has 1 to 128 visible characters")
    return given.decode("ascii")


def expect_media(found: dict[bytes, bytes], media: str) -> None:
    """Raise UnsupportedMediaType unless the body is in `media`, in no further encoding."""
    if found.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("Send the body without Content-Encoding")
    given = found.get(b"content-type", b"")
    if media == "application/json":
        fits = given == b"application/json" or _JSON.fullmatch(given) is not None
    else:
        fits = given.split(b";", 1)[0].strip().lower() == media.encode()
    if not fits:
        raise UnsupportedMediaType(f"Send the body as {media}")


def agent(found: dict[bytes, bytes]) -> str | None:
    """Return 16 hex digits of the hash of the user agent: the ledger compares agents and stores no text of theirs."""
    given = found.get(b"user-agent")
    return None if given is None else _agent(given)


@lru_cache(maxsize=1024)
def _agent(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]
