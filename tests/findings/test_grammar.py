"""The grammar of findings lets ids, codes and integers through, and nothing that could be a person's."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.findings.grammar import FindingRefused, Kind, check_detail, check_key, finding_key


@given(st.sampled_from(Kind), st.lists(st.one_of(st.uuids(), st.integers(0, 9_999_999)), max_size=6))
def test_a_key_is_a_kind_and_ids(kind: Kind, parts: list[UUID | int]) -> None:
    assert finding_key(kind, *parts).startswith(kind.value)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "Job.failed",
        "job failed",
        "job.failed:Jane",
        "job.failed:jane doe",
        "job.failed:999-12-3456",
        "job.failed:jane@example.org",
        "job.failed:555.867.5309",
        "job.failed:1999-01-02",
        "job.failed:123456789",
        "job.failed\n",
        "job.failed:" + "a:" * 300,
    ],
)
def test_a_key_with_anything_else_is_refused(key: str) -> None:
    with pytest.raises(FindingRefused):
        check_key(key)


@pytest.mark.parametrize(
    "detail",
    [
        {"name": "jane"},
        {"record": "jane"},
        {"record": str(uuid4()).upper()},
        {"collection": "3"},
        {"collection": -1},
        {"collection": True},
        {"collection": 2**53},
        {"error": "Seal broken"},
        {"error": "x" * 65},
        {"error": 5},
        {"kid": "00ff"},
        {"kid": "Z" * 32},
        {f"n{number}": number for number in range(17)},
    ],
)
def test_a_detail_with_anything_else_is_refused(detail: dict[str, str | int]) -> None:
    with pytest.raises(FindingRefused):
        check_detail(detail)


@given(st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=40), st.integers()), max_size=5))
def test_whatever_passes_has_a_registered_name_and_form(detail: dict[str, str | int]) -> None:
    try:
        checked = check_detail(detail)
    except FindingRefused:
        return
    assert checked == detail
    assert all(isinstance(value, int) or value.isascii() for value in checked.values())
