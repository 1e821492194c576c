"""`wellkeep egress`: what is listed, and what a connection would meet, told to whoever runs the machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deployments import Said, command
from egress.installed import events, listed
from egress.outside import Certificates, place, serving, silent
from wellkeep.assembly.home import Home
from wellkeep.base.settings import Place


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(Path(tmp_path_factory.mktemp("localhost")), "localhost")


async def egress(home: Home, *arguments: str) -> Said:
    return await asyncio.to_thread(command, "egress", *arguments, home=home.path)


async def test_places_are_listed_with_what_is_odd(home: Home) -> None:
    listed(home)
    said = await egress(home, "list")
    assert (said.code, "No place is listed" in said.out) == (0, True)
    odd = Place(name="wide", host="w.example.org", ports=(1, 2), networks=("10.0.0.0/8",))
    listed(home, Place(name="siem", host="siem.example.org", ports=(6514,)), odd)
    said = await egress(home, "list")
    assert "siem.example.org" in said.out
    assert "10.0.0.0/8 is a whole range" in said.out
    siem, wide = (await egress(home, "list", "--json")).json()
    assert siem == {"place": {"name": "siem", "host": "siem.example.org", "ports": [6514]}, "odd": []}
    assert (wide["place"]["name"], len(wide["odd"])) == ("wide", 1)


async def test_a_list_that_does_not_hold_together_is_told(home: Home) -> None:
    listed(home, Place(name="siem", host="s", ports=(1,), networks=("0.0.0.0/0",)))
    for words in (("list",), ("test", "siem")):
        said = await egress(home, *words)
        assert (said.code, "neither loopback nor private" in said.err) == (1, True)


async def test_a_place_that_is_reached(home: Home, localhost: Certificates) -> None:
    async with serving(silent, localhost.context()) as server:
        listed(home, place(server, localhost, host="localhost"))
        said = await egress(home, "test", "siem")
        (seen,) = (await egress(home, "test", "siem", "--json")).json()
    assert said.code == 0, said.err
    assert f"port {server.port}: reached at 127.0.0.1, TLSv1.3" in said.out
    assert "127.0.0.1: loopback, on its list" in said.out
    assert seen["reached"]
    assert "localhost" in seen["names"]
    assert server.connections == 2
    assert not server.heads


async def test_a_place_in_clear(home: Home) -> None:
    async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 no TLS here\r\n")
        await writer.drain()
        await reader.read(1)

    async with serving(greeting, None) as server:
        listed(home, place(server, None, host="127.0.0.1", clear=True))
        said = await egress(home, "test", "siem")
        assert (said.code, "without TLS" in said.out) == (0, True)
        listed(home, place(server, None, host="127.0.0.1"))
        said = await egress(home, "test", "siem")
        assert (said.code, "TLS handshake failed" in said.out) == (1, True)


async def test_a_place_that_is_refused_is_told_and_on_record(home: Home, localhost: Certificates) -> None:
    before = len(await events(home, "egress.denied"))
    async with serving(silent, localhost.context()) as server:
        listed(home, place(server, localhost, host="0x7f.1", networks=()))
        said = await egress(home, "test", "siem")
        assert not server.connections
    assert said.code == 1
    assert "address-loopback" in said.out
    assert "resolves to 127.0.0.1: loopback" in said.out
    entered = (await events(home, "egress.denied"))[before:]
    assert [(event["error"], event["resource"]["id"]) for event in entered] == [("address-loopback", "siem")]
    found = (await asyncio.to_thread(command, "findings", "--json", home=home.path)).json()
    assert "egress.denied:siem:address-loopback" in {one["key"] for one in found}


async def test_a_place_of_another_certificate_or_without_a_server(home: Home, certificates: Certificates) -> None:
    async with serving(silent, certificates.context()) as server:
        listed(home, place(server, certificates, host="::1", networks=("::1/128",), ports=(server.port, 1)))
        said = await egress(home, "test", "siem")
        assert said.code == 1
        assert said.out.count("nothing takes the connection") == 2
        forged = place(server, None, host="127.0.0.1", ca=None)
        listed(home, forged)
        said = await egress(home, "test", "siem", "--json")
    assert said.code == 1
    assert "no certificate that proves" in said.json()[0]["said"]


async def test_a_place_that_is_not_listed(home: Home) -> None:
    listed(home)
    said = await egress(home, "test", "nobody")
    assert (said.code, "[[egress.places]]" in said.err) == (1, True)
