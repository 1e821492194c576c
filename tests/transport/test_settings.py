"""Where administration may be reached from, and what TLS is: refused at the start where it would be a hole."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.base.errors import Misconfigured
from wellkeep.base.listen_settings import ListenSettings, admin_networks
from wellkeep.base.settings import FILE_NAME, Settings, dump, load
from wellkeep.base.tls_settings import TlsHost, TlsSettings

OURS = Settings(version=1, deployment=UUID(int=1), environment="test")


def loaded(folder: Path, settings: Settings) -> Settings:
    (folder / FILE_NAME).write_text(dump(settings))
    return load(folder)


@pytest.mark.parametrize("address", ["127.0.0.1:8444", "localhost:8444", "[::1]:8444", "127.3.2.1:0"])
def test_where_it_listens_on_this_machine_this_machine_administers(address: str) -> None:
    found = admin_networks(ListenSettings(admin=address))
    assert found == (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize("address", ["0.0.0.0:8444", "10.1.2.3:8444", "[::]:8444", "[fd00::1]:8444", "admin.local:1"])
def test_where_it_listens_beyond_it_somebody_says_for_whom(tmp_path: Path, address: str) -> None:
    listen = ListenSettings(admin=address)
    with pytest.raises(Misconfigured, match=r"admin_networks = \[.10\.20\.30\.0/24.\]"):
        loaded(tmp_path, msgspec.structs.replace(OURS, listen=listen))
    listen = ListenSettings(admin=address, admin_networks=("10.20.30.0/24", "fd00::/64"))
    settings = loaded(tmp_path, msgspec.structs.replace(OURS, listen=listen))
    assert admin_networks(settings.listen) == (ip_network("10.20.30.0/24"), ip_network("fd00::/64"))


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0",
        "::/0",
        "8.8.8.0/24",
        "10.0.0.0/7",
        "172.0.0.0/11",
        "2001:db8::/32",
        "::ffff:0:0/96",
        "192.168.0.0/15",
    ],
)
def test_no_public_network_administers(network: str) -> None:
    with pytest.raises(Misconfigured, match="private"):
        admin_networks(ListenSettings(admin="0.0.0.0:1", admin_networks=("10.0.0.0/8", network)))


@pytest.mark.parametrize("network", ["10.0.0.1/24", "10.0.0.0/33", "private", "", "10.0.0.0-10.0.0.9"])
def test_what_is_no_network_is_refused_and_not_shown(network: str) -> None:
    with pytest.raises(Misconfigured, match="no network") as refused:
        admin_networks(ListenSettings(admin_networks=(network,)))
    assert not network or network not in refused.value.message


@given(st.ip_addresses())
def test_every_allowed_network_is_private(address: object) -> None:
    network = ip_network(str(address))
    try:
        admin_networks(ListenSettings(admin_networks=(str(network),)))
    except Misconfigured:
        return
    assert not network.is_global


def test_hosts_and_profile_come_back_from_the_file(tmp_path: Path) -> None:
    hosts = tuple(TlsHost(name=name, certificate="c", key="k") for name in ("a.example", "b-1.example"))
    tls = TlsSettings(profile="modern", hosts=hosts)
    assert loaded(tmp_path, msgspec.structs.replace(OURS, tls=tls)).tls == tls
    assert loaded(tmp_path, OURS).tls == TlsSettings()


@pytest.mark.parametrize(
    "tls",
    [
        TlsSettings(profile="old"),  # type: ignore[arg-type]
        *(
            TlsSettings(hosts=(TlsHost(name=name, certificate="c", key="k"),))
            for name in ("A.example", "a..example", "-a.example", "*.example", "", "a" * 64, "a.example\n", "ä.example")
        ),
        TlsSettings(hosts=(TlsHost(name="a.example", certificate="c", key="k"),) * 2),
    ],
)
def test_other_profiles_and_names_are_refused(tmp_path: Path, tls: TlsSettings) -> None:
    with pytest.raises(Misconfigured):
        loaded(tmp_path, msgspec.structs.replace(OURS, tls=tls))
