"""Which root key serves whom is said by the settings: a row of the database can't choose."""

from __future__ import annotations

from uuid import uuid4

import pytest

from local_keys import a_root
from wellkeep.base.errors import KeysUnavailable, Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.keys.kms import Kms
from wellkeep.keys.roots import PinnedRoots, Root

MINE, THEIRS, OTHER = uuid4(), uuid4(), uuid4()


def named(roots: PinnedRoots, tenant: object, kms: Kms) -> bool:
    """Say whether a row of `tenant` may name the root."""
    try:
        return roots.named(tenant, kms.describe().root) is kms  # type: ignore[arg-type]
    except KeysUnavailable:
        return False


def test_a_tenant_that_brought_a_root_has_that_one_and_no_other() -> None:
    main, mine, theirs = a_root(), a_root(), a_root()
    roots = PinnedRoots(
        [
            Root("main", main),
            Root("mine", mine, tenants=frozenset({MINE})),
            Root("theirs", theirs, tenants=frozenset({THEIRS})),
        ],
        main="main",
    )
    assert roots.deployment is main
    assert [roots.current(tenant) for tenant in (MINE, THEIRS, OTHER, PLATFORM_TENANT)] == [mine, theirs, main, main]
    allowed = {
        (tenant, kms): named(roots, tenant, kms)
        for tenant in (MINE, THEIRS, OTHER, PLATFORM_TENANT)
        for kms in (main, mine, theirs)
    }
    assert {pair for pair, yes in allowed.items() if yes} == {
        (MINE, mine),
        (THEIRS, theirs),
        (OTHER, main),
        (PLATFORM_TENANT, main),
    }


def test_while_a_tenant_moves_its_older_keys_open_and_no_longer_than_that() -> None:
    main, mine = a_root(), a_root()
    for moving in (True, False):
        roots = PinnedRoots(
            [Root("main", main), Root("mine", mine, tenants=frozenset({MINE}), moving=moving)], main="main"
        )
        assert roots.current(MINE) is mine
        assert named(roots, MINE, main) is moving


def test_a_retired_root_opens_and_wraps_nothing_new() -> None:
    old, new, mine = a_root(), a_root(), a_root()
    roots = PinnedRoots(
        [
            Root("old", old, retired=True),
            Root("new", new),
            Root("mine", mine, tenants=frozenset({MINE}), retired=True),
        ],
        main="new",
    )
    assert roots.deployment is new
    assert roots.current(MINE) is roots.current(OTHER) is new
    assert named(roots, OTHER, old)
    assert named(roots, MINE, mine)
    assert named(roots, MINE, new)
    assert not named(roots, OTHER, mine)


def test_a_root_that_is_not_listed_opens_nothing_and_no_root_is_listed_twice() -> None:
    main = a_root()
    roots = PinnedRoots([Root("main", main)], main="main")
    assert not named(roots, OTHER, a_root())
    with pytest.raises(KeysUnavailable, match=r"\[\[keys.roots\]\]"):
        roots.named(OTHER, "")
    with pytest.raises(Misconfigured, match="same key"):
        PinnedRoots([Root("main", main), Root("mine", main, tenants=frozenset({MINE}))], main="main")
