"""Every address is of the kind that the registries say, however it is spelt or wrapped."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wellkeep.egress.errors import Reason
from wellkeep.egress.networks import LISTABLE, Kind, judge, may_be_listed

KNOWN = {
    "8.8.8.8": Kind.PUBLIC,
    "1.1.1.1": Kind.PUBLIC,
    "9.255.255.255": Kind.PUBLIC,
    "11.0.0.0": Kind.PUBLIC,
    "100.63.255.255": Kind.PUBLIC,
    "100.128.0.0": Kind.PUBLIC,
    "126.255.255.255": Kind.PUBLIC,
    "128.0.0.0": Kind.PUBLIC,
    "172.15.255.255": Kind.PUBLIC,
    "172.32.0.0": Kind.PUBLIC,
    "192.0.1.0": Kind.PUBLIC,
    "198.17.255.255": Kind.PUBLIC,
    "198.20.0.0": Kind.PUBLIC,
    "223.255.255.255": Kind.PUBLIC,
    "0.0.0.0": Kind.UNSPECIFIED,  # noqa: S104 -- judged, not bound
    "0.255.255.255": Kind.UNSPECIFIED,
    "10.0.0.0": Kind.PRIVATE,
    "10.255.255.255": Kind.PRIVATE,
    "172.16.0.1": Kind.PRIVATE,
    "172.31.255.255": Kind.PRIVATE,
    "192.168.0.1": Kind.PRIVATE,
    "100.64.0.1": Kind.SHARED,
    "100.127.255.255": Kind.SHARED,
    "127.0.0.1": Kind.LOOPBACK,
    "127.255.255.254": Kind.LOOPBACK,
    "169.254.0.1": Kind.LINK_LOCAL,
    "169.254.169.254": Kind.LINK_LOCAL,
    "168.63.129.16": Kind.METADATA,
    "100.100.100.200": Kind.METADATA,
    "192.0.0.192": Kind.METADATA,
    "192.0.0.8": Kind.RESERVED,
    "192.0.2.1": Kind.DOCUMENTATION,
    "198.51.100.1": Kind.DOCUMENTATION,
    "203.0.113.1": Kind.DOCUMENTATION,
    "192.31.196.1": Kind.RESERVED,
    "192.52.193.1": Kind.RESERVED,
    "192.175.48.1": Kind.RESERVED,
    "192.88.99.1": Kind.SIX_TO_FOUR,
    "198.18.0.1": Kind.BENCHMARKING,
    "198.19.255.255": Kind.BENCHMARKING,
    "224.0.0.1": Kind.MULTICAST,
    "239.255.255.255": Kind.MULTICAST,
    "240.0.0.1": Kind.RESERVED,
    "255.255.255.255": Kind.RESERVED,
    "2606:4700:4700::1111": Kind.PUBLIC,
    "2001:4860:4860::8888": Kind.PUBLIC,
    "2001:200::1": Kind.PUBLIC,
    "::": Kind.UNSPECIFIED,
    "::1": Kind.LOOPBACK,
    "::2": Kind.RESERVED,
    "::127.0.0.1": Kind.RESERVED,
    "::ffff:0:127.0.0.1": Kind.RESERVED,
    "64:ff9b:1::1": Kind.NAT_LOCAL,
    "100::1": Kind.RESERVED,
    "100:0:0:1::1": Kind.RESERVED,
    "2001::1": Kind.TEREDO,
    "2001:1::1": Kind.RESERVED,
    "2001:2::1": Kind.BENCHMARKING,
    "2001:20::1": Kind.RESERVED,
    "2001:db8::1": Kind.DOCUMENTATION,
    "3fff::1": Kind.DOCUMENTATION,
    "2002:7f00:1::1": Kind.SIX_TO_FOUR,
    "2620:4f:8000::1": Kind.RESERVED,
    "4000::1": Kind.RESERVED,
    "5f00::1": Kind.RESERVED,
    "fc00::1": Kind.UNIQUE_LOCAL,
    "fdff::1": Kind.UNIQUE_LOCAL,
    "fd00:ec2::254": Kind.METADATA,
    "fd20:ce::254": Kind.METADATA,
    "fe80::1": Kind.LINK_LOCAL,
    "fe80::1%eth0": Kind.LINK_LOCAL,
    "febf::1": Kind.LINK_LOCAL,
    "fec0::1": Kind.SITE_LOCAL,
    "ff02::1": Kind.MULTICAST,
}

ipv4 = st.ip_addresses(v=4)
anything = st.one_of(ipv4, st.ip_addresses(v=6))


@pytest.mark.parametrize("text", KNOWN)
def test_an_address_is_of_the_kind_that_the_registries_say(text: str) -> None:
    assert judge(text).kind is KNOWN[text]


def test_every_kind_is_tried_and_has_a_reason() -> None:
    assert set(KNOWN.values()) == set(Kind)
    for kind in set(Kind) - {Kind.PUBLIC}:
        assert Reason.of(kind).value.endswith(kind.value)


@given(ipv4)
def test_a_mapped_address_is_the_one_inside(inside: IPv4Address) -> None:
    """Dialled as what it stands for, too: no list of IPv4 networks is gone round by spelling."""
    for spelt in (f"::ffff:{inside}", f"0:0:0:0:0:FFFF:{inside}", str(IPv6Address((0xFFFF << 32) | int(inside)))):
        assert judge(spelt) == judge(str(inside))


@given(ipv4)
def test_a_translated_address_is_judged_by_the_one_inside_and_let_into_no_network(inside: IPv4Address) -> None:
    judged = judge(f"64:ff9b::{inside}")
    assert judged.kind is judge(str(inside)).kind
    assert not judged.listable


@given(anything)
@example(IPv6Address("::ffff:128.0.0.0"))
@example(IPv6Address("64:ff9b::8.8.8.8"))
def test_nothing_special_is_public(address: IPv4Address | IPv6Address) -> None:
    """The standard library's own properties, where they say that an address is special, are a second opinion."""
    judged = judge(str(address))
    seen = judged.address
    special = (
        seen.is_private
        or seen.is_loopback
        or seen.is_link_local
        or seen.is_multicast
        or seen.is_reserved
        or seen.is_unspecified
    )
    if special and seen not in ip_network("64:ff9b::/96"):
        assert judged.kind is not Kind.PUBLIC
    assert judged.listable <= (judged.kind in LISTABLE)


@given(anything)
def test_one_spelling_is_judged_as_another(address: IPv4Address | IPv6Address) -> None:
    assert judge(address.exploded) == judge(address.compressed) == judge(address.compressed.upper())


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "127.1", "2130706433", "127.0.0.01", "1.2.3.4/8", "[::1]"])
def test_what_is_no_address_is_not_judged(text: str) -> None:
    """What names spell is the resolver's matter: only what it answers is judged."""
    with pytest.raises(ValueError, match="does not appear"):
        judge(text)


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("10.0.0.0/8", True),
        ("10.20.30.0/24", True),
        ("192.168.7.7/32", True),
        ("127.0.0.0/8", True),
        ("::1/128", True),
        ("fc00::/7", True),
        ("fd12:3456::/32", True),
        ("0.0.0.0/0", False),
        ("8.0.0.0/6", False),
        ("172.0.0.0/11", False),
        ("169.254.0.0/16", False),
        ("169.254.169.254/32", False),
        ("100.64.0.0/10", False),
        ("8.8.8.8/32", False),
        ("224.0.0.0/4", False),
        ("::/0", False),
        ("::/127", False),
        ("fe80::/10", False),
        ("::ffff:127.0.0.0/104", False),
        ("fd00:ec2::/32", False),
        ("fd20:ce::254/128", False),
        ("fd20:ce::/64", True),
        ("168.63.129.16/32", False),
    ],
)
def test_only_networks_of_one_s_own_may_be_listed(text: str, may: bool) -> None:  # noqa: FBT001 -- a case
    assert may_be_listed(ip_network(text)) is may
