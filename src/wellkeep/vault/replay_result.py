"""What a replay saw: how much it compared, and the places where ledger and store differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

_MOST_DIFFERENCES = 1_000
_COLLECTIONS = 10_000_000
"""A finding's key has room for seven digits; a tenant has a thousand fields in a collection and few collections."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where ledger and store differ.

    `what` a state is: gone, altered, replayed (an older ciphertext was put back), undeleted or hidden (deleted without
    an entry), unknown, older, moved (to another subject), orphaned (of a subject that is not there); or of an entry, or
    of what waits to be one: unreadable; or of a tag: untagged (it is missing), stray (no record has it there); or of a
    subject: merged, erased, revived, keyless. Numbers may be any that a column can hold, whoever put them there.
    """

    what: str
    event: UUID | None = None
    collection: int | None = None
    record: UUID | None = None
    revision: int | None = None
    subject: UUID | None = None

    def detail(self) -> dict[str, str | int]:
        """Return it as a finding's detail: codes, ids and integers."""
        ids = {"event": self.event, "record": self.record, "subject": self.subject}
        numbers = {"collection": self.collection, "revision": self.revision}
        detail: dict[str, str | int] = {"what": self.what}
        detail |= {name: str(value) for name, value in ids.items() if value is not None}
        detail |= {name: value for name, value in numbers.items() if value is not None and value >= 0}
        return detail

    def parts(self) -> list[UUID | int | str]:
        """Return what tells its finding from others: ids, and a collection that could be one of ours."""
        ids = [part for part in (self.record, self.event, self.subject) if part is not None]
        if self.collection is None or not 0 <= self.collection < _COLLECTIONS:
            return [*ids, self.what]
        return [self.collection, *ids, self.what]


@dataclass(slots=True)
class Replayed:
    """What a replay saw; at most 1,000 differences are listed, `differing` counts all of them."""

    entries: int = 0
    states: int = 0
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)
    _taken: int = 0

    @property
    def ok(self) -> bool:
        """Whether the store is what the ledger says."""
        return self.differing == 0

    def add(self, difference: Difference) -> None:
        """Count a difference, and list it while there is room."""
        self.differing += 1
        if len(self.differences) < _MOST_DIFFERENCES:
            self.differences.append(difference)

    def take(self) -> list[Difference]:
        """Return the listed differences that were not taken before."""
        new = self.differences[self._taken :]
        self._taken = len(self.differences)
        return new
