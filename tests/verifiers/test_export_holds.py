"""The one-file verifier: whole exports hold, partial ones say so, and so do losses and prunes on record."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from verifiers import exporting
from verifiers.exporting import TENANTS, Deployment, plain, put, vkey
from verifiers.running import FIRST, PROGRAM, ROOT, SECOND, VERIFIER, Run, in_entry
from wellkeep.base.ids import PLATFORM_TENANT


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


def test_records_of_prunes_may_be_pruned_in_their_turn(tmp_path: Path, run: Run) -> None:
    made = plain()
    made.pruned(TENANTS[0], upto=100)
    made.pruned(PLATFORM_TENANT, upto=len(made.of(PLATFORM_TENANT).entries))
    made.covers.clear()
    found = run("export", made.write(tmp_path / "the root log's"))
    assert (found.code, sum("may be pruned itself" in note for note in found.told["notes"])) == (0, 1)
    made.pruned(TENANTS[0], upto=len(made.of(TENANTS[0]).entries), begin=100)
    found = run("export", made.write(tmp_path / "both"))
    assert (found.code, sum("may be pruned itself" in note for note in found.told["notes"])) == (0, 0)
    made.of(TENANTS[0]).first += 1
    assert run("export", made.write(tmp_path / "one more")).code == 1


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


def test_results_in_words_name_the_place(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_entry(export)
    assert VERIFIER.main(["export", str(export)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"tampered: {FIRST} seq 1: an entry's bytes do not give its leaf"
    assert lines[1].startswith("note: NOT PINNED")
    assert VERIFIER.main(["export", str(export / "absent")]) == 2
    assert capsys.readouterr().err == "could not verify: there is no such directory\n"
