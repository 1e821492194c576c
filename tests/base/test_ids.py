"""Ids tell their time and nothing else; one that follows from something is the same in every version of wellkeep."""

from __future__ import annotations

from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT, derived, earliest, uuid7, uuid7s


def test_a_derived_id_has_the_time_of_the_first_and_stays_what_it_was() -> None:
    first = UUID("0198d7b2-0000-7000-8000-0000000000aa")
    one = derived(first, b"wellkeep/ledger/part\n" + first.bytes + b"\0\0\0\2")
    assert one == UUID("0198d7b2-0000-7ce8-b731-d755b8137da9")
    assert one.bytes[:6] == first.bytes[:6]
    assert (one.version, one.variant) == (first.version, first.variant)
    assert derived(first, b"other") != one
    assert derived(uuid7(), b"x").version == derived(PLATFORM_TENANT, b"x").version == 7


def test_no_id_of_a_millisecond_is_before_its_earliest() -> None:
    for one in (uuid7(), *uuid7s(50)):
        milliseconds = one.int >> 80
        assert earliest(milliseconds) <= one < earliest(milliseconds + 1)
        assert earliest(milliseconds).version == 7
