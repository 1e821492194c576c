"""Counting seals, so that no key is used past what its nonces bear.

Rules: random 96-bit nonces bear 2^32 seals under one key (NIST SP 800-38D, section 8.3), XAES-256-GCM's 192-bit nonces
far more than can be counted (2^48 is its stop here). The count lives beside the key and is raised in blocks before the
block is used, so it is written once a block and is never too low; what a process had left when it died is lost. At the
budget the key seals no more: the next generation must be made. The threat is a nonce that repeats, which gives the
authentication key away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wellkeep.base.errors import KeysUnavailable

BLOCK = 4_096
"""Seals a lease brings; the same number stands in `keys.lease_subject` and in the column's default."""

SUBJECT_BUDGET = 2**32
DATA_BUDGET = 2**48

Lease = Callable[[int], Awaitable[bool]]
"""Raises the stored count by so many; False at the budget; KeyReplaced where the key seals no more."""


class SealBudgetExhausted(KeysUnavailable):
    """The key has sealed as often as its nonces bear."""

    title = (
        "This key has sealed as often as it may. What it sealed stays readable; new records need the next one. Make it"
        " with: wellkeep keys rotate"
    )

    def __init__(self, tier: str = "subject --tenant NAME") -> None:
        """Say what can be done; `tier` is what to rotate. A minute does not help: the caller is told an hour."""
        super().__init__(f"{self.title} {tier}", retry_after=3_600)


class KeyReplaced(KeysUnavailable):
    """The key seals no more because another one took its place; the tenant's keys must be read again."""

    title = "This key was replaced a moment ago. Try again"

    def __init__(self) -> None:
        """Nothing but a second attempt is needed."""
        super().__init__(self.title, retry_after=1)


class SubjectMeter:
    """What this process may still seal under one subject's key before its next write must carry a lease.

    A write that seals `n` fields calls `take(n)`; where that answers True, the write itself leases a block in the
    database (`keys.lease_subject`), so the block is paid for in the transaction that begins to use it. Where the write
    then fails, `refund(n, leased=…)` takes the block back: nothing of it was stored.
    """

    __slots__ = ("_left",)

    def __init__(self, left: int = 0) -> None:
        """`left` is a block for a key this process has just made, 0 for one that came from a row."""
        self._left = left

    @property
    def left(self) -> int:
        """Seals left in the block; below zero only while a failed lease is owed."""
        return self._left

    def take(self, seals: int) -> bool:
        """Count `seals` (1 to 4,096) and say whether this write must lease a block."""
        if not 1 <= seals <= BLOCK:
            raise ValueError("one write seals 1 to 4096 fields under one key")
        self._left -= seals
        if self._left >= 0:
            return False
        self._left += BLOCK
        return True

    def refund(self, seals: int, *, leased: bool) -> None:
        """Undo a `take` whose write was not stored."""
        self._left += seals - (BLOCK if leased else 0)


class TenantMeter:
    """Seals under a tenant's own key: a block is leased before it is used, in a transaction of its own."""

    __slots__ = ("_lease", "_left")

    def __init__(self, lease: Lease) -> None:
        """`lease` raises the count stored beside the key."""
        self._lease = lease
        self._left = 0

    @property
    def left(self) -> int:
        """Seals left in the block."""
        return self._left

    async def reserve(self, seals: int) -> None:
        """Make sure that `seals` (1 to 65,536) can be taken, and take them.

        Raises SealBudgetExhausted at the budget, KeyReplaced where the key is not the active one any more,
        DatabaseUnavailable where no lease can be had.
        """
        while self._left < seals:
            block = max(BLOCK, seals - self._left)
            if not await self._lease(block):
                raise SealBudgetExhausted
            self._left += block
        self._left -= seals
