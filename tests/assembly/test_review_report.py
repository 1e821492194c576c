"""The paper of a review: what people called themselves neither runs in a spreadsheet nor becomes markup."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.access.review_shapes import Item, Review, Shown
from wellkeep.assembly.review_report import COLUMNS, as_csv, as_json, as_markdown, decision, who

_ID = UUID("0198c0de-0000-7000-8000-00000000dead")
_AT = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)


def item(name: str | None = "Robin", *, kind: str = "grant", outcome: str | None = None, stuck: bool = False) -> Item:
    decided = outcome in {"keep", "revoke"}
    return Item(
        id=_ID,
        kind=kind,
        person=_ID if kind == "grant" else None,
        name=name,
        email=None if kind == "key" else "robin@example.org",
        state="disabled",
        roles=("clinician",),
        granted_by=None,
        granted_at=_AT,
        last_used_at=None,
        last_seen_at=None,
        expires_at=None,
        outcome=outcome,
        decided_by="operator:grace" if decided else None,
        decided_at=_AT if outcome else None,
        stuck=stuck,
    )


def shown(*items: Item, closed: bool = False) -> Shown:
    head = Review(_ID, "operator:root", _AT, _AT, _AT if closed else None, len(items), 0, 0, len(items))
    return Shown(head, list(items))


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv(shown(item(name))).decode(), newline=""))
    assert row["name"] == f"'{name}"
    assert tuple(row) == COLUMNS


@given(st.text(max_size=60))
def test_a_name_is_one_cell_of_the_table_and_no_markup(name: str) -> None:
    lines = as_markdown(shown(item(name))).decode().split("\n")
    (line,) = [line for line in lines if "clinician" in line]
    unescaped = line.replace("\\|", "")
    assert unescaped.count("|") == 7
    assert "<" not in line.replace("\\<", "")
    assert "](" not in line


def test_it_says_what_became_of_each() -> None:
    assert decision(item()) == "waits for a decision"
    assert "second person" in decision(item(stuck=True))
    assert decision(item(outcome="keep")) == "kept by operator:grace, 2026-11-23 04:30"
    assert decision(item(outcome="ended")) == "had ended before anybody decided"
    assert who(item()) == "Robin (robin@example.org, disabled)"
    assert who(item(None)).startswith(str(_ID))
    assert who(item("front-desk", kind="key")) == "API key front-desk"
    paper = as_markdown(shown(item(outcome="revoke"), closed=True)).decode()
    assert "closed 2026-11-23 04:30" in paper
    assert "revoked by operator\\:grace" in paper
    assert as_json(shown(item())).endswith(b"}\n")
