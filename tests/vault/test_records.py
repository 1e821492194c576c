"""Promise: a record goes in sealed and comes out only with a ledger entry, as it went in."""

from __future__ import annotations

import msgspec

from vault.stack import Stack

FULL: dict[str, object] = {
    "ssn": "999-12-3456",
    "family": "Dr\u00fcbel-O\u2019Neil",
    "phone": "(555) 978-4581",
    "birth_date": "1980-02-29",
    "gender": "female",
    "note": "سلام e\u0301 \u202e\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "resource": msgspec.Raw(b'{"a": 1.10,  "b":["\\u00e9"]}'),
    "weight": msgspec.Raw(b"71.50"),
    "visits": 2**53 - 1,
    "active": True,
    "seen": "2023-02-28T23:59:59.123456789+14:00",
    "balance": "12.10",
}


async def test_what_went_in_comes_out_byte_for_byte_and_is_on_record(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", FULL)
    view = await stack.vault.records.read(stack.integration, "patients", made.id)
    assert view.fields["resource"] == FULL["resource"]
    assert bytes(view.fields["weight"]) == b"71.50"
    assert bytes(view.fields["balance"]) == b"12.10"
    plain = {name: value for name, value in view.fields.items() if name not in ("resource", "weight", "balance")}
    assert plain == {name: FULL[name] for name in plain}
    assert set(view.fields) == set(FULL)
    assert (view.subject, view.revision, view.withheld) == (made.subject, 1, ())
    (created,) = await stack.entries("record.create")
    (read,) = await stack.entries("record.read")
    assert created["subject"] == read["subject"] == made.subject
    assert "999-12" not in created["text"] + read["text"]
