"""What a shared cache in front of us would keep, by the rules of RFC 9111, section 3.

Only the decision to store is modelled, since a stored answer is the harm. It is the most willing cache that the
standard permits: it also stores what carries `Authorization` where the answer allows it, and heuristically cacheable
statuses.
"""

from __future__ import annotations

import httpx

_HEURISTIC = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})


class SharedCache:
    """Counts how many of the answers offered it would keep."""

    def __init__(self) -> None:
        """Start empty."""
        self.offered = 0
        self.kept = 0

    def offer(self, answer: httpx.Response) -> None:
        """Offer one answer as it passes."""
        self.offered += 1
        self.kept += self.may_keep(answer)

    @staticmethod
    def may_keep(answer: httpx.Response) -> bool:
        """Say whether RFC 9111 permits a shared cache to store `answer`."""
        directives = {}
        for part in answer.headers.get("Cache-Control", "").split(","):
            name, _, value = part.strip().lower().partition("=")
            directives[name] = value
        if "no-store" in directives or "private" in directives:
            return False
        explicit = bool(directives.keys() & {"public", "max-age", "s-maxage"}) or "Expires" in answer.headers
        signed = "Authorization" in answer.request.headers
        if signed and not directives.keys() & {"public", "s-maxage", "must-revalidate"}:
            return False
        return explicit or answer.status_code in _HEURISTIC
