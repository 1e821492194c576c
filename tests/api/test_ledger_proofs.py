"""Promise: a tenant can prove each of its entries, and its newest checkpoint, to whoever has the verifier key."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api.stack import Stack, entries
from verifiers.running import VERIFIER
from wellkeep.assembly import ledger_proofs
from wellkeep.base.ids import uuid7
from wellkeep.crypto.merkle import leaf_hash, verify_consistency, verify_inclusion
from wellkeep.crypto.notes import NoteVerifier
from wellkeep.ledger.checkpoint import parse
from wellkeep.ledger.cover import cover

_FORGE = "UPDATE ledger.entry SET entry = overlay(entry PLACING 'x' FROM 24), leaf = sha256(leaf) WHERE tenant_id = $1"


def verified_by_others(path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    with redirect_stdout(StringIO()) as told:
        code = VERIFIER.main(["proof", str(path), "--json", *options])
    return code, json.loads(told.getvalue())


async def one_entry(opened: Stack, tenant: UUID) -> str:
    """Return the event id of an entry in the middle."""
    found = await entries(opened, tenant)
    return str(found[len(found) // 2]["id"])


async def test_an_entry_is_proved_in_both_forms(opened: Stack, tmp_path: Path) -> None:
    tenant = await opened.tenant("northside")
    key = await opened.key(tenant, "auditor")
    event = await one_entry(opened, tenant)
    where = f"/v1/ledger/entries/{event}/proof"
    async with opened.client(key) as auditor:
        answer = await auditor.get(where)
        text = await auditor.get(where, headers={"Accept": "text/plain"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    found = answer.json()
    assert json.loads(b64decode(found["entry"]))["event"]["id"] == event
    for name, body in (("proof.json", answer.content), ("proof.txt", text.content)):
        (tmp_path / name).write_bytes(body)
        code, said = verified_by_others(tmp_path / name, "--vkey", found["vkey"], "--event", event)
        assert (code, said["holds"], said["event"]) == (0, True, event)
        code, said = verified_by_others(tmp_path / name, "--vkey", found["vkey"], "--event", str(uuid7()))
        assert (code, said["holds"]) == (1, False), "the proof of another event proves nothing of this one"
    told = [event["resource"]["type"] for event in await entries(opened, tenant) if "resource" in event]  # type: ignore[index]
    assert told.count("entry") == 2, "each proof that was handed out is an entry"


async def test_who_may_not_read_the_ledger_and_who_is_of_another_tenant(opened: Stack) -> None:
    tenant, other = await opened.tenant("northside"), await opened.tenant("southside")
    event = await one_entry(opened, tenant)
    where = f"/v1/ledger/entries/{event}/proof"
    async with opened.client(await opened.key(tenant, "clinician")) as clinician:
        assert (await clinician.get(where)).status_code == 403
        assert (await clinician.get("/v1/ledger/checkpoint")).status_code == 403
    async with opened.client(await opened.key(other, "auditor")) as stranger:
        assert (await stranger.get(where)).status_code == 404
        assert (await stranger.get(f"/v1/ledger/entries/{uuid7()}/proof")).status_code == 404
        assert (await stranger.get("/v1/ledger/entries/none/proof")).status_code == 404


async def test_an_entry_that_nobody_signs_in_time(opened: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_proofs, "PATIENCE_SECONDS", 0.15)
    tenant = await opened.tenant("northside")
    event = await one_entry(opened, tenant)
    async with opened.client(await opened.key(tenant, "auditor")) as auditor, opened.database.connect() as connection:
        await connection.execute("REVOKE EXECUTE ON FUNCTION ledger.add_checkpoints FROM wk_ledger")
        await connection.execute("TRUNCATE ledger.checkpoint")
        for where in (f"/v1/ledger/entries/{event}/proof", "/v1/ledger/checkpoint"):
            answer = await auditor.get(where)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_what_does_not_prove_itself_is_never_an_answer(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    event = await one_entry(opened, tenant)
    async with opened.client(await opened.key(tenant, "auditor")) as auditor, opened.database.connect() as connection:
        assert (await auditor.get(f"/v1/ledger/entries/{event}/proof")).status_code == 200
        await opened.checkpointer.stop()  # a true one, signed beside the forged, would be the newest
        await connection.execute(_FORGE, tenant)
        answer = await auditor.get(f"/v1/ledger/entries/{event}/proof")
        assert answer.status_code == 500
        await connection.execute("UPDATE ledger.checkpoint SET root = sha256(root) WHERE tenant_id = $1", tenant)
        assert (await auditor.get("/v1/ledger/checkpoint")).status_code == 500
    assert {(one.kind, one.detail["what"]) for one in await opened.findings.list(tenant)} == {
        ("ledger.broken", "proof"),
        ("ledger.broken", "checkpoint"),
    }


async def test_a_checkpoint_stands_under_the_root_log(opened: Stack) -> None:
    tenant, other = await opened.tenant("northside"), await opened.tenant("southside")
    async with opened.client(await opened.key(tenant, "auditor")) as auditor:
        await auditor.get("/v1/ledger/entries")
        before = (await auditor.get("/v1/ledger/checkpoint")).json()
        assert before["cover"] is None
        proofs = opened.ledger_proofs
        await opened.checkpointer.sign_now()
        assert await cover(proofs._ledger, opened.gate._writer, signers=proofs._signers, reporter=opened.findings) > 1
        await opened.checkpointer.sign_now()
        await auditor.get("/v1/ledger/entries")
        await opened.checkpointer.sign_now()
        found = (await auditor.get("/v1/ledger/checkpoint")).json()
    newest = parse(NoteVerifier.from_vkey(found["vkey"]).verify(found["checkpoint"].encode()))
    assert (newest.origin, newest.size) == (found["log"], found["size"])
    proof = found["cover"]
    known = parse(NoteVerifier.from_vkey(found["vkey"]).verify(proof["checkpoint"].encode()))
    verify_consistency(
        old_size=known.size,
        old_root=known.root,
        new_size=newest.size,
        new_root=newest.root,
        proof=[b64decode(each) for each in proof["consistency"]],
    )
    entry = proof["entry"]
    said = json.loads(b64decode(entry["entry"]))["event"]
    verify_inclusion(
        leaf_hash(known.body().encode()),
        index=proof["place"],
        size=proof["count"],
        proof=[b64decode(each) for each in proof["hashes"]],
        expected=bytes.fromhex(said["digest"]),
    )
    root = parse(NoteVerifier.from_vkey(entry["vkey"]).verify(entry["checkpoint"].encode()))
    assert root.origin == found["root"]["log"]
    verify_inclusion(
        leaf_hash(b64decode(entry["entry"])),
        index=entry["index"],
        size=root.size,
        proof=[b64decode(each) for each in entry["hashes"]],
        expected=root.root,
    )
    assert str(other) not in json.dumps(found), "of the others a tenant is handed hashes alone"
