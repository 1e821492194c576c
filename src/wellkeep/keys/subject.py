"""Subject keys: one random key per patient and generation, wrapped locally, cached only together with its row.

Rules: a wrapped subject key is bound to tenant, subject, generation and the epoch of the key that wraps it, so a row
that was exchanged, moved or put back does not open. A key that was unwrapped is compared with its commitment before
anything else. The cache is asked with the row that came back in the same query, and answers only where the row's bytes
are the ones it unwrapped: an erased or revoked row is therefore gone on every worker at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from wellkeep.crypto.keys import SubjectKey
from wellkeep.keys.seals import SubjectMeter

CACHED_SUBJECTS = 20_000
"""At 2.6 KB a key object this is 51 MB."""

SECRET_SIZE = 32


class HeldSubjectKey(SubjectKey):
    """A subject's key as this process holds it: with the place it was wrapped for and its count of seals."""

    __slots__ = ("generation", "meter", "subject", "tenant", "wrap_epoch", "wrapped")

    def __init__(
        self,
        secret: bytes,
        *,
        tenant: bytes,
        subject: UUID,
        generation: int,
        wrapped: bytes,
        wrap_epoch: int,
        left: int,
    ) -> None:
        """Expand `secret`, once; `left` is what of a leased block may be sealed without a new lease."""
        super().__init__(secret)
        self.tenant = tenant
        self.subject = subject
        self.generation = generation
        self.wrapped = wrapped
        self.wrap_epoch = wrap_epoch
        self.meter = SubjectMeter(left)


@dataclass(frozen=True, slots=True, repr=False)
class NewSubjectKey:
    """A subject key that was just made, with the columns of its row in `keys.subject_key`."""

    key: HeldSubjectKey
    generation: int
    kid: bytes
    wrapped: bytes
    wrap_epoch: int

    def __repr__(self) -> str:
        """Name the key by its kid, which is public."""
        return f"<NewSubjectKey kid={self.kid.hex()}>"


class SubjectCache:
    """The keys used last, at most `limit` of them, over all tenants of the process."""

    __slots__ = ("_keys", "_limit")

    def __init__(self, limit: int = CACHED_SUBJECTS) -> None:
        """Hold at most `limit` keys (at least 1); a tenant is named by the 16 bytes of its id."""
        self._limit = limit
        self._keys: OrderedDict[bytes, HeldSubjectKey] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._keys)

    def get(
        self, *, tenant: bytes, kid: bytes, wrapped: bytes, wrap_epoch: int, subject: UUID, generation: int
    ) -> HeldSubjectKey | None:
        """Return the key of exactly this row, or None."""
        place = tenant + kid
        held = self._keys.get(place)
        if held is None:
            return None
        if (
            held.wrapped != wrapped
            or held.wrap_epoch != wrap_epoch
            or held.generation != generation
            or held.subject != subject
        ):
            return None
        self._keys.move_to_end(place)
        return held

    def put(self, key: HeldSubjectKey) -> None:
        """Hold `key`, and let go of the one used longest ago where there are too many."""
        place = key.tenant + key.kid
        before = self._keys.get(place)
        if before is not None:
            key.meter = before.meter  # the same secret wrapped anew: its count goes on
        self._keys[place] = key
        self._keys.move_to_end(place)
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)

    def purge(self, tenant: bytes) -> None:
        """Let go of every key of `tenant`."""
        for place in [place for place in self._keys if place[:16] == tenant]:
            del self._keys[place]
