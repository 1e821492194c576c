"""A syslog receiver has what it read to the end; whatever ends otherwise is sent again."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from egress.outside import PATIENT, Certificates, Noted, place, serving, silent, way_out
from ledger.making import HOST
from sinks.making import LOG, entry, gap
from sinks.receivers import Manner, Syslog
from sinks.streaming import OUT
from wellkeep.base.ids import uuid7
from wellkeep.base.sink_settings import SyslogSink
from wellkeep.egress.dialling import Limits
from wellkeep.egress.errors import EgressRefused, EgressUnreachable
from wellkeep.ledger.actions import Outcome
from wellkeep.ledger.sinks.syslog import SyslogReceiver
from wellkeep.ledger.sinks.trouble import SinkTrouble, Trouble


@asynccontextmanager
async def receiver(
    manner: Manner,
    certificates: Certificates,
    noted: Noted,
    *,
    trusted: Certificates | None = None,
    limits: Limits = PATIENT,
    **more: Any,
) -> AsyncIterator[SyslogReceiver]:
    async with serving(manner, certificates.context()) as server:
        made = SyslogReceiver(
            SyslogSink(name="siem", place="siem", **more),
            egress=way_out(noted, place(server, trusted or certificates), limits=limits),
            host=HOST,
        )
        yield made


async def test_messages_say_who_and_how_bad_and_hold_the_stored_bytes(certificates: Certificates, noted: Noted) -> None:
    syslog = Syslog()
    made = [entry(seq, outcome=outcome) for seq, outcome in enumerate(Outcome)]
    async with receiver(syslog.manner, certificates, noted, facility="local3", enterprise=4711) as to:
        await to.send([*made, gap(4)])
    severities = [message.priority % 8 for message in syslog.messages]
    assert severities == [6, 6, 4, 3, 2]  # authorised, done, denied, failed, gap
    assert {message.priority // 8 for message in syslog.messages} == {19}
    assert {message.name for message in syslog.messages} == {"wellkeep@4711"}
    assert [message.kind for message in syslog.messages] == ["entry"] * 4 + ["gap"]
    assert [body for *_, body in syslog.taken.entries] == [one.text.encode() for one in made]
    assert syslog.taken.gaps[0]["log"] == LOG
    assert syslog.messages[4].told == {"log": LOG, "from": "4", "to": "5", "reason": "missing"}


@pytest.mark.parametrize("format_", ["raw", "ocsf"])
async def test_a_long_entry_goes_in_parts(certificates: Certificates, noted: Noted, format_: str) -> None:
    syslog = Syslog(most=2048)
    long = entry(0, records=tuple(uuid7() for _ in range(600)))
    async with receiver(syslog.manner, certificates, noted, max_bytes=2048, format=format_) as to:
        await to.send([entry(1), long])
    assert len(syslog.messages) > 5
    assert syslog.taken.entries[-1][4] == long.text.encode()
    assert len(syslog.documents) == (2 if format_ == "ocsf" else 0)


async def reset_midway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a little and go away with the rest unread."""
    await reader.read(100)
    writer.transport.abort()


async def end_midway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a little and say goodbye, politely."""
    await reader.read(100)
    writer.close()


async def end_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep the connection and read nothing: what the kernel takes is not what the receiver has."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(30)


async def die_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the kernel acknowledge everything, read nothing, and die."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(0.3)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@pytest.mark.parametrize("manner", [reset_midway, end_midway, end_at_once, never_read, die_unread])
@pytest.mark.parametrize("count", [3, 2_000])
async def test_what_was_not_read_to_the_end_has_not_arrived(
    certificates: Certificates, noted: Noted, manner: Manner, count: int
) -> None:
    """Few entries fit into the kernels' buffers as a whole, many do not."""
    batch = [entry(seq) for seq in range(count)]
    async with receiver(manner, certificates, noted, limits=OUT) as to:
        with pytest.raises((SinkTrouble, TimeoutError)) as failed:
            async with asyncio.timeout(3.5):
                await to.send(batch)
    if isinstance(failed.value, SinkTrouble):
        assert failed.value.code in {Trouble.BROKEN_OFF, Trouble.NOT_CONFIRMED}


@pytest.mark.parametrize("manner", [None, end_midway, end_at_once, never_read, die_unread])
def test_the_server_s_own_event_loop_sees_the_same(certificates: Certificates, manner: Manner | None) -> None:
    """What confirms a batch is how a connection ends, and uvloop, which serves, has its own way with connections."""
    syslog = Syslog()

    async def whole() -> None:
        limits = OUT if manner else PATIENT
        async with receiver(manner or syslog.manner, certificates, Noted(), limits=limits) as to:
            await to.send([entry(seq) for seq in range(5)])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if manner is None:
            runner.run(whole())
        else:
            with pytest.raises(SinkTrouble):
                runner.run(whole())
    assert len(syslog.messages) == (5 if manner is None else 0)


async def test_who_never_shakes_hands_or_proves_nothing(
    certificates: Certificates, other_certificates: Certificates, noted: Noted
) -> None:
    async with serving(silent, None) as server:
        egress = way_out(noted, place(server, certificates), limits=OUT)
        to = SyslogReceiver(SyslogSink(name="siem", place="siem"), egress=egress, host=HOST)
        with pytest.raises(EgressUnreachable):
            await to.send([entry(0)])
    syslog = Syslog()
    async with receiver(syslog.manner, other_certificates, noted, trusted=certificates) as to:
        with pytest.raises(EgressRefused):
            await to.send([entry(0)])
    assert not syslog.messages
