"""The one-file verifier: whole exports hold, each tampering is found at its log and seq, nothing makes it stumble."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from verifiers import exporting
from verifiers.exporting import HOST, TENANTS, Deployment, bundle, plain, proof, put, vkey
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.crypto import merkle, notes
from wellkeep.ledger.actions import Action
from wellkeep.ledger.seal import origin

PROGRAM = Path(__file__).parents[2] / "verifiers" / "wellkeep_verify.py"
ROOT = f"{HOST}/ledger/root"
FIRST, SECOND, THIRD = (origin(HOST, tenant, 1) for tenant in TENANTS)
THIEF = Secret(bytes(32))


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wellkeep_verify", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wellkeep_verify"] = module
    spec.loader.exec_module(module)
    return module


VERIFIER = loaded()


class Result:
    """What a run printed as JSON, and its exit code."""

    def __init__(self, code: int, printed: str) -> None:
        self.code = code
        self.told: dict[str, Any] = json.loads(printed)

    @property
    def places(self) -> list[tuple[str, int]]:
        return [(bad["log"], bad["seq"]) for bad in self.told.get("bad", [])]


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def verify(*arguments: str | Path, pinned: bool = True) -> Result:
        given = [*(str(each) for each in arguments), "--json", *(["--vkey", vkey()] if pinned else [])]
        code = VERIFIER.main(given)
        return Result(code, capsys.readouterr().out)

    return verify


def log_of(top: Path, number: int) -> Path:
    return top / f"logs/{TENANTS[number]}/1"


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    before = path.read_bytes()
    after = change(before)
    assert after != before
    path.write_bytes(after)


def manifest(top: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads((top / "manifest.json").read_text())
    change(said)
    put(top / "manifest.json", json.dumps(said).encode())


# ------------------------------------------------------------------------------------------------------ what holds


def test_it_runs_alone_and_imports_nothing_of_wellkeep(written: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        for name in ([each.name for each in node.names] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }
    assert imported <= sys.stdlib_module_names | {"cryptography"}
    command = [sys.executable, "-I", str(PROGRAM), "export", str(written), "--vkey", vkey()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "holds: logs 4, entries 627, checkpoints 11, covers 2\n",
        "",
    )


def test_a_whole_export_holds_and_without_a_pinned_key_it_says_so(written: Path, run: Run) -> None:
    assert run("export", written).told["notes"] == []
    unpinned = run("export", written, pinned=False)
    assert (unpinned.code, unpinned.told["holds"]) == (0, True)
    assert "NOT PINNED" in unpinned.told["notes"][0]


def test_the_vectors_hold(tmp_path: Path, run: Run) -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "ledger.json").read_text())
    for path, data in vectors["export"].items():
        put(tmp_path / path, b64decode(data))
    assert (run("export", tmp_path).code, vectors["checkpoint_seed"]) == (0, exporting.SEED.reveal().hex())
    put(tmp_path / "proof", vectors["proof"]["text"].encode())
    assert run("proof", tmp_path / "proof", "--vkey", vectors["proof"]["vkey"], pinned=False).code == 0


def test_the_key_of_any_log_of_the_deployment_will_do(written: Path, run: Run) -> None:
    assert run("export", written, "--vkey", vkey(FIRST), pinned=False).code == 0


@pytest.mark.parametrize("with_root", [True, False])
def test_a_partial_export_holds_and_says_that_it_is_partial(tmp_path: Path, run: Run, with_root: bool) -> None:  # noqa: FBT001
    top = plain().write(tmp_path, tenant=TENANTS[0], with_root=with_root)
    found = run("export", top)
    assert (found.code, found.told["logs"]) == (0, 1 + with_root)
    assert any("PARTIAL" in note for note in found.told["notes"])
    assert run("export", top, "--all-logs").code == 2


def test_epochs_and_prunes_on_record_hold(tmp_path: Path, run: Run) -> None:
    made = plain()
    made.pruned(TENANTS[0], upto=300)
    made.restored(TENANTS[1], keep=9)
    made.step(TENANTS[1], 2)
    made.cover()
    found = run("export", made.write(tmp_path))
    assert (found.code, found.told["logs"]) == (0, 5)


def test_a_prune_in_two_parts_and_to_a_tile_s_end_holds(tmp_path: Path, run: Run) -> None:
    made = plain()
    made.pruned(TENANTS[0], upto=100)
    made.pruned(TENANTS[0], upto=512, begin=100)
    assert run("export", made.write(tmp_path)).code == 0


def test_a_pruned_root_log_holds_and_says_what_is_not_known(tmp_path: Path, run: Run) -> None:
    made = plain()
    made.pruned(PLATFORM_TENANT, upto=5)
    made.covers.pop(next(iter(made.covers)))
    found = run("export", made.write(tmp_path))
    assert found.code == 0
    assert any("not known" in note for note in found.told["notes"])


def test_a_loss_on_record_accounts_for_what_was_seen_of_the_lost(tmp_path: Path, run: Run) -> None:
    made = Deployment()
    made.step(TENANTS[0], 3)
    made.step(TENANTS[0], 6)
    seen = {str(size): made.of(TENANTS[0]).note(size) for size in (3, 10)}
    seen |= {"fork": made.of(TENANTS[0]).note(10, root=bytes(32)), "further": made.of(TENANTS[0]).note(11, bytes(32))}
    made.restored(TENANTS[0], keep=4)
    top = made.write(tmp_path / "export")
    for name, note in seen.items():
        put(tmp_path / name, note)
        found = run("export", top, "--checkpoint", tmp_path / name)
        assert found.places == ([] if name in {"3", "10"} else [(FIRST, 4)])


def test_a_log_that_was_lost_altogether_on_record_is_not_missed(tmp_path: Path, run: Run) -> None:
    made = plain()
    made.restored(TENANTS[1], keep=0, skip=1)
    made.step(TENANTS[1], 2)
    made.cover()
    found = run("export", made.write(tmp_path))
    assert (found.code, found.told["notes"]) == (0, [f"recorded as lost: entries 0 to before 9 of {SECOND}"])
    assert any("PARTIAL" in note for note in run("export", made.write(tmp_path, tenant=TENANTS[1])).told["notes"])


def test_another_history_that_was_accepted_on_record_is_told(tmp_path: Path, run: Run) -> None:
    made = plain()
    put(tmp_path / "kept", made.of(TENANTS[1]).note(8, root=bytes(range(32))))
    top = made.write(tmp_path / "before")
    assert run("export", top, "--checkpoint", tmp_path / "kept").places == [(SECOND, 7)]
    made.restored(TENANTS[1], keep=9, other=True)
    found = run("export", made.write(tmp_path / "after"), "--checkpoint", tmp_path / "kept")
    assert (found.code, len(found.told["notes"])) == (0, 1)


def test_a_root_log_that_was_lost_on_record_goes_on(tmp_path: Path, run: Run) -> None:
    made = plain()
    made.covers.clear()
    made.restored(PLATFORM_TENANT, keep=4, skip=1)
    top = made.write(tmp_path / "shorter")
    assert run("export", top).places == [(f"{ROOT}/2", 0)]
    made = plain()
    made.covers.popitem()
    made.restored(PLATFORM_TENANT, keep=5)
    made.step(TENANTS[0])
    made.cover()
    found = run("export", made.write(tmp_path / "next"))
    assert (found.code, len(found.told["notes"])) == (0, 2)
    assert run("export", top.parent / "next", "--vkey", vkey(f"{ROOT}/2"), pinned=False).code == 0


# ------------------------------------------------------------------------------------------ what was tampered with

Attack = Callable[[Path], None]


def in_entry(top: Path) -> None:
    edit(log_of(top, 0) / "tile/entries/000", lambda raw: raw.replace(b'"clinician"', b'"clinichan"', 1))


def entries_reordered(top: Path) -> None:
    path = log_of(top, 1) / "tile/entries/000.p/9"
    entries = unbundled(path.read_bytes())
    put(path, bundle([*entries[:3], entries[4], entries[3], *entries[5:]]))


def unbundled(raw: bytes) -> list[bytes]:
    entries = []
    while raw:
        length = int.from_bytes(raw[:2], "big")
        entries.append(raw[2 : 2 + length])
        raw = raw[2 + length :]
    return entries


ATTACKS: dict[str, tuple[Attack, tuple[str, int]]] = {
    "an entry edited": (in_entry, (FIRST, 1)),
    "entries reordered": (entries_reordered, (SECOND, 3)),
    "a bundle cut short": (
        lambda top: edit(log_of(top, 0) / "tile/entries/002.p/92", lambda raw: raw[:-1]),
        (FIRST, 603),
    ),
    "a bundle without its last entry": (
        lambda top: edit(log_of(top, 1) / "tile/entries/000.p/9", lambda raw: bundle(unbundled(raw)[:-1])),
        (SECOND, 8),
    ),
    "a bundle longer than it says": (
        lambda top: edit(log_of(top, 1) / "tile/entries/000.p/9", lambda raw: raw + raw[:2]),
        (SECOND, 9),
    ),
    "a bundle lost": (lambda top: (log_of(top, 0) / "tile/entries/001").unlink(), (FIRST, 256)),
    "a tile lost": (lambda top: (log_of(top, 0) / "tile/0/001").unlink(), (FIRST, 256)),
    "a tile altered": (lambda top: edit(log_of(top, 0) / "tile/0/000", lambda raw: bytes(32) + raw[32:]), (FIRST, 0)),
    "a tile cut short": (lambda top: edit(log_of(top, 0) / "tile/0/000", lambda raw: raw[:-32]), (FIRST, 0)),
    "an upper tile altered": (
        lambda top: edit(log_of(top, 0) / "tile/1/000.p/2", lambda raw: raw[:-1] + b"\0"),
        (FIRST, 0),
    ),
    "a bundle of more than the log": (lambda top: put(log_of(top, 1) / "tile/entries/001.p/1", b"\0\1x"), (SECOND, 9)),
    "a file of no log": (lambda top: put(log_of(top, 1) / "note.txt", b"x"), (SECOND, 9)),
    "the checkpoint lost": (lambda top: (log_of(top, 2) / "checkpoint").unlink(), (THIRD, 7)),
    "the checkpoints lost": (lambda top: (log_of(top, 2) / "checkpoints/8").unlink(), (THIRD, 7)),
    "a checkpoint's signature altered": (
        lambda top: edit(log_of(top, 2) / "checkpoints/6", lambda raw: raw[:-8] + b"AAAAAA==\n"[-8:]),
        (THIRD, 7),
    ),
    "a checkpoint of another log": (
        lambda top: put(log_of(top, 2) / "checkpoints/6", (log_of(top, 1) / "checkpoints/5").read_bytes()),
        (THIRD, 7),
    ),
    "a checkpoint under another size": (
        lambda top: put(log_of(top, 2) / "checkpoints/5", (log_of(top, 2) / "checkpoints/6").read_bytes()),
        (THIRD, 5),
    ),
    "an older checkpoint as the newest": (
        lambda top: put(log_of(top, 2) / "checkpoint", (log_of(top, 2) / "checkpoints/6").read_bytes()),
        (THIRD, 7),
    ),
    "a link for a file": (lambda top: linked(log_of(top, 2) / "checkpoint"), (THIRD, 7)),
    "a pipe for a file": (lambda top: piped(log_of(top, 2) / "checkpoint"), (THIRD, 7)),
    "a link to a directory": (lambda top: (log_of(top, 2) / "tile/7").symlink_to(top), (THIRD, 8)),
    "the pairs of a cover lost": (lambda top: covers_of(top)[0].unlink(), (ROOT, 4)),
    "a pair dropped": (lambda top: edit(covers_of(top)[0], lambda raw: raw.partition(b"\n")[2]), (ROOT, 4)),
    "pairs exchanged": (
        lambda top: edit(covers_of(top)[0], lambda raw: b"".join(raw.splitlines(keepends=True)[::-1])),
        (ROOT, 4),
    ),
    "a pair's size as a float": (
        lambda top: edit(covers_of(top)[0], lambda raw: raw.replace(b":4,", b":4.0,").replace(b":4}", b":4.0}")),
        (ROOT, 4),
    ),
    "a pair's key twice": (
        lambda top: edit(covers_of(top)[0], lambda raw: raw.replace(b'{"origin"', b'{"size":1,"origin"', 1)),
        (ROOT, 4),
    ),
    "pairs without an entry": (
        lambda top: put(top / f"covers/{TENANTS[0]}.jsonl", covers_of(top)[0].read_bytes()),
        (ROOT, 6),
    ),
    "a seal of another root": (
        lambda top: edit(
            log_of(top, 2) / "seals.jsonl", lambda raw: re.sub(rb'"root":"....', b'"root":"0000', raw, count=1)
        ),
        (THIRD, 5),
    ),
    "seals exchanged": (
        lambda top: edit(log_of(top, 2) / "seals.jsonl", lambda raw: b"".join(raw.splitlines(keepends=True)[::-1])),
        (THIRD, 5),
    ),
    "the last seal lost": (
        lambda top: edit(log_of(top, 2) / "seals.jsonl", lambda raw: raw.splitlines(keepends=True)[0]),
        (THIRD, 5),
    ),
    "seals of many digits": (
        lambda top: edit(
            log_of(top, 2) / "seals.jsonl", lambda raw: raw.replace(b'"size":6', b'"size":' + b"6" * 5000)
        ),
        (THIRD, 7),
    ),
}


def covers_of(top: Path) -> list[Path]:
    return sorted((top / "covers").iterdir())


def linked(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", ATTACKS)
def test_what_was_tampered_with_is_named(name: str, export: Path, run: Run) -> None:
    attack, place = ATTACKS[name]
    attack(export)
    found = run("export", export)
    assert (found.code, found.places[:1]) == (1, [place])


# ---------------------------------------------------------------- what whoever has the files, but no key, can remake


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


def forge(raw: bytes, leaf: str, **keys: str) -> bytes:
    """Return an entry with keys written as they are given."""
    entry = json.loads(raw) | {"prev": leaf}
    told = {
        key: keys.get(key, json.dumps(value, sort_keys=True, separators=(",", ":"))) for key, value in entry.items()
    }
    told |= keys
    return ("{" + ",".join(f'"{key}":{told[key]}' for key in sorted(told)) + "}").encode()


FORGED: dict[str, dict[str, str]] = {
    "a float": {"v": "1.0"},
    "an exponent": {"v": "1e0"},
    "no number": {"v": "NaN"},
    "minus nothing": {"v": "-0"},
    "a long integer": {"v": "1" + "0" * 5000},
    "2^53": {"v": str(2**53)},
    "true for one": {"v": "true"},
    "another version": {"v": "2"},
    "another seq": {"seq": "7"},
    "a seq as text": {"seq": '"9"'},
    "another log": {"log": f'"{FIRST}"'},
    "another leaf before": {"prev": f'"{"0" * 64}"'},
    "a key twice": {"v": '1,"v":1'},
    "a further key": {"w": "1"},
    "white space": {"v": " 1"},
    "an escape": {"time": '"2026-01-02T03:04:\\u0039\\u0039.000006Z"'},
    "a lone surrogate": {"event": '{"a":"\\ud800"}'},
    "time back": {"time": '"2025-01-02T03:04:05.000006Z"'},
    "a day that is none": {"time": '"2026-02-30T03:04:05.000006Z"'},
    "another zone": {"time": '"2027-01-02T03:04:05.000006+01:00"'},
    "no event": {"event": "[]"},
    "an event without action": {"event": f'{{"id":"{TENANTS[0]}"}}'},
    "an event without id": {"event": '{"action":"record.read"}'},
    "an event twice": {"event": '{"action":"record.read","id":"0198d7b2-5c00-7000-8000-0000000003eb"}'},
    "deep nesting": {"event": "[" * 9000 + "]" * 9000},
    "an entry too long": {"event": f'{{"action":"{"x" * 40_000}","id":"{TENANTS[0]}"}}'},
    "no JSON": {"event": "}"},
}


@pytest.mark.parametrize("name", FORGED)
def test_an_entry_that_no_writer_makes_is_refused_although_it_is_signed(name: str, tmp_path: Path, run: Run) -> None:
    made = plain()
    log = made.of(TENANTS[1])
    made.numbers = iter(range(0x3EB, 0x3EC))
    log.entries.append(forge(log.entries[-1], log.leaves()[-1].hex(), **({"seq": "9"} | FORGED[name])))
    log.seals = []
    top = made.write(tmp_path)
    (top / log.path / "seals.jsonl").unlink()
    found = run("export", top)
    assert (found.code, found.places) == (1, [(SECOND, 9)])


@pytest.mark.parametrize(
    "change", [{"action": '"record.read"'}, {"id": f'"{TENANTS[0]}"'}, {"resource": '{"id":"x","type":"log"}'}]
)
def test_a_first_entry_that_does_not_open_its_log_is_refused(change: dict[str, str], tmp_path: Path, run: Run) -> None:
    made = plain()
    log = made.of(TENANTS[1])
    event = json.loads(log.entries[0])["event"]
    told = {key: json.dumps(value, separators=(",", ":"), sort_keys=True) for key, value in event.items()} | change
    inside = "{" + ",".join(f'"{key}":{told[key]}' for key in sorted(told)) + "}"
    log.entries[:] = [forge(log.entries[0], "0" * 64, event=inside)]
    log.sizes, log.seals = [], []
    top = made.write(tmp_path)
    (top / log.path / "seals.jsonl").unlink()
    assert (SECOND, 0) in run("export", top).places


# --------------------------------------------------------------------------------------------- what can't be judged


def at(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda said: said.__setitem__(key, value)


def in_log(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda said: said["logs"][1].__setitem__(key, value)


@pytest.mark.parametrize(
    "change",
    [
        at("format", "wellkeep/ledger-export/v2"),
        at("made_at", "yesterday"),
        at("logs", []),
        at("logs", {}),
        at("logs", [1]),
        at("root", None),
        at("root", FIRST),
        at("more", 1),
        at("tenant", str(TENANTS[0])),
        at("tenant", "x"),
        in_log("size", 0),
        in_log("size", 1.5),
        in_log("size", True),
        in_log("size", "604"),
        in_log("epoch", 0),
        in_log("first", 10_000),
        in_log("path", "../logs"),
        in_log("path", "/etc"),
        in_log("tenant", "../.."),
        in_log("origin", FIRST + "/.."),
        in_log("origin", "a b"),
        in_log("origin", "UPPER/ledger/root"),
        in_log("vkey", vkey()),
        in_log("vkey", 7),
        in_log("vkey", "x"),
        in_log("vkey", vkey(FIRST)[:-4]),
        in_log("vkey", vkey(FIRST).replace("+", "+0", 1)),
        in_log("older_vkeys", "x"),
        in_log("older_vkeys", [vkey(SECOND)]),
        lambda said: said["logs"].append(said["logs"][1]),
        lambda said: said["logs"].pop(0),
        lambda said: said["logs"][1].pop("vkey"),
    ],
)
def test_a_manifest_of_another_format_can_t_be_judged(
    change: Callable[[dict[str, Any]], None], export: Path, run: Run
) -> None:
    manifest(export, change)
    assert run("export", export).code == 2


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"format":1,"format":1}', b"[" * 99_999])
def test_a_manifest_that_is_none_can_t_be_judged(raw: bytes, export: Path, run: Run) -> None:
    put(export / "manifest.json", raw)
    assert run("export", export).code == 2
    (export / "manifest.json").unlink()
    assert run("export", export).code == 2
    assert run("export", export / "absent").code == 2


@pytest.mark.parametrize("size", [603, 605, 256, 2**53 - 1])
def test_a_manifest_that_says_another_size_is_tampering(size: int, export: Path, run: Run) -> None:
    manifest(export, in_log("size", size))
    found = run("export", export)
    assert (found.code, found.places[0][0]) == (1, FIRST)


def test_a_key_that_is_none_can_t_be_judged(written: Path, run: Run) -> None:
    for bad in ("x", "", vkey()[:-1], notes.vkey(ROOT, bytes(32), algorithm=notes.COSIGNATURE_V1)):
        assert run("export", written, "--vkey", bad, pinned=False).code == 2
    assert run("export", written, "--vkey", notes.vkey(ROOT, b"\xff" * 32), pinned=False).code == 1


def test_older_checkpoints_may_be_signed_by_an_older_key(export: Path, run: Run) -> None:
    log = plain().of(TENANTS[0])
    log.seed = THIEF
    put(export / log.path / "checkpoints/4", log.note(4))
    assert run("export", export).places == [(FIRST, 603)]
    manifest(export, in_log("older_vkeys", [vkey(FIRST, THIEF)]))
    assert run("export", export).code == 0
    put(export / log.path / "checkpoint", log.note(604))
    assert run("export", export).places == [(FIRST, 603)]


def test_no_byte_of_an_export_can_change_unseen_or_make_it_stumble(export: Path, run: Run) -> None:
    random = Random(17)  # noqa: S311 - the same places each time
    files = sorted(path for path in export.rglob("*") if path.is_file() and path.name != "manifest.json")
    for _ in range(60):
        path = random.choice(files)
        raw = path.read_bytes()
        place = random.randrange(len(raw))
        flipped = raw[:place] + bytes((raw[place] ^ 1 << random.randrange(8),)) + raw[place + 1 :]
        put(path, flipped)
        found = run("export", export)
        seal_mac_or_key = path.name == "seals.jsonl" and found.code == 0
        assert found.code == 1 or seal_mac_or_key, (path, place)
        put(path, raw)
    assert run("export", export).code == 0


# ------------------------------------------------------------------------------------------------- one entry's proof


@pytest.fixture(scope="module")
def made() -> Deployment:
    return plain()


def test_each_proof_of_a_log_holds(made: Deployment, tmp_path: Path, run: Run) -> None:
    log = made.of(TENANTS[1])
    for size in range(1, len(log.entries) + 1):
        for index in range(size):
            put(tmp_path / "proof", proof(log, index, size))
            found = run("proof", tmp_path / "proof")
            assert (found.code, found.told["seq"], found.told["size"]) == (0, index, size)


def test_a_proof_is_of_one_event(made: Deployment, tmp_path: Path, run: Run) -> None:
    log, path = made.of(TENANTS[0]), tmp_path / "proof"
    put(path, proof(log, 400))
    event = json.loads(log.entries[400])["event"]["id"]
    assert run("proof", path, "--event", event).told["event"] == event
    assert run("proof", path, "--event", str(TENANTS[0])).places == [(FIRST, 400)]


def test_a_proof_without_its_entry_needs_it_from_elsewhere(made: Deployment, tmp_path: Path, run: Run) -> None:
    log, path = made.of(TENANTS[0]), tmp_path / "proof"
    put(path, re.sub(rb"extra .*\n", b"", proof(log, 400)))
    assert run("proof", path).code == 2
    for index, code in ((400, 0), (399, 1)):
        put(tmp_path / "entry", log.entries[index])
        assert run("proof", path, "--entry", tmp_path / "entry").code == code
    put(tmp_path / "entry", b"x" * 40_000)
    assert run("proof", path, "--entry", tmp_path / "entry").code == 2


def test_a_proof_without_a_pinned_key_shows_nothing_unless_it_names_one_and_then_says_so(
    made: Deployment, tmp_path: Path, run: Run
) -> None:
    log, path = made.of(TENANTS[0]), tmp_path / "proof"
    put(path, proof(log, 400))
    assert run("proof", path, pinned=False).code == 2
    assert run("proof", path, "--vkey", vkey("elsewhere.example/ledger/root"), pinned=False).code == 2
    hashes = [b64encode(each).decode() for each in merkle.inclusion_proof(log.leaves(), index=400)]
    told = {"entry": b64encode(log.entries[400]).decode(), "index": 400, "size": 604, "hashes": hashes, "log": FIRST}
    told |= {"checkpoint": log.note(604).decode(), "vkey": vkey(FIRST)}
    put(path, json.dumps(told).encode())
    assert run("proof", path).told["notes"] == []
    assert "NOT PINNED" in run("proof", path, pinned=False).told["notes"][0]
    for key, size in (("size", 603), ("log", SECOND)):
        put(path, json.dumps(told | {key: size}).encode())
        assert run("proof", path).code == 1
    for key, value in (("hashes", 1), ("hashes", [1]), ("checkpoint", 1), ("index", 1.5), ("entry", None), ("more", 1)):
        put(path, json.dumps(told | {key: value}).encode())
        assert run("proof", path).code == 2


def lines_swapped(raw: bytes) -> bytes:
    lines = raw.split(b"\n")
    lines[3], lines[4] = lines[4], lines[3]
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda raw: raw.replace(b"index 400", b"index 401"), 1),
        (lambda raw: raw.replace(b"index 400", b"index 604"), 1),
        (lambda raw: raw.replace(b"index 400", b"index 4.5"), 2),
        (lambda raw: raw.replace(b"index 400", b"index 0400"), 2),
        (lambda raw: raw.replace(b"index 400\n", b""), 2),
        (lines_swapped, 1),
        (lambda raw: raw.replace(b"\n604\n", b"\n603\n"), 1),
        (lambda raw: re.sub(rb"(index 400\n)[^\n]*\n", rb"\1", raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1" + b64encode(bytes(32)) + b"\n", raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1" + b64encode(bytes(31)) + b"\n", raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1" + (b64encode(bytes(32)) + b"\n") * 99, raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1!\n", raw), 2),
        (lambda raw: raw.replace(b"@v1", b"@v2"), 2),
        (lambda raw: raw[:-20], 1),
        (lambda raw: raw.partition(b"\n\n")[0], 2),
        (lambda raw: raw[:0], 2),
        (lambda raw: b"\xff" + raw, 2),
        (lambda raw: raw.replace(HOST.encode(), b"elsewhere.example"), 2),
    ],
)
def test_a_proof_that_was_altered_proves_nothing(
    change: Callable[[bytes], bytes], code: int, made: Deployment, tmp_path: Path, run: Run
) -> None:
    put(tmp_path / "proof", change(proof(made.of(TENANTS[0]), 400)))
    assert run("proof", tmp_path / "proof").code == code


def test_a_proof_of_another_s_entry_or_key_proves_nothing(made: Deployment, tmp_path: Path, run: Run) -> None:
    mine, other, path = made.of(TENANTS[0]), made.of(TENANTS[1]), tmp_path / "proof"
    extra = re.compile(rb"extra [^\n]*")
    for entry in (mine.entries[399], other.entries[4]):
        put(path, extra.sub(b"extra " + b64encode(entry), proof(mine, 400)))
        assert run("proof", path).code == 1
    put(path, proof(mine, 400).partition(b"\n\n")[0] + b"\n\n" + other.note(9))
    assert run("proof", path).code == 1
    thief = plain().of(TENANTS[0])
    thief.seed = THIEF
    put(path, proof(thief, 400))
    assert run("proof", path).code == 1
    moved = exporting.MadeLog(FIRST, TENANTS[0], 1, list(other.entries))
    put(path, proof(moved, 4))
    assert run("proof", path).code == 1


def test_results_in_words_name_the_place(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_entry(export)
    assert VERIFIER.main(["export", str(export)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"tampered: {FIRST} seq 1: an entry's bytes do not give its leaf"
    assert lines[1].startswith("note: NOT PINNED")
    assert VERIFIER.main(["export", str(export / "absent")]) == 2
    assert capsys.readouterr().err == "could not verify: there is no such directory\n"
