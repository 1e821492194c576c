"""The list of places: what is wrong with it stops the start, and what is odd about it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.base.settings import FILE_NAME, EgressSettings, Place, Settings, dump, load
from wellkeep.egress.errors import Reason
from wellkeep.egress.networks import judge
from wellkeep.egress.places import destinations, digest, oddities
from wellkeep.findings.grammar import Kind, check_detail, finding_key

SIEM: dict[str, Any] = {"name": "siem", "host": "siem.example.org", "ports": (6514,)}


def one(**changes: Any) -> Place:
    return Place(**(SIEM | changes))


def reason(place: Place, address: str, *, tls: bool = True) -> Reason | None:
    return destinations([place])[place.name].objection(judge(address), tls=tls)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([one(), one()], "named siem"),
        ([one(networks=("10.0.0.0/33",))], "no network"),
        ([one(networks=("10.0.0.1/8",))], "no network"),
        ([one(networks=("hunter2",))], "no network"),
        ([one(networks=("0.0.0.0/0",))], "neither loopback nor private"),
        ([one(networks=("169.254.0.0/16",))], "neither loopback nor private"),
        ([one(clear=True)], "lists no networks"),
    ],
)
def test_a_list_that_does_not_hold_together_stops_the_start(places: list[Place], said: str) -> None:
    with pytest.raises(Misconfigured, match=said) as refused:
        destinations(places)
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Siem"},
        {"name": "siem-east"},
        {"name": "siem\n"},
        {"name": ""},
        {"host": ""},
        {"host": "siem.example.org/x"},
        {"host": "user@siem"},
        {"host": "siem.example.org\n"},
        {"ports": []},
        {"ports": [0]},
        {"ports": [65536]},
        {"port": 443},
    ],
)
def test_a_place_that_is_none_stops_the_start_and_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "siem", "host": "h", "ports": [1]} | changes, Place)


def test_a_wrong_setting_of_a_place_is_named(tmp_path: Path) -> None:
    settings = Settings(version=1, deployment="0198c0de-0000-7000-8000-000000000000", environment="test")  # type: ignore[arg-type]
    text = dump(settings) + '\n[[egress.places]]\nname = "siem"\nhost = "hunter2/"\nports = [6514]\n'
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(Misconfigured, match=r"egress\.places\[.+\]\.host") as refused:
        load(tmp_path)
    assert "hunter2" not in refused.value.message


def test_what_is_dumped_loads_the_same(tmp_path: Path) -> None:
    places = (one(networks=("10.0.0.0/24",), ca="ca.crt"), one(name="store", clear=False, ports=(1, 2)))
    settings = msgspec.convert(
        {"version": 1, "deployment": "0198c0de-0000-7000-8000-000000000000", "environment": "test"}, Settings
    )
    settings = msgspec.structs.replace(settings, egress=EgressSettings(places=places))
    (tmp_path / FILE_NAME).write_text(dump(settings))
    assert load(tmp_path) == settings


def test_every_name_fits_the_ledger_and_findings() -> None:
    for name in ("a", "siem", "siem_east2", "a" + "_" * 60 + "42"):
        checked = msgspec.convert({"name": name, "host": "h", "ports": [1]}, Place)
        check_detail({"place": checked.name})
        finding_key(Kind.EGRESS_DENIED, checked.name, Reason.SIX_TO_FOUR.value)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("8.8.8.8", None),
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("10.2.0.1", Reason.PRIVATE),
        ("127.0.0.1", Reason.LOOPBACK),
        ("64:ff9b::10.1.2.3", Reason.PRIVATE),
        ("fd00::1", Reason.UNIQUE_LOCAL),
        ("169.254.169.254", Reason.LINK_LOCAL),
    ],
)
def test_a_place_is_let_into_its_networks_and_no_other(address: str, why: Reason | None) -> None:
    assert reason(one(networks=("10.1.0.0/16",)), address) is why


@pytest.mark.parametrize("address", ["fd00:ec2::254", "fd20:ce::254"])
def test_no_list_opens_the_clouds_doors(address: str) -> None:
    assert reason(one(networks=("fc00::/7",)), address) is Reason.METADATA


def test_without_tls_only_into_one_s_own_networks_and_only_where_that_is_said() -> None:
    networks = ("10.1.0.0/16",)
    assert reason(one(networks=networks, clear=True), "10.1.0.1", tls=False) is None
    assert reason(one(networks=networks), "10.1.0.1", tls=False) is Reason.CLEAR_TEXT
    assert reason(one(networks=networks, clear=True), "8.8.8.8", tls=False) is Reason.CLEAR_TEXT


def test_what_is_odd_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("-")
    found = destinations(
        [
            one(networks=("10.1.0.0/16",), ca="ca.crt"),
            one(name="wide", networks=("10.0.0.0/8", "fc00::/7", "10.0.0.0/9")),
            one(name="clear", networks=("10.1.0.0/16",), clear=True),
            one(name="trusting", ca="nowhere.crt"),
        ],
        home=tmp_path,
    )
    assert {name: len(oddities(place)) for name, place in found.items()} == {
        "siem": 0,
        "wide": 2,
        "clear": 1,
        "trusting": 1,
    }


def test_the_digest_is_of_the_list_and_not_of_its_order() -> None:
    here, there = one(), one(name="store")
    assert digest([here, there]) == digest([there, here])
    assert len({digest(places) for places in ([], [here], [there], [one(clear=True)], [one(ports=(1,))])}) == 5
