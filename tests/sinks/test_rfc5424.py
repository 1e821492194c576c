"""Whatever is told in a syslog message is read back by somebody else's grammar, whole or from its parts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sinks.receivers import parse
from wellkeep.ledger.sinks.rfc5424 import FACILITIES, Header, Severity, frame

TIME = "2026-05-03T14:02:00.123456Z"
names = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"), min_size=1, max_size=12).filter(
    lambda name: name not in {"part", "parts"}
)
values = st.text(st.characters(exclude_categories=["Cs"])) | st.integers()


def header(facility: str = "audit") -> Header:
    return Header(facility=FACILITIES[facility], host="vault.example.org", enterprise=32473)


def test_a_message_as_it_is_written() -> None:
    made = header().message(b"{}", severity=Severity.WARNING, time=TIME, kind="entry", told={"seq": 7, "log": 'a"b]\\'})
    expected = rb'<108>1 2026-05-03T14:02:00.123456Z vault.example.org wellkeep - entry [wellkeep@32473 seq="7" '
    assert made == expected + rb'log="a\"b\]\\"] {}'
    assert frame(made) == b"%d " % len(made) + made


@given(
    facility=st.sampled_from(sorted(FACILITIES)),
    severity=st.sampled_from(Severity),
    kind=st.sampled_from(["entry", "gap"]),
    told=st.dictionaries(names, values, max_size=5),
    body=st.binary(max_size=5000),
)
def test_what_is_told_is_read_back(
    facility: str, severity: Severity, kind: str, told: dict[str, Any], body: bytes
) -> None:
    read = parse(header(facility).message(body, severity=severity, time=TIME, kind=kind, told=told))
    assert (read.priority // 8, read.priority % 8) == (FACILITIES[facility], severity)
    assert (read.time, read.host, read.app, read.kind) == (TIME, "vault.example.org", "wellkeep", kind)
    assert read.name == "wellkeep@32473"
    assert read.told == {name: str(value) for name, value in told.items()}
    assert read.body == body


def test_what_is_told_makes_no_more_parts_than_there_is_room_for() -> None:
    told = {"log": "x" * 20_000}
    parts = header().parts(
        b"y" * 32_768, severity=Severity.INFORMATIONAL, time=TIME, kind="entry", told=told, most=8_192
    )
    assert len(parts) == 16
    assert b"".join(parse(part).body for part in parts) == b"y" * 32_768


@given(body=st.text(st.characters(codec="ascii"), max_size=40_000), most=st.integers(2_048, 9_000))
def test_what_is_too_long_goes_in_parts_that_fit_and_join(body: str, most: int) -> None:
    told = {"log": "vault.example.org/ledger/root", "leaf": "0" * 64}
    parts = header().parts(
        body.encode(), severity=Severity.INFORMATIONAL, time=TIME, kind="entry", told=told, most=most
    )
    read = [parse(part) for part in parts]
    assert all(len(part) <= most for part in parts)
    assert b"".join(one.body for one in read) == body.encode()
    assert {one.told["leaf"] for one in read} == {"0" * 64}
    if len(read) == 1:
        assert "part" not in read[0].told
    else:
        numbers = [(one.told["part"], one.told["parts"]) for one in read]
        assert numbers == [(str(part), str(len(read))) for part in range(1, len(read) + 1)]
