"""Promise: an export is whole or not there, and whoever has the root log's key can check all of it without us."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from database import Database
from ledger.grown import ROOT, grown
from ledger.making import KEYS, change
from ledger.signing import SIGNER
from verifiers.running import VERIFIER
from wellkeep.base.errors import Conflict, IntegrityBroken
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import BadNote
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.export import Wanted
from wellkeep.ledger.export_files import NoExport
from wellkeep.ledger.offline import NOT_PINNED, PARTIAL, verify_export
from wellkeep.ledger.report import What

VKEY = SIGNER.vkey(ROOT)


def verified_by_others(top: Path) -> dict[str, Any]:
    """Return what the independent verifier says."""
    with redirect_stdout(StringIO()) as told:
        VERIFIER.main(["export", str(top), "--vkey", VKEY, "--json"])
    said: dict[str, Any] = json.loads(told.getvalue())
    return said


def contents(top: Path) -> dict[str, bytes]:
    """Return every file but the manifest, which says when it was made."""
    paths = (path for path in top.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}


async def test_our_verifier_and_the_independent_one_accept_it(database: Database, tenant: UUID, tmp_path: Path) -> None:
    others = [uuid7(), uuid7()]
    async with grown(database, tmp_path) as made:
        for number, each in enumerate((tenant, *others, tenant, tenant)):
            await made.grow(each, 40 + 130 * number)
        top = await made.exported(tmp_path / "export")
        report = await verify_export(top, vkeys=[VKEY], keys=KEYS)
        live = await made.verified()
    assert report.ok, report.bad
    assert (report.entries, report.seals, report.checkpoints - 4) == (live.entries, live.seals, live.checkpoints)
    assert (report.covers, report.logs) == (5, 4)
    said = verified_by_others(top)
    assert said["holds"], said
    assert (said["entries"], said["covers"]) == (report.entries, 5)
    assert {stat.S_IMODE(path.stat().st_mode) for path in top.rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(top.stat().st_mode) == 0o700


async def made_at(database: Database, path: Path, tenant: UUID) -> Path:
    """Return an export of a log of two tiles and a half, and of the root log."""
    async with grown(database, path) as made:
        for _ in range(4):
            await made.grow(tenant, 150)
        return await made.exported(path / "export")


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    raw = path.read_bytes()
    assert change(raw) != raw
    path.write_bytes(change(raw))


def swapped(raw: bytes) -> bytes:
    """Exchange the first two entries of a bundle."""
    first = 2 + int.from_bytes(raw[:2], "big")
    second = first + 2 + int.from_bytes(raw[first : first + 2], "big")
    return raw[first:second] + raw[:first] + raw[second:]


TAMPERED: list[tuple[str, str, Callable[[bytes], bytes], What]] = [
    ("an entry edited", "tile/entries/001", lambda raw: raw.replace(b'"count":1', b'"count":2', 1), What.CONTENT),
    ("a bundle truncated", "tile/entries/001", lambda raw: raw[:-5], What.FILES),
    ("an entry cut off", "tile/entries/002.p/89", lambda raw: raw[: raw.rindex(b'{"event"') - 2], What.FILES),
    ("two entries exchanged", "tile/entries/001", swapped, What.CONTENT),
    ("a tile edited", "tile/0/001", lambda raw: bytes(32) + raw[32:], What.CONTENT),
    ("a tile truncated", "tile/0/001", lambda raw: raw[32:], What.FILES),
    ("an upper tile edited", "tile/1/000.p/2", lambda raw: bytes(32) + raw[32:], What.TILE),
    ("the newest checkpoint edited", "checkpoint", lambda raw: raw.replace(b"601", b"600"), What.CHECKPOINT),
    ("an older checkpoint edited", "checkpoints/151", lambda raw: raw.replace(b"151", b"150"), What.CHECKPOINT),
    ("a seal edited", "seals.jsonl", lambda raw: raw.replace(b'"leaf":"', b'"leaf":"00', 1), What.SEAL),
    ("a seal forged", "seals.jsonl", lambda raw: raw.replace(b'"mac":"', b'"mac":"0', 1), What.SEAL),
    ("seals out of order", "seals.jsonl", lambda raw: raw + raw, What.SEAL),
    ("a last line that does not end", "seals.jsonl", lambda raw: raw[:-1], What.SEAL),
    ("the last seal cut off", "seals.jsonl", lambda raw: raw[: raw[:-1].rindex(b"\n") + 1], What.UNSEALED),
]


@pytest.mark.parametrize(("path", "change", "what"), [row[1:] for row in TAMPERED], ids=[row[0] for row in TAMPERED])
async def test_an_export_that_was_tampered_with(
    database: Database, tenant: UUID, tmp_path: Path, path: str, change: Callable[[bytes], bytes], what: What
) -> None:
    top = await made_at(database, tmp_path, tenant)
    edit(top / "logs" / str(tenant) / "1" / path, change)
    report = await verify_export(top, vkeys=[VKEY], keys=KEYS)
    assert [(str(tenant) in bad.log, bad.what) for bad in report.bad] == [(True, what)]
    assert not verified_by_others(top)["holds"] or path == "seals.jsonl"


async def test_signed_by_somebody_else(database: Database, tenant: UUID, tmp_path: Path) -> None:
    top = await made_at(database, tmp_path, tenant)
    thief = CheckpointSigner(Secret(bytes(32)))
    assert (await verify_export(top)).notes == (NOT_PINNED,)
    report = await verify_export(top, vkeys=[thief.vkey(ROOT)])
    assert {bad.what for bad in report.bad} == {What.CHECKPOINT}
    with pytest.raises(BadNote):
        await verify_export(top, vkeys=["no key"])
    with pytest.raises(NoExport, match="another deployment"):
        await verify_export(top, vkeys=[thief.vkey("elsewhere.test/ledger/root")])


async def test_files_that_are_missing_and_files_too_many(database: Database, tenant: UUID, tmp_path: Path) -> None:
    top = await made_at(database, tmp_path, tenant)
    log = top / "logs" / str(tenant) / "1"
    (log / "tile" / "0" / "007").write_bytes(b"")
    assert [bad.what for bad in (await verify_export(top, vkeys=[VKEY])).bad] == [What.FILES]
    (log / "tile" / "0" / "007").unlink()
    cover = next((top / "covers").iterdir())
    (top / "covers" / f"{uuid7()}.jsonl").write_bytes(cover.read_bytes())
    assert [bad.what for bad in (await verify_export(top, vkeys=[VKEY])).bad] == [What.COVER]
    (top / "covers" / "rubbish").write_bytes(b"")
    cover.unlink()
    assert {bad.log for bad in (await verify_export(top, vkeys=[VKEY])).bad} == {ROOT}
    for name, text in (("manifest.json", b"{}"), ("manifest.json", b"[")):
        (top / name).write_bytes(text)
        with pytest.raises(NoExport):
            await verify_export(top, vkeys=[VKEY])
    (top / "manifest.json").unlink()
    for missing in (top, top / "nowhere"):
        with pytest.raises(NoExport):
            await verify_export(missing, vkeys=[VKEY])


async def test_whole_or_not_there_and_on_again(database: Database, tenant: UUID, tmp_path: Path) -> None:
    top = tmp_path / "export"
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 700)
        await change(database, "UPDATE ledger.entry SET seq = 9000 WHERE tenant_id = $1 AND seq = 600", tenant)
        with pytest.raises(IntegrityBroken):
            await made.exported(top)
        assert not top.exists()
        begun = tmp_path / ".export.partial" / "logs" / str(tenant) / "1" / "tile" / "entries" / "000"
        edit(begun, lambda raw: raw[:-1])
        await change(database, "UPDATE ledger.entry SET seq = 600 WHERE tenant_id = $1 AND seq = 9000", tenant)
        await made.exported(top)
        again = await made.exported(tmp_path / "again")
        assert contents(again) == contents(top)
        assert (await verify_export(top, vkeys=[VKEY], keys=KEYS)).ok
        with pytest.raises(Conflict):
            await made.exported(top)
        (tmp_path / "empty").mkdir()
        assert (await verify_export(await made.exported(tmp_path / "empty"), vkeys=[VKEY])).ok


async def test_one_tenant_and_no_word_of_the_others(database: Database, tenant: UUID, tmp_path: Path) -> None:
    other = uuid7()
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 5)
        await made.grow(other, 5)
        alone = await made.exported(tmp_path / "alone", Wanted(tenant=tenant))
        rooted = await made.exported(tmp_path / "rooted", Wanted(tenant=tenant, with_root=True))
    assert not any(str(other).encode() in path.read_bytes() for path in alone.rglob("*") if path.is_file())
    for top, logs in ((alone, 1), (rooted, 2)):
        report = await verify_export(top, vkeys=[VKEY])
        assert (report.ok, report.logs, PARTIAL in report.notes) == (True, logs, True)
        assert verified_by_others(top)["holds"]


@pytest.mark.parametrize("seed", range(6))
async def test_an_export_of_any_ledger_holds(database: Database, tmp_path: Path, seed: int) -> None:
    rng = Random(seed)  # noqa: S311 -- which ledger is tried, not a secret
    tenants = [uuid7() for _ in range(rng.randrange(1, 4))]
    async with grown(database, tmp_path) as made:
        for _ in range(rng.randrange(1, 8)):
            await made.grow(rng.choice(tenants), rng.choice((1, 2, 255, 256, 257, 300)))
        top = await made.exported(tmp_path / "export")
    assert (await verify_export(top, vkeys=[VKEY], keys=KEYS)).ok
    assert verified_by_others(top)["holds"]
