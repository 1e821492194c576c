"""Exports made to fool the offline verifier: what it refuses, as the specification and the one-file verifier do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from verifiers.exporting import HOST, TENANTS, Deployment, plain, said, vkey
from verifiers.running import at, edit, in_log, log_of, manifest
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.actions import Action
from wellkeep.ledger.export_files import NoExport
from wellkeep.ledger.offline import verify_export
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import origin


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return plain().write(tmp_path / "export")


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


async def test_a_size_that_no_log_has_is_found_at_the_first_tile_that_is_missing(export: Path) -> None:
    manifest(export, in_log("size", 10**15))
    walked: list[int] = []

    def progress(_log: str, _seq: int, end: int) -> None:
        walked.append(end)
        assert walked.count(10**15) < 10, "it walks on after the first bad place"

    found = await verify_export(export, vkeys=[vkey()], progress=progress)
    assert len(found.bad) == 1


@pytest.mark.parametrize(("key", "value"), [("size", 0), ("size", 2**53), ("epoch", 0), ("epoch", -1)])
async def test_numbers_that_no_log_has_can_t_be_judged(export: Path, key: str, value: int) -> None:
    manifest(export, in_log(key, value))
    with pytest.raises(NoExport):
        await verify_export(export, vkeys=[vkey()])


@pytest.mark.parametrize("name", ["logs", f"logs/{TENANTS[0]}", f"logs/{TENANTS[0]}/1/tile", "covers", "anchors"])
async def test_no_file_is_read_through_a_link(export: Path, tmp_path: Path, name: str) -> None:
    (export / "anchors").mkdir()
    assert not (await verify_export(export, vkeys=[vkey()])).bad
    (export / name).rename(tmp_path / "elsewhere")
    (export / name).symlink_to(tmp_path / "elsewhere")
    assert (await verify_export(export, vkeys=[vkey()])).bad


async def test_an_export_may_lie_behind_a_link_itself(export: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(export)
    assert not (await verify_export(tmp_path / "link", vkeys=[vkey()])).bad


def a_cover(top: Path) -> Path:
    return min((top / "covers").iterdir())


def copied(path: Path, name: str) -> None:
    (path.parent / name).write_bytes(path.read_bytes())


def twice(raw: bytes) -> bytes:
    return raw.replace(b'"size":', b'"size":1,"size":', 1)


def upper(raw: bytes) -> bytes:
    return re.sub(rb"[0-9a-f]{64}", lambda found: found[0].upper(), raw)


LENIENCES: dict[str, Callable[[Path], None]] = {
    "a pair's key twice": lambda top: edit(a_cover(top), twice),
    "a pair in upper case": lambda top: edit(a_cover(top), upper),
    "a cover's name in upper case": lambda top: copied(a_cover(top), a_cover(top).stem.upper() + ".jsonl"),
    "a cover's name without dashes": lambda top: copied(a_cover(top), a_cover(top).name.replace("-", "")),
    "a cover's name without its end": lambda top: copied(a_cover(top), a_cover(top).stem),
    "a seal's key twice": lambda top: edit(log_of(top, 0) / "seals.jsonl", twice),
    "a seal in upper case": lambda top: edit(log_of(top, 0) / "seals.jsonl", upper),
}


@pytest.mark.parametrize("name", LENIENCES)
async def test_lines_and_names_have_one_form(export: Path, name: str) -> None:
    LENIENCES[name](export)
    assert (await verify_export(export, vkeys=[vkey()])).bad


@pytest.mark.parametrize(
    "change",
    [
        at("made_at", "yesterday\n"),
        at("made_at", "2026-01-02T03:04:05.000006Z\n"),
        at("month", "no month"),
        at("month", "2019-05\n"),
        at("tenant", str(TENANTS[0]).upper()),
        in_log("tenant", str(TENANTS[0]).upper()),
        in_log("tenant", TENANTS[0].hex),
    ],
)
async def test_a_manifest_has_one_form(export: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest(export, change)
    with pytest.raises(NoExport, match="is none of ours"):
        await verify_export(export, vkeys=[vkey()])
