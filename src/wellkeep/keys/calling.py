"""HTTP to a key management service: one bounded exchange, whose failure is that the keys are not available.

Rules: whatever keeps an answer from coming (refused by egress, not reached, late, too large) is KeysUnavailable, never
a refusal of the service: only an answer can revoke. No text of a service is passed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from wellkeep.base.errors import KeysUnavailable
from wellkeep.egress.dialling import Limits
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, EgressUnreachable

LIMITS = Limits(resolve=2.0, connect=3.0, read=4.0, total=4.5, answer=64 * 1024)
Counted: TypeAlias = Counter[tuple[str, str]]
"""How many calls were made, by driver and outcome."""
DESCRIBED = "described"
"""The outcome of a call that looked at a key, whatever was answered: it comes beside the call that needed it."""
UNREACHED = "The key management service can't be reached. `wellkeep egress test` shows what is in the way."
UNREADABLE = "The key management service gave an answer that wellkeep can't read."


class Answer(NamedTuple):
    """What came back; `headers` by names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Service:
    """A place of the list that holds keys, spoken to over HTTP."""

    def __init__(self, egress: Egress, place: str, *, limits: Limits = LIMITS) -> None:
        """`place` is listed; that was checked when the settings were loaded."""
        self._egress = egress
        self._place = place
        self._limits = limits

    @property
    def place(self) -> str:
        """The name of the place."""
        return self._place

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        return self._egress.places[self._place].authority

    async def exchange(self, method: str, target: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request to the path `target` and return the answer. Raises KeysUnavailable."""
        scheme = self._egress.places[self._place].scheme
        try:
            async with self._egress.http(self._place, limits=self._limits) as client:
                url = f"{scheme}://{self.authority}{target}"
                answer = await client.request(method, url, headers=dict(headers), content=body)
                return Answer(answer.status_code, answer.headers, answer.content)
        except (EgressRefused, EgressUnreachable):
            raise KeysUnavailable(UNREACHED) from None
