"""Promise: prunes and losses on record hold in an export, those that are not are found, and manifests fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verifiers.exporting import TENANTS, plain, put, vkey
from verifiers.running import FIRST, ROOT, SECOND, THIEF, THIRD, log_of, manifest
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.notes import NoteSigner
from wellkeep.ledger.export_files import NoExport
from wellkeep.ledger.offline import PARTIAL, verify_export
from wellkeep.ledger.report import Report, What


async def verified(top: Path) -> Report:
    return await verify_export(top, vkeys=[vkey()])


@pytest.mark.parametrize("upto", [1, 256, 300, 512, 604])
async def test_a_prefix_that_was_pruned_on_record_holds(tmp_path: Path, upto: int) -> None:
    made = plain()
    made.pruned(TENANTS[0], upto=upto)
    report = await verified(made.write(tmp_path))
    assert (report.bad, report.notes) == ((), ())
    assert report.entries == sum(len(log.entries) - log.first for log in made.logs.values())


async def test_a_prefix_that_is_missing_without_a_record_is_found(tmp_path: Path) -> None:
    made = plain()
    made.of(TENANTS[0]).first = 300
    report = await verified(made.write(tmp_path))
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(FIRST, 0, What.PRUNED)]


async def test_pruned_entries_that_are_there_after_all_are_found(tmp_path: Path) -> None:
    made = plain()
    made.pruned(TENANTS[0], upto=300)
    top = made.write(tmp_path)
    whole = plain().write(tmp_path / "whole")
    put(log_of(top, 0) / "tile/entries/001", (log_of(whole, 0) / "tile/entries/001").read_bytes())
    assert [(bad.log, bad.what) for bad in (await verified(top)).bad] == [(FIRST, What.FILES)]


async def test_a_loss_on_record_holds_and_is_said(tmp_path: Path) -> None:
    made = plain()
    made.restored(TENANTS[1], keep=0, skip=1)
    made.step(TENANTS[1], 2)
    made.cover()
    report = await verified(made.write(tmp_path))
    assert (report.bad, [str(TENANTS[1]) in note for note in report.notes]) == ((), [True])


async def test_a_log_that_was_rolled_back_without_a_record_is_found(tmp_path: Path) -> None:
    made = plain()
    log = made.of(TENANTS[1])
    del log.entries[5:]
    log.sizes, log.seals = [5], log.seals[:1]
    report = await verified(made.write(tmp_path))
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(SECOND, 5, What.COVER)]


async def test_a_log_that_is_missing_is_named_once(tmp_path: Path) -> None:
    made = plain()
    del made.logs[THIRD]
    assert (THIRD, 0) in {(bad.log, bad.seq) for bad in (await verified(made.write(tmp_path))).bad}


async def test_a_month_ends_where_it_says_and_is_partial(tmp_path: Path) -> None:
    made = plain()
    made.pruned(TENANTS[0], upto=100)
    beyond = made.of(PLATFORM_TENANT).note(len(made.of(PLATFORM_TENANT).entries))
    log = made.of(PLATFORM_TENANT)
    del log.entries[6:]
    log.sizes, log.seals = [size for size in log.sizes if size <= 6], log.seals[:-1]
    top = made.write(tmp_path, month="2026-01")
    put(top / "anchors/drop/1/7.note", beyond)
    report = await verified(top)
    assert (report.bad, report.notes) == ((), (PARTIAL,))


@pytest.mark.parametrize("with_root", [True, False])
async def test_one_tenant_s_export_is_partial(tmp_path: Path, with_root: bool) -> None:  # noqa: FBT001
    report = await verified(plain().write(tmp_path, tenant=TENANTS[0], with_root=with_root))
    assert (report.bad, report.logs, report.notes) == ((), 1 + with_root, (PARTIAL,))


async def test_older_checkpoints_may_be_of_an_older_key(tmp_path: Path) -> None:
    made = plain()
    log = made.of(TENANTS[2])
    top = made.write(tmp_path)
    old = NoteSigner(name=THIRD, seed=THIEF)
    text = log.note(6).partition(b"\n\n")[0].decode() + "\n"
    put(log_of(top, 2) / "checkpoints/6", old.sign(text))
    assert [(bad.log, bad.what) for bad in (await verified(top)).bad] == [(THIRD, What.CHECKPOINT)]
    number = list(made.logs).index(THIRD)
    manifest(top, lambda said: said["logs"][number].__setitem__("older_vkeys", [old.vkey]))
    assert not (await verified(top)).bad


async def test_without_seals_an_export_of_them_none_holds(tmp_path: Path) -> None:
    top = plain().write(tmp_path)
    (log_of(top, 1) / "seals.jsonl").unlink()
    assert not (await verified(top)).bad


_FIRST_LOG: dict[str, tuple[str, object]] = {
    "a key that is none": ("vkey", "none"),
    "a key of another log": ("vkey", vkey(ROOT)),
    "an older key of another log": ("older_vkeys", [vkey(ROOT)]),
    "another path": ("path", "elsewhere"),
    "another name": ("origin", f"{FIRST}0"),
    "a first entry beyond it": ("first", 100_000),
    "no entries": ("size", 0),
}


def _in_first(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda said: said["logs"][1].__setitem__(key, value)


@pytest.mark.parametrize("what", _FIRST_LOG)
async def test_a_manifest_whose_log_does_not_fit_is_not_judged(tmp_path: Path, what: str) -> None:
    top = plain().write(tmp_path)
    manifest(top, _in_first(*_FIRST_LOG[what]))
    with pytest.raises(NoExport):
        await verified(top)


_WHOLE: dict[str, Callable[[dict[str, Any]], object]] = {
    "another root": lambda said: said.__setitem__("root", FIRST),
    "no root of a whole export": lambda said: said.__setitem__("root", None),
    "a log twice": lambda said: said["logs"].append(said["logs"][0]),
    "another tenant's log": lambda said: said.__setitem__("tenant", str(TENANTS[2])),
    "no logs": lambda said: said.__setitem__("logs", []),
    "another format": lambda said: said.__setitem__("format", "wellkeep/ledger-export/v2"),
}


@pytest.mark.parametrize("what", _WHOLE)
async def test_a_manifest_that_does_not_fit_together_is_not_judged(tmp_path: Path, what: str) -> None:
    top = plain().write(tmp_path)
    manifest(top, _WHOLE[what])
    with pytest.raises(NoExport):
        await verified(top)


async def test_a_lost_log_of_which_more_was_vouched_for_than_was_said(tmp_path: Path) -> None:
    made = plain()
    size = len(made.of(TENANTS[1]).entries)
    cover = made.covers[list(made.covers)[-1]]
    assert (SECOND, size) in {(pair["origin"], pair["size"]) for pair in cover}
    del made.of(TENANTS[1]).entries[size - 1 :]
    made.restored(TENANTS[1], keep=0)
    report = await verified(made.write(tmp_path))
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(SECOND, 0, What.LOG_MISSING)]


@pytest.mark.parametrize("entry", [b"{", b"[]", b'{"time":"x"}', b"[" * 9_999, b"\xff", b'{"a":1.5}', b'{"a":NaN}'])
async def test_an_entry_that_is_none_is_found_although_its_hash_is_signed(tmp_path: Path, entry: bytes) -> None:
    made = plain()
    made.of(TENANTS[2]).entries[3] = entry
    made.of(TENANTS[2]).seals.clear()
    report = await verified(made.write(tmp_path))
    assert [bad.seq for bad in report.bad if bad.log == THIRD] == [3]


async def test_a_key_of_another_deployment_judges_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoExport, match="another deployment"):
        await verify_export(plain().write(tmp_path), vkeys=[vkey("elsewhere.test/ledger/root")])


async def test_how_far_it_is_is_told_tile_by_tile(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    top = plain().write(tmp_path)
    await verify_export(top, vkeys=[vkey()], progress=lambda *far: told.append(far))
    assert [far for name, *far in told if name == FIRST] == [[256, 604], [512, 604], [604, 604]]
