"""Search by a caller whose decision covers some patients alone: what is out of reach is as if it were not there.

Rules: what the database finds is looked through, slice by slice, until a page is full of what may be shown; a record
out of reach is neither counted nor named, and no page ends early because of one. After `MOST_SLICES` the page ends all
the same, and its cursor says a time from which to go on, not a record. Where roles that are bound to nobody permit the
search as well, all else is shown with what these see, if they see each field that was asked by.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.gate import reaching
from wellkeep.gate.acts import Decision, Reach
from wellkeep.gate.gate import Gate
from wellkeep.vault.stored import Stored

SLICE: Final = 200
MOST_SLICES: Final = 25
_BLURRED: Final = (1 << 32) - 1

Fetch = Callable[[UUID, int], Awaitable[list[Stored]]]
"""Returns up to so many records after an id, the oldest first, sealed."""


class Shown(NamedTuple):
    """A page: by which decision which records are shown, in order, and after which id the next page begins."""

    sides: tuple[Decision, ...]
    states: list[tuple[Decision, Stored]]
    end: UUID | None


async def page(
    gate: Gate, decision: Decision, fetch: Fetch, *, after: UUID, limit: int, asked: Callable[[Decision], bool]
) -> Shown:
    """Return what `decision` shows of what `fetch` finds; `asked` says whether a decision shows what is asked by."""
    if decision.reach is Reach.ALL:
        found = [(decision, state) for state in await fetch(after, limit + 1)]
        return Shown((decision,), found[:limit], _end(found, limit))
    near, far = reaching.near(decision), reaching.far(decision)
    if far is not None and not asked(far):
        far = None
    found, position, sides = [], after, (near,) if far is None else (near, far)
    for _ in range(MOST_SLICES):
        states = await fetch(position, SLICE)
        found += await _sorted_out(gate, decision, states, near=near, far=far)
        if len(states) < SLICE or len(found) > limit:
            return Shown(sides, found[:limit], _end(found, limit))
        position = states[-1].id
    return Shown(sides, found, _some_time_before(position, after=after))


async def _sorted_out(
    gate: Gate, decision: Decision, states: Sequence[Stored], *, near: Decision, far: Decision | None
) -> list[tuple[Decision, Stored]]:
    """Return the states that are shown, each with the decision that shows it."""
    people = {state.subject for state in states if state.subject is not None}
    reached: frozenset[UUID | None] = frozenset(await gate.reached(decision, people))
    if reaching.covers_nobodys(decision):
        reached |= {None}
    sorted_out = ((near if state.subject in reached else far, state) for state in states)
    return [(side, state) for side, state in sorted_out if side is not None]


def _end(found: Sequence[tuple[Decision, Stored]], limit: int) -> UUID | None:
    return found[limit - 1][1].id if len(found) > limit else None


def _some_time_before(position: UUID, *, after: UUID) -> UUID:
    """Return an id that no record has, a little before `position`, unless that is where this page began."""
    blurred = UUID(int=position.int & ~_BLURRED)
    return blurred if blurred > after else position
