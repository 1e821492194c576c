"""What was refused is an entry of the root log and a finding; the list in force is an entry as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import msgspec
import pytest

from egress.installed import database_of, events, listed, statement
from egress.outside import QUICK, Names
from wellkeep.assembly.definitions import announce
from wellkeep.assembly.diagnosis import diagnose
from wellkeep.assembly.egress_denials import WINDOW, EgressDenials
from wellkeep.assembly.home import Home
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.settings import Place
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, Reason
from wellkeep.egress.places import digest

SIEM = Place(name="siem", host="siem.example.org", ports=(6514,))
REFUSE = """
CREATE FUNCTION ledger.wk_test_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER wk_test_refuse BEFORE INSERT ON ledger.entry EXECUTE FUNCTION ledger.wk_test_refuse();
"""
ACCEPT = "DROP TRIGGER wk_test_refuse ON ledger.entry; DROP FUNCTION ledger.wk_test_refuse();"


class Clock(SystemClock):
    """The machine's clock, some seconds ahead."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
async def runtime(home: Home) -> AsyncIterator[Runtime]:
    listed(home, SIEM)
    async with open_runtime(home, home.settings(), database_of(home)) as opened:
        yield opened


def denials(runtime: Runtime, clock: Clock) -> EgressDenials:
    return EgressDenials(gate=runtime.core.gate, findings=runtime.core.findings, clock=clock)


async def test_a_refusal_is_an_entry_and_a_finding(runtime: Runtime, home: Home) -> None:
    before = len(await events(home, "egress.denied"))
    with pytest.raises(EgressRefused):
        await runtime.core.egress.stream("siem", port=443)
    with pytest.raises(EgressRefused):
        await runtime.core.egress.stream("nobody")
    entered = (await events(home, "egress.denied"))[before:]
    siem, nobody = entered
    assert siem["actor"] == {"id": "egress", "type": "system"}
    assert siem["resource"] == {"id": "siem", "type": "place"}
    assert (siem["outcome"], siem["error"], len(siem["digest"])) == ("denied", "other-port", 64)
    assert (nobody["resource"], nobody["error"]) == ({"type": "place"}, "unknown-place")
    await runtime.core.findings.flush()
    found = {one.key: one for one in await runtime.core.findings.list(PLATFORM_TENANT)}
    assert found["egress.denied:siem:other-port"].detail["place"] == "siem"
    assert "egress.denied:unlisted:unknown-place" in found


@pytest.mark.parametrize("reason", Reason)
async def test_every_reason_can_be_entered_and_reported(runtime: Runtime, reason: Reason) -> None:
    await denials(runtime, Clock()).denied("siem", reason, bytes(32))
    assert await runtime.core.findings.flush()


async def test_a_loop_of_refusals_is_counted_and_not_entered_each(runtime: Runtime, home: Home) -> None:
    clock = Clock()
    watch = denials(runtime, clock)
    before = len(await events(home, "egress.denied"))
    for _ in range(30):
        await watch.denied("siem", Reason.LOOPBACK, bytes(32))
    await watch.denied("siem", Reason.LOOPBACK, b"\x01" * 32)
    counts = [event["count"] for event in (await events(home, "egress.denied"))[before:]]
    assert counts == [1, 1], "the first of each destination at once"
    clock.ahead = WINDOW + 1
    await watch.denied("siem", Reason.LOOPBACK, bytes(32))
    await watch.stop()
    counts = [event["count"] for event in (await events(home, "egress.denied"))[before:]]
    assert sum(counts) == 32
    assert len(counts) == 3


async def test_who_is_refused_and_leaves_meanwhile_is_on_record(runtime: Runtime, home: Home) -> None:
    """As an anchor whose time is over just then: the entry is on its way, and nobody waits for it."""
    watch = denials(runtime, Clock())
    before = len(await events(home, "egress.denied"))
    for turns in range(6):
        refused = asyncio.create_task(watch.denied("siem", Reason.OTHER_HOST, bytes([turns]) * 32))
        for _ in range(turns):
            await asyncio.sleep(0)
        refused.cancel()
        with pytest.raises(asyncio.CancelledError):
            await refused
    await watch.stop()
    entered = [event["digest"] for event in (await events(home, "egress.denied"))[before:]]
    assert entered == [(bytes([turns]) * 32).hex() for turns in range(1, 6)], "the first was never told of it"


async def test_what_is_watched_is_bounded_and_none_is_lost(runtime: Runtime, home: Home) -> None:
    watch = denials(runtime, Clock())
    before = len(await events(home, "egress.denied"))
    for number in range(1100):
        await watch.denied("siem", Reason.OTHER_HOST, number.to_bytes(32, "big"))
    await watch.stop()
    entered = (await events(home, "egress.denied"))[before:]
    assert sum(event["count"] for event in entered) == 1100
    assert len(entered) == 1026
    assert sum("digest" not in event for event in entered) == 2


async def test_a_ledger_that_refuses_gets_it_later_and_the_refusal_holds(runtime: Runtime, home: Home) -> None:
    watch = denials(runtime, Clock())
    egress = Egress(places=[SIEM], denials=watch, resolver=Names([["10.0.0.1"]]), limits=QUICK)
    before = len(await events(home, "egress.denied"))
    await statement(home, REFUSE)
    try:
        with pytest.raises(EgressRefused):
            await egress.stream("siem")
    finally:
        await statement(home, ACCEPT)
    with pytest.raises(EgressRefused):
        await egress.stream("siem")
    entered = (await events(home, "egress.denied"))[before:]
    assert [(event["error"], event["count"]) for event in entered] == [("address-private", 2)]


async def test_the_list_in_force_is_entered_once_for_each_change(home: Home) -> None:
    other = msgspec.structs.replace(SIEM, ports=(443,))
    start = len(await _lists(home))
    ids: list[UUID | None] = []
    for places in ((SIEM,), (SIEM,), (other, Place(name="store", host="s", ports=(1,))), (), ()):
        listed(home, *places)
        async with open_runtime(home, home.settings(), database_of(home)) as opened:
            ids.append(await announce(opened.core))
    assert ids == [None] * 5, "the roles did not change"
    expected = [digest(places).hex() for places in ((SIEM,), (other, Place(name="store", host="s", ports=(1,))), ())]
    assert (await _lists(home))[start:] == expected


async def _lists(home: Home) -> list[str]:
    entered = await events(home, "definitions.loaded")
    return [event["digest"] for event in entered if event["resource"]["id"] == "places"]


async def test_a_list_that_does_not_hold_together_stops_the_start(home: Home) -> None:
    listed(home, SIEM, SIEM)
    async with AsyncExitStack() as stack:
        with pytest.raises(Misconfigured, match="named siem"):
            await stack.enter_async_context(open_runtime(home, home.settings(), database_of(home)))
    found = {one.what: one for one in await diagnose(home, home.settings(), database_of(home))}
    assert not found["The list of places to connect to holds together"].fine


async def test_the_doctor_lists_the_places_and_what_is_odd(home: Home) -> None:
    odd = Place(name="wide", host="wide.example.org", ports=(1, 2), networks=("10.0.0.0/8",), clear=True)
    listed(home, SIEM, odd)
    found = {one.what: one for one in await diagnose(home, home.settings(), database_of(home))}
    assert found["The place siem (siem.example.org, port 6514) is listed narrowly"].fine
    wide = found["The place wide (wide.example.org, port 1, 2) is listed narrowly"]
    assert not wide.fine
    assert "10.0.0.0/8" in wide.mend
    assert "without TLS" in wide.mend
    listed(home)
    found = {one.what: one for one in await diagnose(home, home.settings(), database_of(home))}
    assert found["Nothing outside is connected to: no place is listed"].fine
