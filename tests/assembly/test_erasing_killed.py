"""Promise: an erasure of a tenant that is killed anywhere was done or was not; the next start makes up what it owed.

The process that dies is a fork that opens the deployment's services as the command does, and is killed with SIGKILL at
a named step; what comes after is the next start, and nobody asks for anything again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from assembly.conftest import Installed
from assembly.test_erasing_restored import caller, left
from jobs.killing import in_a_fork, kill_myself
from vault.stack import PATIENTS
from wellkeep.access.operators import operator, this_operator
from wellkeep.assembly import sweeping
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.assembly.sweeping import Sweeper
from wellkeep.base.errors import ApprovalNeeded
from wellkeep.base.ids import uuid7
from wellkeep.db.provision import connected
from wellkeep.gate.acts import Caller
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys.local import LocalEpochKeys
from wellkeep.keys.rotation import Tier
from wellkeep.vault.calls import NIL
from wellkeep.vault.erasure import Erased
from wellkeep.vault.erasure_tenant import TenantErasures

ADA, GRACE = (Caller(operator(name), None, uuid7()) for name in ("ada", "grace"))
BEFORE = ("checked", "taken", "recorded")
AFTER = ("committed", "chained", "entered", "remembered", "sweeping")
_ENTRIES = """
SELECT tenant_id = wk.platform() AS root FROM ledger.entry
WHERE action = 'tenant.erased' AND outcome = 'done' AND resource_id = $1::uuid::text
"""
_OWED = "SELECT count(*) FROM ledger.outbox"
_KEYS = "SELECT count(*) FROM keys.tenant_key WHERE tenant_id = $1"


def die_around(owner: Any, name: str, *, before: int | None = None, after: int | None = None) -> None:
    """Die before or after the so-many-th call of a method of what `owner` makes."""
    inner: Callable[..., Awaitable[Any]] = getattr(owner, name)
    calls = 0

    async def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == before:
            kill_myself()
        answer = await inner(*arguments, **named)
        if calls == after:
            kill_myself()
        return answer

    setattr(owner, name, dying)


def prepare_to_die(runtime: Runtime, step: str) -> None:
    """Have this process die at a step of the erasure; called in a fork alone."""
    tenants = runtime.erasing.tenants
    if step == "checked":
        die_around(TenantErasures, "_check", after=1)
    elif step == "taken":
        die_around(GateTransaction, "end", before=1)
    elif step == "recorded":
        die_around(GateTransaction, "end", after=1)
    elif step == "committed":
        die_around(Gate, "_chain", before=1)
    elif step == "chained":
        die_around(Gate, "_chain", after=1)
    elif step == "entered":
        tenants._remember = lambda _: kill_myself()
    elif step == "remembered":
        remember = tenants._remember

        def remember_and_die(erased: Sequence[Erased]) -> None:
            remember(erased)
            kill_myself()

        tenants._remember = remember_and_die
    else:
        vars(sweeping)["_AT_ONCE"] = 1
        die_around(Sweeper, "some", after=2)


async def erase_and_die(installed: Installed, tenant: UUID, step: str) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        prepare_to_die(runtime, step)
        await runtime.erasing.tenants.erase(ADA, tenant)
        await runtime.erasing.sweeper.all(tenant)


async def approved(runtime: Runtime) -> UUID:
    """Return a closed tenant with a patient, whose erasure was asked for and approved."""
    tenant = await runtime.tenants.create(this_operator(), name=f"clinic-{uuid7().hex[-8:]}", kind="synthetic")
    await runtime.collections.create(caller(tenant, "administrator"), PATIENTS)
    await runtime.records.create(caller(tenant, "integration"), "patients", {"family": "Lovelace"})
    await runtime.tenants.close(ADA, tenant=tenant)
    with pytest.raises(ApprovalNeeded) as waits:
        await runtime.erasing.tenants.erase(ADA, tenant)
    assert waits.value.resource is not None
    await runtime.erasing.approvals.decide(GRACE, waits.value.resource, give=True)
    return tenant


async def logs(installed: Installed, tenant: UUID) -> list[bool]:
    """Return in which logs the erasure was entered: True for the root log, False for the tenant's own."""
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        assert await connection.fetchval(_OWED) == 0
        return sorted(row["root"] for row in await connection.fetch(_ENTRIES, tenant))


async def there(installed: Installed, tenant: UUID) -> bool:
    """Say whether the tenant still has its keys."""
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        return bool(await connection.fetchval(_KEYS, tenant))


@pytest.mark.fault
@pytest.mark.parametrize("step", [*BEFORE, *AFTER])
async def test_killed_at_any_step_it_is_done_with_both_entries_or_it_is_not(installed: Installed, step: str) -> None:
    where = (installed.home, installed.settings, installed.database)
    async with open_runtime(*where) as runtime:
        tenant = await approved(runtime)
    assert in_a_fork(partial(erase_and_die, installed, tenant, step)) == -9
    async with open_runtime(*where) as runtime:
        await runtime.core.writer.drain_outbox(older_than=0.0)
        stones = [(one.tenant, one.subject) for one in runtime.erasing.tombstones.load()]
        if step in BEFORE:
            assert await there(installed, tenant)
            assert (await logs(installed, tenant), stones.count((tenant, NIL))) == ([], 0)
            await runtime.erasing.tenants.erase(ADA, tenant)  # the approval was not used up
            stones = [(one.tenant, one.subject) for one in runtime.erasing.tombstones.load()]
        assert not await there(installed, tenant)
        assert (await logs(installed, tenant), stones.count((tenant, NIL))) == ([False, True], 1)
        await runtime.erasing.tenants.erase(ADA, tenant)
        await runtime.erasing.sweeper.all(tenant)
        assert await logs(installed, tenant) == [False, True]
        assert (await runtime.erasing.certificates.of_tenant(GRACE, tenant)).swept
    assert await left(installed, tenant) == {}


async def destroy_and_die(installed: Installed, epoch: int) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        die_around(LocalEpochKeys, "destroy", after=1)
        await runtime.key_rotations.destroy(ADA, epoch)


@pytest.mark.fault
async def test_killed_between_the_end_of_an_epochs_key_and_its_record_the_job_makes_up_for_it(
    installed: Installed,
) -> None:
    """Two people brought its day forward; the file is gone, and nobody asks again."""
    where = (installed.home, installed.settings, installed.database)
    async with open_runtime(*where) as runtime:
        rotations = runtime.key_rotations
        begun = await rotations.start(ADA, Tier.EPOCH)
        await rotations.run(begun.id, lambda: False)
        epoch = next(one.epoch for one in await rotations.epochs() if one.state == "retired")
        asked = await rotations.destroy(ADA, epoch)
        assert asked.approval is not None
        await runtime.erasing.approvals.decide(GRACE, asked.approval, give=True)
    assert in_a_fork(partial(destroy_and_die, installed, epoch)) == -9
    async with open_runtime(*where) as runtime:
        rotations = runtime.key_rotations
        (found,) = [one for one in await rotations.epochs() if one.epoch == epoch]
        assert (found.state, found.outside) == ("retired", "gone")
        assert await rotations.epoch.destroy_due() == [epoch]
        assert await rotations.epoch.destroy_due() == []
        (found,) = [one for one in await rotations.epochs() if one.epoch == epoch]
        assert found.state == "destroyed"
