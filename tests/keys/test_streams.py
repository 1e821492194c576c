"""Stream keys: wrapped per blob, written without the power to read, read with a receipt."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from keys.rig import Bench, receipt_for
from wellkeep.base.errors import IntegrityBroken, KeysUnavailable
from wellkeep.keys.opening import ReceiptRefused
from wellkeep.keys.streams import new_stream, open_stream, resume_stream


async def test_a_blob_is_written_resumed_and_read_with_a_receipt(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    blob = uuid4()
    new = await new_stream(keys, blob=blob)
    header = new.writer.new_header()
    first = new.writer.seal_segment(0, b"a" * 65_536, header=header, last=False)
    again = resume_stream(keys, blob=blob, wrapped=new.wrapped, epoch=new.epoch)
    second = again.seal_segment(1, b"end", header=header, last=True)
    assert not hasattr(again, "open_segment")
    reader = open_stream(receipt_for(tenant, blob), keys=keys, blob=blob, wrapped=new.wrapped, epoch=new.epoch)
    assert reader.open_segment(0, first, header=header, last=False) == b"a" * 65_536
    assert reader.open_segment(1, second, header=header, last=True) == b"end"
    for wrong in ((0, second, True), (1, second, False), (1, second[:-1], True), (1, first, False)):
        index, sealed, last = wrong
        with pytest.raises(IntegrityBroken):
            reader.open_segment(index, sealed, header=header, last=last)


async def test_a_stream_without_its_receipt_or_of_another_blob_stays_shut(
    bench: Bench, tenant: UUID, other_tenant: UUID
) -> None:
    keys, theirs = await bench.ring.provision(tenant), await bench.ring.provision(other_tenant)
    blob, other = uuid4(), uuid4()
    new = await new_stream(keys, blob=blob)
    stored = {"wrapped": new.wrapped, "epoch": new.epoch}
    for receipt in (receipt_for(tenant, other), receipt_for(other_tenant, blob)):
        with pytest.raises(ReceiptRefused):
            open_stream(receipt, keys=keys, blob=blob, **stored)  # type: ignore[arg-type]
    with pytest.raises(IntegrityBroken):
        open_stream(receipt_for(tenant, other), keys=keys, blob=other, **stored)  # type: ignore[arg-type]
    with pytest.raises(IntegrityBroken):
        open_stream(receipt_for(other_tenant, blob), keys=theirs, blob=blob, **stored)  # type: ignore[arg-type]
    with pytest.raises(KeysUnavailable):
        resume_stream(keys, blob=blob, wrapped=new.wrapped, epoch=9)
    assert "kid=" in repr(new.writer)
