"""Subject keys: one random key per patient and generation, wrapped locally, cached only together with its row.

Rules: a wrapped subject key is bound to tenant, subject, generation and kid, and opens under the WRAP key of its epoch
alone, so a row that was exchanged, moved or put back does not open. A key that was unwrapped is compared with all 32
bytes of its commitment before anything else: the row's `kid` is the first half, the last 16 bytes of `wrapped` are the
second. The cache is asked with the row that came back in the same query, and answers only where the row's bytes are the
ones it unwrapped: an erased or revoked row is therefore gone on every worker at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from wellkeep.crypto.keys import SubjectKey
from wellkeep.keys.seals import SubjectMeter

CACHED_SUBJECTS = 20_000
"""At 2.6 KB of OpenSSL's and 0.6 KB of ours a key, this is about 64 MB; so an attribute here is worth its bytes."""

SECRET_SIZE = 32


class HeldSubjectKey(SubjectKey):
    """A subject's key as this process holds it: with the place it was wrapped for and its count of seals.

    `tenant` is 16 bytes, `subject` the UUID as an integer.
    """

    __slots__ = ("_meter", "generation", "subject", "tenant", "wrap_epoch", "wrapped")

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
        self.subject = subject.int
        self.generation = generation
        self.wrapped = wrapped
        self.wrap_epoch = wrap_epoch
        self._meter = SubjectMeter(left) if left else None

    @property
    def meter(self) -> SubjectMeter:
        """What may still be sealed; a key that is only opened with never gets one."""
        if self._meter is None:
            self._meter = SubjectMeter()
        return self._meter

    def continue_count(self, before: HeldSubjectKey) -> None:
        """Share the count of `before`, the same secret under another wrapping."""
        self._meter = before.meter


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
        held = self._keys.get(kid)
        if held is None:
            return None
        if (
            held.wrapped != wrapped
            or held.tenant != tenant
            or held.wrap_epoch != wrap_epoch
            or held.generation != generation
            or held.subject != subject.int
        ):
            return None
        self._keys.move_to_end(kid)
        return held

    def put(self, key: HeldSubjectKey) -> None:
        """Hold `key`, and let go of the one used longest ago where there are too many."""
        before = self._keys.get(key.kid)
        if before is not None:
            key.continue_count(before)
        self._keys[key.kid] = key
        self._keys.move_to_end(key.kid)
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)

    def purge(self, tenant: bytes) -> None:
        """Let go of every key of `tenant`."""
        for kid in [kid for kid, key in self._keys.items() if key.tenant == tenant]:
            del self._keys[kid]
