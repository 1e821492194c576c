"""The root tier: everything under the root key that the settings name, and none under the one before."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from keys.rig import CompanyKms
from keys.rotation.rig import Rolling, never
from local_keys import a_root
from wellkeep.base.errors import KeysRevoked, KeysUnavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.findings.grammar import Kind
from wellkeep.keys.deployment import load_deployment
from wellkeep.keys.kms import Kms, OneRoot
from wellkeep.keys.roots import PinnedRoots, Root
from wellkeep.keys.rotation import Tier
from wellkeep.keys.rotation_root import RootRewrap


def engine(roller: Rolling, roots: PinnedRoots) -> RootRewrap:
    stack = roller.stack
    return RootRewrap(gate=stack.gate, pool=stack.pool, roots=roots, epochs=roller.epochs, findings=stack.findings)


def moved(roller: Rolling, new: Kms, *, retired: bool = False) -> PinnedRoots:
    """Return the settings in which `new` is the root key, and the one before is still listed."""
    return PinnedRoots([Root("main", new), Root("before", roller.roots.deployment, retired=retired)], main="main")


async def test_every_row_is_moved_the_deployments_own_too(roller: Rolling) -> None:
    stack, new = roller.stack, a_root()
    records = await roller.patients(3)
    await stack.keyring.provision(PLATFORM_TENANT)
    roots = moved(roller, new, retired=True)
    one = await roller.begun(1, tier=Tier.ROOT)
    root = engine(roller, roots)
    behind = await root.behind()
    assert behind == {PLATFORM_TENANT: 11, stack.tenant: 6, stack.other: 6}
    async with stack.database.connect("wk_app") as connection:
        before = await load_deployment(connection, roots)
    await root.run(one, never)
    assert await root.behind() == {}
    rows = await stack.as_superuser("SELECT DISTINCT root FROM keys.tenant_key")
    assert [row["root"] for row in rows] == [new.describe().root]
    async with stack.database.connect("wk_app") as connection:
        after = await load_deployment(connection, OneRoot(new))
    assert after.seal.secret.reveal() == before.seal.secret.reveal()
    stack.keyring._roots = OneRoot(new)
    stack.keyring.expire(stack.tenant)
    await roller.readable(records)
    state = await roller.state(one.id)
    assert (state.state, state.done, state.total) == ("done", 23, 23)
    (entry,) = await stack.entries("key.rotated")
    assert '"count":6' in entry["text"]


async def test_again_and_two_at_once_change_nothing_more(roller: Rolling) -> None:
    roots = moved(roller, a_root())
    one = await roller.begun(1, tier=Tier.ROOT)
    results = await asyncio.gather(*(engine(roller, roots).run(one, never) for _ in range(2)), return_exceptions=True)
    assert results.count(None) >= 1
    assert (await roller.state(one.id)).state == "done"
    assert await engine(roller, roots).behind() == {}


async def test_one_tenant_whose_root_is_away_keeps_no_other_from_moving(roller: Rolling) -> None:
    stack, new, theirs = roller.stack, a_root(), a_root()

    def roots(own: Kms) -> PinnedRoots:
        return PinnedRoots(
            [
                Root("main", new),
                Root("before", roller.roots.deployment, retired=True),
                Root("theirs", own, tenants=frozenset({stack.other}), moving=True),
            ],
            main="main",
        )

    one = await roller.begun(1, tier=Tier.ROOT)
    with pytest.raises(KeysUnavailable):
        await engine(roller, roots(CompanyKms(mood="gone", inner=theirs))).run(one, never)
    assert await engine(roller, roots(theirs)).behind() == {stack.other: 6}
    state = await roller.state(one.id)
    assert (state.state, state.error) == ("running", "keys-unavailable")
    await stack.findings.flush()
    assert [found.kind for found in await stack.findings.list(stack.other)] == [Kind.KEYS_ROTATION_FAILED]
    await engine(roller, roots(theirs)).run(one, never)
    assert (await roller.state(one.id)).state == "done"
    assert await named(roller, stack.other) == {theirs.describe().root}
    assert await stack.findings.list(stack.other) == []


@pytest.mark.parametrize("mood", ["another-key", "rubbish", "wraps alone"])
async def test_a_service_that_does_not_open_what_it_wrapped_is_given_nothing(roller: Rolling, mood: str) -> None:
    """Else the rows under the old root would be overwritten by what nobody opens."""
    stack = roller.stack
    records = await roller.patients(1)
    before = await stack.as_superuser(
        "SELECT tenant_id, purpose, epoch, wrapped, root FROM keys.tenant_key ORDER BY kid"
    )
    one = await roller.begun(1, tier=Tier.ROOT)
    with pytest.raises((KeysUnavailable, KeysRevoked)):
        await engine(roller, moved(roller, CompanyKms(mood=mood, inner=a_root()))).run(one, never)
    after = await stack.as_superuser(
        "SELECT tenant_id, purpose, epoch, wrapped, root FROM keys.tenant_key ORDER BY kid"
    )
    assert [tuple(row) for row in after] == [tuple(row) for row in before]
    stack.keyring.expire(stack.tenant)
    await roller.readable(records)


async def named(roller: Rolling, tenant: UUID) -> set[str]:
    rows = await roller.stack.as_superuser("SELECT root FROM keys.tenant_key WHERE tenant_id = $1", tenant)
    return {row["root"] for row in rows}
