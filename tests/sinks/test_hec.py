"""The collector has a batch only where it says so; what it asks for is kept; its token is in no message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from egress.outside import (
    PATIENT,
    Certificates,
    Noted,
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
from ledger.making import HOST, SetClock
from sinks.making import entry, gap
from sinks.receivers import TOKEN, Collector
from sinks.streaming import OUT
from wellkeep.base.sink_settings import HecSink
from wellkeep.egress.dialling import Limits
from wellkeep.egress.errors import EgressRefused, EgressUnreachable
from wellkeep.ledger.sinks.hec import HecReceiver
from wellkeep.ledger.sinks.trouble import SinkTrouble, Trouble

OK = b'{"text":"Success","code":0}'


@asynccontextmanager
async def receiver(
    manner: Any,
    certificates: Certificates,
    noted: Noted,
    home: Path,
    *,
    trusted: Certificates | None = None,
    limits: Limits = PATIENT,
    **more: Any,
) -> AsyncIterator[HecReceiver]:
    token = home / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    async with serving(manner, certificates.context()) as server:
        made = HecReceiver(
            HecSink(name="splunk", place="siem", token="token", **more),
            egress=way_out(noted, place(server, trusted or certificates), limits=limits),
            host=HOST,
            token=token,
            clock=SetClock(),
        )
        yield made


@pytest.mark.parametrize(("format_", "index"), [("raw", None), ("ocsf", "audit")])
async def test_events_in_the_collector_s_form(
    certificates: Certificates, noted: Noted, tmp_path: Path, format_: str, index: str | None
) -> None:
    collector = Collector()
    async with receiver(
        collector.manner, certificates, noted, tmp_path, format=format_, index=index, sourcetype="our:type"
    ) as made:
        await made.send([entry(0), gap(1)])
    first, second = collector.events
    assert first["time"] == 1777816920.123456
    assert (first["host"], first["source"], first["sourcetype"]) == (HOST, "wellkeep:splunk", "our:type")
    assert first.get("index") == index
    assert ("class_uid" in first["event"]) == ("class_uid" in second["event"]) == (format_ == "ocsf")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((400, b"", b'{"text":"Invalid data format","code":6}'), Trouble.REJECTED),
        ((401, b"", b""), Trouble.UNAUTHORISED),
        ((403, b"", b""), Trouble.UNAUTHORISED),
        ((413, b"", b""), Trouble.REJECTED),
        ((429, b"", b""), Trouble.BUSY),
        ((500, b"", b""), Trouble.FAILING),
        ((503, b"", b'{"text":"Server is busy","code":9}'), Trouble.BUSY),
        ((302, b"Location: https://elsewhere.example/\r\n", b""), Trouble.FAILING),
        ((201, b"", OK), Trouble.FAILING),
        ((200, b"", b'{"text":"Server is busy","code":9}'), Trouble.NOT_CONFIRMED),
        ((200, b"", b'{"text":"Success"}'), Trouble.NO_ANSWER),
        ((200, b"", b'{"code":"0"}'), Trouble.NO_ANSWER),
        ((200, b"", b'{"code":false}'), Trouble.NO_ANSWER),
        ((200, b"", b"[0]"), Trouble.NO_ANSWER),
        ((200, b"", b"<html>welcome to this hotel</html>"), Trouble.NO_ANSWER),
    ],
)
async def test_whatever_is_not_its_word_for_done_is_trouble(
    certificates: Certificates, noted: Noted, tmp_path: Path, answer: tuple[int, bytes, bytes], code: Trouble
) -> None:
    collector = Collector(answers=[answer])
    async with receiver(collector.manner, certificates, noted, tmp_path) as made:
        with pytest.raises(SinkTrouble) as failed:
            await made.send([entry(0)])
        assert (failed.value.code, failed.value.retry_after) == (code, 0.0)
        assert TOKEN not in repr(failed.value)
        await made.send([entry(0)])
    assert collector.taken.seqs(collector.taken.logs[0]) == [0]


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        ("1.5", 1.5, 1.5),
        ("-4", 0, 0),
        ("100000", 300, 300),
        ("nan", 0, 0),
        ("inf", 0, 0),
        ("soon", 0, 0),
        ("9" * 5_000, 0, 0),
        ("Sun, 03 May 99999999999999999999 14:02:00 GMT", 0, 0),
        ("Sun, 03 May 2026 14:02:00 +99999999", 0, 0),
        ("in a minute", 30, 61),
        ("Sun, 03 May 2026 14:02:00 -0000", 0, 0),
    ],
)
async def test_it_says_how_long_to_wait(
    certificates: Certificates, noted: Noted, tmp_path: Path, said: str, least: float, most: float
) -> None:
    if said == "in a minute":  # as a date, which is another one each time
        said = format_datetime(SetClock().now() + timedelta(seconds=60))
    collector = Collector(answers=[(429, f"Retry-After: {said}\r\n".encode(), b"")])
    async with receiver(collector.manner, certificates, noted, tmp_path) as made:
        with pytest.raises(SinkTrouble) as failed:
            await made.send([entry(0)])
    assert least <= failed.value.retry_after <= most


async def test_a_token_that_others_can_read_is_not_used(
    certificates: Certificates, noted: Noted, tmp_path: Path
) -> None:
    collector = Collector()
    async with receiver(collector.manner, certificates, noted, tmp_path) as made:
        (tmp_path / "token").chmod(0o644)
        with pytest.raises(SinkTrouble) as failed:
            await made.send([entry(0)])
        assert failed.value.code == Trouble.TOKEN
        assert failed.value.__cause__ is None
        (tmp_path / "token").chmod(0o600)
        await made.send([entry(0)])
        (tmp_path / "token").write_text("another")
        with pytest.raises(SinkTrouble) as failed:
            await made.send([entry(1)])
        assert failed.value.code == Trouble.UNAUTHORISED


@pytest.mark.parametrize("manner", [silent, drip, dripping_head, endless, midway, rubbish])
async def test_a_collector_without_manners_is_left(
    certificates: Certificates, noted: Noted, tmp_path: Path, manner: Any
) -> None:
    async with receiver(manner, certificates, noted, tmp_path, limits=OUT) as made:
        with pytest.raises(EgressUnreachable):
            await made.send([entry(0)])


async def test_a_wrong_certificate_gets_neither_token_nor_entry(
    certificates: Certificates, other_certificates: Certificates, noted: Noted, tmp_path: Path
) -> None:
    collector = Collector()
    async with receiver(collector.manner, other_certificates, noted, tmp_path, trusted=certificates) as made:
        with pytest.raises(EgressRefused):
            await made.send([entry(0)])
    assert not collector.requests
