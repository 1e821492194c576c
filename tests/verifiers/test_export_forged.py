"""The one-file verifier: signed entries that no writer makes, and manifests that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from verifiers.exporting import TENANTS, plain, put, vkey
from verifiers.running import FIRST, ROOT, SECOND, THIEF, Run, at, in_log, manifest
from wellkeep.crypto import notes


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
