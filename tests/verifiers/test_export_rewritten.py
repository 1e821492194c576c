"""The one-file verifier: a past that is remade as a whole is found by what was signed, covered or kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from verifiers import exporting
from verifiers.exporting import TENANTS, Deployment, plain, put, vkey
from verifiers.running import FIRST, ROOT, SECOND, THIEF, THIRD, Run, manifest
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto import merkle
from wellkeep.ledger.actions import Action


def rewritten(made: Deployment, name: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change a log's entries and chain them anew, as the database's owner can."""
    log = made.logs[name]
    events = [json.loads(entry) for entry in change(log.entries)]
    log.entries, leaf = [], "0" * 64
    for seq, entry in enumerate(events):
        entry |= {"seq": seq, "prev": leaf}
        raw = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        log.entries.append(raw)
        leaf = merkle.leaf_hash(raw).hex()


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: [*entries[:3], entries[3].replace(b"clinician", b"clinichan"), *entries[4:]],
        lambda entries: [*entries[:3], *entries[4:]],
        lambda entries: [*entries[:3], entries[4], entries[3], *entries[5:]],
    ],
    ids=["edited", "dropped", "exchanged"],
)
def test_a_past_rewritten_and_chained_anew_agrees_with_no_checkpoint(
    change: Callable[[list[bytes]], list[bytes]], tmp_path: Path, run: Run
) -> None:
    made = plain()
    log = made.of(TENANTS[1])
    signed = {size: log.note(size) for size in log.sizes}
    rewritten(made, SECOND, change)
    log.seals = []
    top = made.write(tmp_path)
    for size in (4, *signed):
        (top / log.path / f"checkpoints/{size}").unlink(missing_ok=True)
    for size, note in signed.items():
        put(top / log.path / f"checkpoints/{size}", note)
    put(top / log.path / "checkpoint", signed[max(signed)])
    (top / log.path / "seals.jsonl").unlink()
    assert run("export", top).places == [(SECOND, 4)]


def test_a_log_signed_anew_by_another_key_is_not_the_deployment_s(tmp_path: Path, run: Run) -> None:
    made = plain()
    rewritten(made, SECOND, lambda entries: entries[:4])
    log = made.of(TENANTS[1])
    log.sizes, log.seals, log.seed = [], [], THIEF
    top = made.write(tmp_path)
    (top / log.path / "seals.jsonl").unlink()
    assert (SECOND, 0) in run("export", top).places
    manifest(top, lambda said: [each.update(vkey=vkey(SECOND)) for each in said["logs"] if each["origin"] == SECOND])
    assert run("export", top).places == [(SECOND, 3)]


def test_a_whole_deployment_signed_anew_is_found_with_the_pinned_key_alone(tmp_path: Path, run: Run) -> None:
    made = plain()
    for log in made.logs.values():
        log.seed = THIEF
    top = made.write(tmp_path)
    assert (run("export", top).code, run("export", top, pinned=False).code) == (1, 0)
    assert run("export", top, "--vkey", vkey(seed=THIEF), pinned=False).code == 0
    assert run("export", top, "--vkey", vkey("elsewhere.example/ledger/root", THIEF), pinned=False).code == 2


def test_a_log_rolled_back_is_shorter_than_what_the_root_log_covers(tmp_path: Path, run: Run) -> None:
    made = plain()
    log = made.of(TENANTS[1])
    del log.entries[5:]
    log.sizes, log.seals = [5], log.seals[:1]
    assert run("export", made.write(tmp_path)).places == [(SECOND, 5)]


def test_everything_rolled_back_is_found_by_a_checkpoint_that_was_kept(tmp_path: Path, run: Run) -> None:
    made = plain()
    top = made.write(tmp_path / "old")
    made.step(TENANTS[0], 2)
    made.cover()
    put(tmp_path / "kept", made.of(PLATFORM_TENANT).note(7))
    put(tmp_path / "fork", made.of(PLATFORM_TENANT).note(5, root=bytes(32)))
    put(tmp_path / "unsigned", made.of(PLATFORM_TENANT).note(7)[:-9])
    assert run("export", top).code == 0
    assert run("export", top, "--checkpoint", tmp_path / "kept").places == [(ROOT, 6)]
    assert run("export", top, "--checkpoint", tmp_path / "fork").places == [(ROOT, 4)]
    for name in ("unsigned", "absent"):
        assert run("export", top, "--checkpoint", tmp_path / name).code == 2


def test_everything_rolled_back_is_found_by_an_anchor_s_note(export: Path, run: Run) -> None:
    made = plain()
    put(export / "anchors/file/6.note", made.of(PLATFORM_TENANT).note(6))
    put(export / "anchors/file/6.tsr", b"a time stamp")
    put(export / "anchors/elsewhere/9.note", b"rubbish")
    found = run("export", export)
    assert (found.code, len(found.told["notes"])) == (0, 1)
    made.step(PLATFORM_TENANT, 2)
    put(export / "anchors/file/8.note", made.of(PLATFORM_TENANT).note(8))
    assert run("export", export).places == [(ROOT, 6)]


def test_a_log_that_is_missing_is_named(tmp_path: Path, run: Run) -> None:
    made = plain()
    del made.logs[THIRD]
    top = made.write(tmp_path)
    assert run("export", top).places == [(THIRD, 0)]
    put(tmp_path / "kept", plain().of(TENANTS[2]).note(6))
    (top / "covers").rename(tmp_path / "gone")
    assert (THIRD, 0) in run("export", top, "--checkpoint", tmp_path / "kept").places


def test_a_log_that_was_never_announced_is_named(tmp_path: Path, run: Run) -> None:
    made, stranger = plain(), Deployment()
    stranger.step(UUID("0198d7b2-5c00-7000-8000-000000000009"), 2)
    name = next(name for name in stranger.logs if name != ROOT)
    made.logs[name] = stranger.logs[name]
    assert run("export", made.write(tmp_path)).places == [(name, 0)]


@pytest.mark.parametrize(
    ("upto", "root_log", "begin", "place"),
    [(None, True, 0, 0), (200, True, 0, 200), (300, False, 0, 0), (300, True, 5, 0)],
    ids=["no record", "record of less", "no record in the root log", "record that begins later"],
)
def test_a_prefix_that_is_missing_without_record_is_tampering(
    upto: int | None,
    root_log: bool,  # noqa: FBT001
    begin: int,
    place: int,
    tmp_path: Path,
    run: Run,
) -> None:
    made = plain()
    if upto is not None:
        made.pruned(TENANTS[0], upto=upto, root_log=root_log, begin=begin)
    made.of(TENANTS[0]).first = 300
    assert run("export", made.write(tmp_path)).places == [(FIRST, place)]


def test_missing_prefixes_of_epochs_don_t_excuse_each_other(tmp_path: Path, run: Run) -> None:
    made = plain()
    made.covers.popitem()
    made.restored(TENANTS[1], keep=9)
    made.restored(PLATFORM_TENANT, keep=5)
    made.step(TENANTS[1], 2)
    made.cover()
    assert run("export", made.write(tmp_path / "before")).code == 0
    for log in made.logs.values():
        if log.tenant in {TENANTS[1], PLATFORM_TENANT}:
            log.first = 1
    newest = {(f"{ROOT}/2", 0), (SECOND.removesuffix("1") + "2", 0)}
    assert newest <= set(run("export", made.write(tmp_path / "after")).places)


def test_a_prune_that_says_another_root_is_named(tmp_path: Path, run: Run) -> None:
    made = plain()
    about = {"resource_id": str(TENANTS[0]), "span": (1, 0, 300), "digest": bytes(32)}
    made.step(PLATFORM_TENANT, 0, exporting.said(Action.LEDGER_PRUNED, 5, **about))
    assert run("export", made.write(tmp_path)).places == [(ROOT, 6)]


def test_a_loss_that_cites_what_is_not_there_is_named(tmp_path: Path, run: Run) -> None:
    made = plain()
    about = {"resource_id": str(TENANTS[1]), "span": (1, 3, 9), "digest": bytes(32)}
    made.step(TENANTS[1], 0, exporting.said(Action.LEDGER_RESTORED, 5, **about))
    assert run("export", made.write(tmp_path / "same epoch")).places == [(SECOND, 9)]
    made = plain()
    made.restored(TENANTS[1], keep=9)
    log = made.of(TENANTS[1])
    del log.entries[5:]
    log.sizes, log.seals = [5], log.seals[:1]
    assert (SECOND, 5) in run("export", made.write(tmp_path / "less than kept")).places


@pytest.mark.parametrize("span", [{}, {"digest": None}, {"span": None}, {"resource_id": "names"}])
def test_a_prune_or_loss_that_does_not_say_what_is_named(span: dict[str, Any], tmp_path: Path, run: Run) -> None:
    made = plain()
    about = {"resource_id": str(TENANTS[1]), "span": (1, 3, 9), "digest": bytes(32)} | (
        span or {"resource_type": "vault"}
    )
    made.step(TENANTS[0], 0, exporting.said(Action.LEDGER_PRUNED, 5, **about))
    assert run("export", made.write(tmp_path)).places == [(FIRST, 604)]
