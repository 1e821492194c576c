"""Promise: what anchors took of a root log is held against its export; what nobody trusted signed is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from verifiers.exporting import HOST, TENANTS, plain, put, vkey
from verifiers.running import ROOT
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.crypto.notes import NoteSigner
from wellkeep.ledger.offline import PARTIAL, verify_export
from wellkeep.ledger.report import Report, What

_PASSED_OVER = "a note of an anchor is not signed by a trusted key and was passed over"


async def held_against(top: Path, note: bytes, *, receipt: bytes = b"") -> Report:
    """Verify an export in which one anchor's note lies, beside its receipt."""
    put(top / "anchors/drop/1/6.note", note)
    put(top / "anchors/drop/1/6.receipt", receipt)
    return await verify_export(top, vkeys=[vkey()])


@pytest.mark.parametrize("size", [1, 3, 5, 6])
async def test_a_note_of_this_history_holds_at_every_size(tmp_path: Path, size: int) -> None:
    made = plain()
    report = await held_against(made.write(tmp_path), made.of(PLATFORM_TENANT).note(size), receipt=b"a time stamp")
    assert (report.bad, report.notes) == ((), ())


async def test_a_note_of_another_root_is_another_history(tmp_path: Path) -> None:
    made = plain()
    report = await held_against(made.write(tmp_path), made.of(PLATFORM_TENANT).note(6, root=bytes(32)))
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(ROOT, 5, What.ANCHOR)]


async def test_a_note_of_more_than_there_is_shows_what_was_rolled_back(tmp_path: Path) -> None:
    made = plain()
    top = made.write(tmp_path)
    made.step(PLATFORM_TENANT, 2)
    report = await held_against(top, made.of(PLATFORM_TENANT).note(8))
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(ROOT, 6, What.ANCHOR)]


@pytest.mark.parametrize("how", ["rubbish", "cut off", "another key", "empty"])
async def test_a_note_that_nobody_trusted_signed_says_nothing(tmp_path: Path, how: str) -> None:
    made = plain()
    note = made.of(PLATFORM_TENANT).note(6, root=bytes(32))
    thief = NoteSigner(name=ROOT, seed=Secret(bytes(32)))
    notes = {"rubbish": b"rubbish", "cut off": note[:-9], "another key": thief.sign(f"{ROOT}\n6\n"), "empty": b""}
    report = await held_against(made.write(tmp_path), notes[how])
    assert (report.bad, report.notes) == ((), (_PASSED_OVER,))


async def test_a_note_of_a_log_that_is_not_there(tmp_path: Path) -> None:
    made, name = plain(), f"{HOST}/ledger/root/2"
    note = made.of(PLATFORM_TENANT).note(6).replace(ROOT.encode(), name.encode())
    assert (await held_against(made.write(tmp_path / "unsigned"), note)).notes == (_PASSED_OVER,)
    elsewhere = made.of(PLATFORM_TENANT)
    elsewhere.origin = name
    signed = elsewhere.note(6)
    elsewhere.origin = ROOT
    report = await held_against(made.write(tmp_path / "whole"), signed)
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(name, 0, What.ANCHOR)]
    report = await held_against(made.write(tmp_path / "partial", tenant=TENANTS[0]), signed)
    assert (report.bad, report.notes) == ((), (PARTIAL,))


async def test_what_was_lost_on_record_an_anchor_may_have_seen(tmp_path: Path) -> None:
    made = plain()
    made.covers.popitem()
    seen, fork = (made.of(PLATFORM_TENANT).note(6, root) for root in (None, bytes(32)))
    made.restored(PLATFORM_TENANT, keep=5)
    made.step(TENANTS[0])
    made.cover()
    assert not (await held_against(made.write(tmp_path / "seen"), seen)).bad
    report = await held_against(made.write(tmp_path / "fork"), fork)
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(ROOT, 5, What.ANCHOR)]


async def test_of_a_log_that_does_not_hold_no_root_is_asked(tmp_path: Path) -> None:
    made = plain()
    top = made.write(tmp_path)
    (top / made.of(PLATFORM_TENANT).path / "tile/0/000.p/6").unlink()
    report = await held_against(top, made.of(PLATFORM_TENANT).note(6, root=bytes(32)))
    assert [(bad.log, bad.what) for bad in report.bad] == [(ROOT, What.FILES)]
