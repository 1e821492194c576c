"""Whatever is at an anchor's place, an exchange with it ends in time, with an answer or a code."""

from __future__ import annotations

import asyncio

import pytest

from anchors.world import QUICK
from egress.outside import (
    Certificates,
    Manner,
    Noted,
    answers,
    drip,
    dripping_head,
    endless,
    midway,
    place,
    rubbish,
    serving,
    silent,
    way_out,
)
from wellkeep.egress.errors import Reason
from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble
from wellkeep.ledger.anchors.outside import Outside


def outside(noted: Noted, listed: object) -> Outside:
    return Outside(way_out(noted, listed), "siem", limits=QUICK)  # type: ignore[arg-type]


@pytest.mark.parametrize("manner", [silent, drip, dripping_head, endless, midway, rubbish])
async def test_who_answers_badly_is_not_reached(manner: Manner, certificates: Certificates) -> None:
    async with serving(manner, certificates.context()) as server:
        async with asyncio.timeout(QUICK.total + 2):
            with pytest.raises(AnchorFailed) as failed:
                await outside(Noted(), place(server, certificates)).exchange("POST", "/", body=b"a note")
    assert failed.value.trouble is Trouble.UNREACHABLE


async def test_nobody_is_there(certificates: Certificates) -> None:
    async with serving(silent, certificates.context()) as server:
        pass
    with pytest.raises(AnchorFailed, match="unreachable"):
        await outside(Noted(), place(server, certificates)).exchange("GET", "/")


async def test_who_proves_to_be_nobody_is_sent_nothing_and_told_of(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    noted = Noted()
    forged = Certificates.make(tmp_path_factory.mktemp("forged"))
    async with serving(silent, forged.context()) as server:
        with pytest.raises(AnchorFailed, match="egress-refused"):
            await outside(noted, place(server, certificates)).exchange("POST", "/", body=b"a note")
    assert not server.heads
    assert noted.reasons == [Reason.CERTIFICATE]


async def test_authorities_that_are_none_are_that_anchor_s_trouble(certificates: Certificates) -> None:
    async with serving(silent, certificates.context()) as server:
        with pytest.raises(AnchorFailed, match="unreachable"):
            await outside(Noted(), place(server, certificates, ca="nowhere.crt")).exchange("GET", "/")


@pytest.mark.parametrize(
    ("status", "good", "later"), [(200, True, False), (302, False, False), (429, False, True), (503, False, True)]
)
async def test_an_answer_is_an_answer_and_a_redirect_leads_nowhere(
    status: int,
    good: bool,  # noqa: FBT001 -- a case
    later: bool,  # noqa: FBT001 -- as well
    certificates: Certificates,
) -> None:
    noted = Noted()
    raw = b"HTTP/1.1 %d -\r\nLocation: https://elsewhere.example.org/\r\nContent-Length: 2\r\n\r\nok" % status
    async with serving(answers(raw), certificates.context()) as server:
        answer = await outside(noted, place(server, certificates)).exchange("GET", "/")
    assert (answer.status, answer.body, answer.good, answer.later) == (status, b"ok", good, later)
    assert not noted.told
