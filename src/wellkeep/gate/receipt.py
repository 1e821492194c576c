"""The receipt: proof that an entry is durable, without which nothing is decrypted.

Rule: only the gate makes one, after the ledger has acknowledged the entry. A receipt can't be built, copied, pickled,
changed or subclassed elsewhere, so a path from ciphertext to plaintext that skips the ledger does not type-check and
does not run. It covers the records that its entry names and no others.
"""

from __future__ import annotations

from typing import Final, NoReturn, final
from uuid import UUID

from wellkeep.base.errors import Internal

_MINT: Final = object()
"""Known to this module alone; `gate.disclosure` gets it by name, and a test reads every other import."""


@final
class Receipt:
    """Says that the access to these records of this tenant is in the ledger.

    `event_id` is the entry's (the first one's, where an access took several), `resource_id` what it was about. `groups`
    are the field groups that may be opened with it.
    """

    __slots__ = ("_records", "event_id", "groups", "request", "resource_id", "tenant")

    tenant: UUID
    event_id: UUID
    request: UUID
    resource_id: str | None
    groups: frozenset[str]

    def __init__(
        self,
        mint: object,
        *,
        tenant: UUID,
        event_id: UUID,
        request: UUID,
        resource_id: str | None,
        records: frozenset[UUID],
        groups: frozenset[str],
    ) -> None:
        """Make a receipt; raises Internal unless it is the gate that does."""
        if mint is not _MINT:
            raise Internal("A receipt is made by the gate alone, after the entry is durable")
        put = object.__setattr__
        put(self, "tenant", tenant)
        put(self, "event_id", event_id)
        put(self, "request", request)
        put(self, "resource_id", resource_id)
        put(self, "groups", groups)
        put(self, "_records", records)

    def covers(self, record: UUID) -> bool:
        """Say whether the entry names `record`."""
        return record in self._records  # type: ignore[attr-defined]  # a slot, set past the guard below

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: what an entry names does not change afterwards."""
        raise Internal("A receipt does not change")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: what an entry names does not change afterwards."""
        raise Internal("A receipt does not change")

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: a receipt lives as long as its request."""
        raise Internal("A receipt can't be copied")
