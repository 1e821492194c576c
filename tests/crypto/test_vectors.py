"""The vectors open with our code and with the independent reader: old ciphertexts must open for ever."""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from crypto import spec_reader
from wellkeep.base.secrets import Secret
from wellkeep.crypto import blind, envelope, keys, normalise, stream, wrap
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.local import LocalKms
from wellkeep.keys.rows import KeyRow, open_row
from wellkeep.keys.scope import Scope
from wellkeep.keys.streams import StreamReader, wrap_context
from wellkeep.vault.blobs import PartReader

VECTORS = Path(__file__).parent.parent / "vectors"
ROOT = VECTORS.parent.parent


def load(name: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())
    return content


def unhex(entry: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(entry[name]) for name in names]


def test_envelopes_open_with_both_readers() -> None:
    entries = load("envelope")
    assert {entry["suite"] for entry in entries} == {1, 2}
    for entry in entries:
        secret, tenant, record, payload, sealed = unhex(entry, "secret", "tenant", "record", "payload", "envelope")
        expected = (entry["type"], payload)
        place = {"tenant": tenant, "record": record, "collection": entry["collection"]}
        assert spec_reader.open_envelope(secret, sealed, field=entry["field"], **place) == expected
        key = keys.SubjectKey(secret) if entry["suite"] == 1 else keys.DataKey(secret)
        assert key.commit.hex() == entry["commit"] == spec_reader.commit(secret).hex()
        assert envelope.open_one(key, (entry["field"], sealed), **place) == expected
        assert envelope.open_record(key, items=[(entry["field"], sealed)], **place) == [expected]
        assert envelope.envelope_suite(sealed) == entry["suite"]
        assert envelope.envelope_kid(sealed) == key.kid


def test_digests_agree() -> None:
    for entry in load("digest"):
        record, digest = unhex(entry, "record", "digest")
        items = [(field, bytes.fromhex(data)) for field, data in entry["items"]]
        assert envelope.digest(record, reversed(items)) == spec_reader.revision_digest(record, items) == digest


def test_wrapped_keys_open_with_both_readers() -> None:
    for entry in load("wrap"):
        kek, context, secret, wrapped = unhex(entry, "kek", "context", "secret", "wrapped")
        assert spec_reader.unwrap(kek, wrapped, context=context) == secret
        assert wrap.WrapKey(kek).unwrap(wrapped, context=context) == secret


class _Epoch:
    """The key of one epoch, whatever its number, as `open_row` asks for it."""

    def __init__(self, key: LocalKms) -> None:
        self._key = key

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        assert epoch == 9
        return await self._key.wrap(plain, context=context)

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        assert epoch == 9
        return await self._key.unwrap(blob, context=context)


async def test_keys_of_deployment_and_tenant_open_with_both_readers() -> None:
    entries = load("keys")
    assert {entry["purpose"] for entry in entries} == {"SEAL", "WRAP", "DATA", "INDEX", "FILE", "MAC"}
    for entry in entries:
        root, wrapped, secret, commit = unhex(entry, "root_key", "wrapped", "secret", "commit")
        epoch_key = None if entry["epoch_key"] is None else bytes.fromhex(entry["epoch_key"])
        found = spec_reader.open_tenant_key(root, epoch_key, wrapped, context=spec_reader.key_context(entry))
        assert found == secret
        assert spec_reader.commit(found) == commit
        scope = Scope(UUID(entry["deployment"]), entry["environment"])
        ours = LocalKms(Secret(root), scope=scope)
        epochs = None if epoch_key is None else _Epoch(LocalKms(Secret(epoch_key), scope=scope))
        row = KeyRow(
            purpose=KeyPurpose(entry["purpose"]),
            epoch=entry["epoch"],
            kid=commit[:16],
            commit=commit,
            wrapped=wrapped,
            kms_epoch=0 if epochs is None else 9,
            root=ours.describe().root,
            state="active",
        )
        assert (await open_row(row, ours, epochs, tenant=UUID(entry["tenant"]))).secret == secret


def test_what_lies_under_a_tenants_keys_opens_with_both_readers() -> None:
    entries = {entry["purpose"]: entry for entry in load("keys")}
    (kek, tenant), below = unhex(entries["WRAP"], "secret", "tenant"), entries["WRAP"]["subject"]
    subject, kid, wrapped, secret = unhex(below, "subject", "kid", "wrapped", "secret")
    context = tenant + subject + below["generation"].to_bytes(4, "big") + kid
    assert spec_reader.unwrap(kek, wrapped, context=context) == secret
    assert spec_reader.commit(secret)[:16] == kid
    ours = wrap.subject_key_context(tenant=tenant, subject=subject, generation=below["generation"], kid=kid)
    assert wrap.WrapKey(kek).unwrap(wrapped, context=ours) == secret
    (kek,), below = unhex(entries["FILE"], "secret"), entries["FILE"]["blob"]
    blob, wrapped, secret, sealed, plaintext = unhex(below, "blob", "wrapped", "secret", "sealed", "plaintext")
    context = f'{{"blob":"{blob.hex()}","epoch":2,"purpose":"FILE","tenant":"{tenant.hex()}"}}'.encode()
    assert spec_reader.unwrap(kek, wrapped[:63], context=context) == secret
    assert spec_reader.commit(secret) == wrapped[63:]
    assert spec_reader.open_part(secret, below["part"], sealed, context=tenant + blob) == plaintext
    assert wrap_context(UUID(bytes=tenant), 2, UUID(bytes=blob)) == context
    reader = StreamReader(stream.StreamKey(secret), context=tenant + blob)
    assert PartReader(reader, blob=UUID(bytes=blob)).open(below["part"], sealed) == plaintext


def test_streams_open_with_both_readers() -> None:
    for entry in load("stream"):
        secret, context, header = unhex(entry, "secret", "context", "header")
        plaintext = bytes(position % 251 for position in range(entry["size"]))
        key = stream.StreamKey(secret)
        sealer = stream.StreamSealer(key, context=context, header=header)
        sealed = sealer.update(plaintext) + sealer.finalise()
        assert hashlib.sha256(sealed).hexdigest() == entry["sealed_sha256"]
        assert sealed.hex() == entry.get("sealed", sealed.hex())
        assert spec_reader.open_stream(secret, header, sealed, context=context) == plaintext


def test_tags_agree() -> None:
    for entry in load("index"):
        (secret,) = unhex(entry, "index_secret")
        ids = (entry["collection"], entry["field"], entry["index"])
        normalised = normalise.normalise(entry["normaliser"], entry["value"], region=entry["region"])
        assert blind.tokens(blind.IndexKind(entry["index"]), normalised) == entry["tokens"]
        key = keys.index_key(secret, collection=ids[0], field=ids[1], index=ids[2], normaliser=entry["normaliser"])
        ours = blind.BlindIndex(key, epoch=entry["epoch"])
        for token, expected in zip(entry["tokens"], entry["tags"], strict=True):
            assert ours.tag(token).hex() == expected
            theirs = spec_reader.tag(secret, token, ids=ids, normaliser=entry["normaliser"], epoch=entry["epoch"])
            assert theirs.hex() == expected


def test_the_script_makes_the_committed_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "make-vectors"))
    written = script["write"]
    monkeypatch.setitem(written.__globals__, "TARGET", tmp_path)
    sealed = script["envelopes"]()
    made = {
        "envelope": sealed,
        "digest": script["digests"](sealed),
        "wrap": script["wraps"](),
        "keys": script["tenant_keys"](),
        "stream": script["streams"](),
        "index": script["indexes"](),
    }
    for name, content in made.items():
        written(name, content)
        assert (tmp_path / f"{name}.json").read_bytes() == (VECTORS / f"{name}.json").read_bytes()
