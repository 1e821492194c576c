"""RFC 5424 over TLS (RFC 5425), to a place of egress: one connection a batch, ended so that its arrival is known.

The protocol has no acknowledgement, and what a sender wrote may lie unread when the receiver ends. So a batch counts as
arrived only after (1) the receiver's machine has acknowledged every byte while the connection stood, and (2) our
close_notify was answered by an end in good order: who closes with bytes unread resets the connection instead (RFC 2525,
section 2.17, and what Linux and the BSDs do), and then all of it is sent again. What a receiver loses after it has read
it nobody can see from here; the chain of `prev` and `leaf` shows it there.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from asyncio.trsock import TransportSocket
from collections.abc import Sequence
from typing import Final

from wellkeep.base.sink_settings import SyslogSink
from wellkeep.egress.egress import Egress
from wellkeep.ledger.actions import Outcome
from wellkeep.ledger.sinks.receiver import FORMATS, written
from wellkeep.ledger.sinks.records import Gap, Record
from wellkeep.ledger.sinks.rfc5424 import FACILITIES, Header, Severity, frame
from wellkeep.ledger.sinks.trouble import SinkTrouble, Trouble

_SEVERITIES: Final = {Outcome.DENIED.value: Severity.WARNING, Outcome.FAILED.value: Severity.ERROR}
_LOOK_SECONDS: Final = 0.005
_CLEAN_LOOKS: Final = 2


class SyslogReceiver:
    """Sends to one place."""

    def __init__(self, sink: SyslogSink, *, egress: Egress, host: str) -> None:
        """`host` is the deployment's name, which every message says it is from."""
        self._sink = sink
        self._egress = egress
        self._header = Header(facility=FACILITIES[sink.facility], host=host, enterprise=sink.enterprise)

    async def send(self, batch: Sequence[Record]) -> None:
        """Send `batch` and return once it was read. Raises SinkTrouble, EgressRefused, EgressUnreachable."""
        frames = b"".join(await written(batch, self._frames))
        reader, writer = await self._egress.stream(self._sink.place)
        try:
            await self._hand_over(reader, writer, frames)
        except TimeoutError:
            raise SinkTrouble(Trouble.NOT_CONFIRMED) from None
        except OSError:  # ssl.SSLError is one
            raise SinkTrouble(Trouble.BROKEN_OFF) from None
        finally:
            writer.transport.abort()

    async def _hand_over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: bytes) -> None:
        socket = writer.get_extra_info("socket")
        writer.write(frames)
        await writer.drain()
        clean = 0
        while clean < _CLEAN_LOOKS:
            await asyncio.sleep(_LOOK_SECONDS)
            if reader.at_eof() or writer.is_closing():
                raise SinkTrouble(Trouble.BROKEN_OFF)
            waiting = writer.transport.get_write_buffer_size() or _unacknowledged(socket)
            clean = 0 if waiting else clean + 1
        writer.close()
        await writer.wait_closed()

    def _frames(self, record: Record) -> bytes:
        return b"".join(frame(message) for message in self._messages(record))

    def _messages(self, record: Record) -> list[bytes]:
        """Return the messages of a record: one, or its parts."""
        kind, severity = "gap", Severity.CRITICAL
        body = FORMATS[self._sink.format](record)
        if isinstance(record, Gap):
            told: dict[str, str | int] = {
                "log": record.origin,
                "from": record.first,
                "to": record.end,
                "reason": record.why.value,
            }
        else:
            told = {"log": record.origin, "seq": record.seq, "prev": record.prev, "leaf": record.leaf}
            kind, severity = "entry", _SEVERITIES.get(str(record.event.get("outcome")), Severity.INFORMATIONAL)
            if self._sink.format == "raw":
                body = record.text.encode("utf-8")
        return self._header.parts(
            body, severity=severity, time=record.time, kind=kind, told=told, most=self._sink.max_bytes
        )


def _unacknowledged(socket: TransportSocket) -> int:
    """Return how many bytes the receiver's machine has not acknowledged (Linux, tcp(7): SIOCOUTQ)."""
    (count,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)
