"""Rows: two shares for every tenant's key, one for the deployment's, and neither in the place of the other."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from keys.rig import CompanyKms
from local_keys import a_root, epoch_keys
from wellkeep.base.errors import IntegrityBroken, KeysUnavailable
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES, TENANT_PURPOSES, KeyPurpose
from wellkeep.keys.rows import KeyRow, OpenedKey, new_row, open_row, open_rows, proofs, rewrapped, shares

TENANT = UUID(int=11)


@pytest.mark.parametrize("purpose", TENANT_PURPOSES)
async def test_every_key_of_a_tenant_needs_root_and_epoch(purpose: KeyPurpose) -> None:
    """An old backup with the root key beside it opens nothing once the epoch's key is destroyed."""
    root, epochs = a_root(), epoch_keys(1)
    row = await new_row(root, epochs, tenant=TENANT, purpose=purpose, epoch=3, kms_epoch=1)
    opened = await open_row(row, root, epochs, tenant=TENANT)
    assert len(opened.secret) == 32
    first, second = shares(row)
    assert row.wrapped == len(first).to_bytes(2, "big") + first + second
    with pytest.raises(KeysUnavailable):
        await open_row(row, root, epoch_keys(2), tenant=TENANT)
    with pytest.raises(IntegrityBroken):
        await open_row(row, root, epoch_keys(1), tenant=TENANT)
    with pytest.raises(KeysUnavailable):
        await open_row(row, root, None, tenant=TENANT)
    with pytest.raises(KeysUnavailable, match="another root key"):
        await open_row(row, a_root(), epochs, tenant=TENANT)


@pytest.mark.parametrize(
    "change",
    [{"kms_epoch": 2}, {"epoch": 4}, {"purpose": KeyPurpose.DATA}, {"kms_epoch": 0}, {"purpose": KeyPurpose.SEAL}],
)
async def test_a_row_that_says_another_place_than_its_own_does_not_open(change: dict[str, int]) -> None:
    root, epochs = a_root(), epoch_keys(1, 2)
    row = await new_row(root, epochs, tenant=TENANT, purpose=KeyPurpose.FILE, epoch=3, kms_epoch=1)
    with pytest.raises(IntegrityBroken):
        await open_row(replace(row, **change), root, epochs, tenant=TENANT)  # type: ignore[arg-type]
    with pytest.raises(IntegrityBroken):
        await open_row(row, root, epochs, tenant=UUID(int=12))


@pytest.mark.parametrize("purpose", DEPLOYMENT_PURPOSES)
async def test_a_deployments_key_belongs_to_no_epoch(purpose: KeyPurpose) -> None:
    root = a_root()
    row = await new_row(root, None, tenant=TENANT, purpose=purpose, epoch=1, kms_epoch=0)
    assert (await open_row(row, root, None, tenant=TENANT)).row == row
    with pytest.raises(ValueError, match="no epoch"):
        await new_row(root, epoch_keys(1), tenant=TENANT, purpose=purpose, epoch=1, kms_epoch=1)
    with pytest.raises(ValueError, match="no epoch"):
        await new_row(root, epoch_keys(1), tenant=TENANT, purpose=KeyPurpose.WRAP, epoch=1, kms_epoch=0)


async def test_a_rewrapped_row_is_the_same_key_under_other_shares() -> None:
    old, new, epochs = a_root(), a_root(), epoch_keys(1, 2)
    row = await new_row(old, epochs, tenant=TENANT, purpose=KeyPurpose.INDEX, epoch=1, kms_epoch=1)
    opened = await open_row(row, old, epochs, tenant=TENANT)
    moved = await rewrapped(opened, new, epochs, tenant=TENANT, kms_epoch=2)
    again = await open_row(moved, new, epochs, tenant=TENANT)
    assert again.secret == opened.secret
    assert (moved.kid, moved.commit, moved.epoch, moved.state) == (row.kid, row.commit, row.epoch, row.state)
    assert (moved.kms_epoch, moved.root) == (2, new.describe().root)
    mixed = replace(moved, wrapped=_joined(shares(moved)[0], shares(row)[1]), kms_epoch=1)
    with pytest.raises(IntegrityBroken, match="commitment"):
        await open_row(mixed, new, epochs, tenant=TENANT)


async def test_a_row_whose_kid_is_not_its_commitments_is_refused() -> None:
    root, epochs = a_root(), epoch_keys(1)
    row = await new_row(root, epochs, tenant=TENANT, purpose=KeyPurpose.DATA, epoch=1, kms_epoch=1)
    with pytest.raises(IntegrityBroken, match="kid"):
        await open_row(replace(row, kid=bytes(16)), root, epochs, tenant=TENANT)


async def test_proofs_are_one_row_for_each_root_and_epoch_and_the_wrap_key_first() -> None:
    def row(purpose: KeyPurpose, root: str, kms_epoch: int, state: str = "active") -> KeyRow:
        return KeyRow(purpose, 1, bytes(16), bytes(32), b"", kms_epoch, root, state)

    rows = [
        row(KeyPurpose.DATA, "a", 1),
        row(KeyPurpose.WRAP, "a", 1, "decrypt_only"),
        row(KeyPurpose.WRAP, "a", 1),
        row(KeyPurpose.FILE, "b", 1),
        row(KeyPurpose.INDEX, "a", 2),
    ]
    assert proofs(rows) == [rows[2], rows[3], rows[4]]


async def test_the_worst_of_what_went_wrong_is_told_and_nothing_of_a_faulty_driver() -> None:
    kms, epochs = CompanyKms(), epoch_keys(1)
    row = await new_row(kms, epochs, tenant=TENANT, purpose=KeyPurpose.DATA, epoch=1, kms_epoch=1)
    kms.mood = "faulty-driver"
    with pytest.raises(KeysUnavailable, match="could not read"):
        await open_rows([row], lambda _root: kms, epochs, tenant=TENANT, seconds=60)
    kms.mood = "hanging"
    with pytest.raises(KeysUnavailable, match="in time"):
        await open_rows([row], lambda _root: kms, epochs, tenant=TENANT, seconds=0.05)
    kms.mood = "well"
    broken = replace(row, wrapped=row.wrapped[:-1])
    with pytest.raises(IntegrityBroken):
        await open_rows([row, broken], lambda _root: kms, epochs, tenant=TENANT, seconds=60)


async def test_an_opened_key_has_no_text_and_is_not_pickled() -> None:
    root, epochs = a_root(), epoch_keys(1)
    row = await new_row(root, epochs, tenant=TENANT, purpose=KeyPurpose.DATA, epoch=1, kms_epoch=1)
    opened = await open_row(row, root, epochs, tenant=TENANT)
    assert opened.secret.hex() not in repr(opened)
    assert repr(opened.secret) not in repr(opened)
    with pytest.raises(TypeError, match="pickled"):
        OpenedKey.__reduce__(opened)


def _joined(first: bytes, second: bytes) -> bytes:
    return len(first).to_bytes(2, "big") + first + second
