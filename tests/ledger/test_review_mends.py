"""Exports made to fool the offline verifier: what it refuses, as the specification and the one-file verifier do."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from verifiers.exporting import HOST, TENANTS, Deployment, said, vkey
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.actions import Action
from wellkeep.ledger.offline import verify_export
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import origin


def two_epochs() -> Deployment:
    """Return a deployment that once accepted a restore: two epochs of the root log and of a tenant's."""
    made = Deployment()
    for tenant in TENANTS:
        made.step(tenant, 6)
    made.step(TENANTS[0], 8)
    made.step(PLATFORM_TENANT, 6)
    made.restored(TENANTS[0], keep=7)
    made.restored(PLATFORM_TENANT, keep=made.of(PLATFORM_TENANT).sizes[-2])
    made.step(TENANTS[0], 8)
    made.step(PLATFORM_TENANT, 8)
    made.cover()
    return made


@pytest.mark.parametrize("tenants", [(TENANTS[0],), (PLATFORM_TENANT,), (TENANTS[0], PLATFORM_TENANT)])
async def test_missing_prefixes_of_epochs_don_t_excuse_each_other(tmp_path: Path, tenants: tuple[UUID, ...]) -> None:
    made = two_epochs()
    assert not (await verify_export(made.write(tmp_path / "before"), vkeys=[vkey()])).bad
    for log in made.logs.values():
        if log.tenant in tenants:
            log.first = len(log.entries) - (4 if log.epoch > 1 else 3)
    found = await verify_export(made.write(tmp_path / "after"), vkeys=[vkey()])
    newest = {origin(HOST, tenant, 2) for tenant in tenants}
    assert {(bad.log, bad.seq, bad.what) for bad in found.bad} >= {(name, 0, What.PRUNED) for name in newest}


async def test_a_later_epoch_s_missing_prefix_excuses_an_earlier_one_s(tmp_path: Path) -> None:
    made = two_epochs()
    made.pruned(TENANTS[0], upto=5)
    later = made.of(TENANTS[0], 2)
    upto = len(later.entries)
    about = {"resource_id": str(TENANTS[0]), "span": (2, 0, upto), "digest": later.root_at(upto)}
    for where in (TENANTS[0], PLATFORM_TENANT):
        made.step(where, 0, said(Action.LEDGER_PRUNED, next(made.numbers), **about))
    later.first = upto
    found = await verify_export(made.write(tmp_path), vkeys=[vkey()])
    assert (found.bad, sum("may be pruned itself" in note for note in found.notes)) == ((), 1)
