"""HTTP to an anchor's place: one bounded exchange, whose failure is a code.

Rules: the scheme is the place's (https, or http where it is listed as `clear` in a network of ours); a redirect is an
answer that says no; an answer is bounded in bytes and seconds by egress.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wellkeep.egress.dialling import Limits
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, EgressUnreachable
from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble

LIMITS = Limits(resolve=5.0, connect=8.0, read=10.0, total=15.0, answer=256 * 1024)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        """Whether it says yes."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- what HTTP calls success

    @property
    def later(self) -> bool:
        """Whether it says to come again."""
        return self.status == 429 or self.status >= 500  # noqa: PLR2004 -- as HTTP has it


class Outside:
    """A place of the list, spoken to over HTTP."""

    def __init__(self, egress: Egress, place: str, *, limits: Limits = LIMITS) -> None:
        """`place` is listed; that was checked when the settings were loaded."""
        self._egress = egress
        self._place = place
        self._limits = limits

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        return self._egress.places[self._place].authority

    async def exchange(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send one request to `target`, a path that may have a query, and return the answer."""
        scheme = self._egress.places[self._place].scheme
        try:
            async with self._egress.http(self._place, limits=self._limits) as client:
                url = f"{scheme}://{self.authority}{target}"
                answer = await client.request(method, url, headers=dict(headers or {}), content=body)
                return Answer(answer.status_code, answer.headers, answer.content)
        except EgressRefused:
            raise AnchorFailed(Trouble.EGRESS_REFUSED) from None
        except EgressUnreachable:
            raise AnchorFailed(Trouble.UNREACHABLE) from None
