"""Splunk's HTTP Event Collector, to a place of egress: batches of events, arrived when it answers 200 and code 0.

Rules: the token is read from its 0600 file for each batch, so that a new one needs no restart, and is in no message; of
an answer nothing is kept but its status, its code and how long it asks us to wait. Source: Splunk's manuals, "Format
events for HTTP Event Collector" and "Troubleshoot HTTP Event Collector" (its codes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import orjson

from wellkeep.base.clock import Clock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secret_files import read_secret
from wellkeep.base.sink_settings import HecSink
from wellkeep.egress.egress import Egress
from wellkeep.ledger.sinks.receiver import FORMATS, written
from wellkeep.ledger.sinks.records import Record
from wellkeep.ledger.sinks.trouble import SinkTrouble, Trouble

_PATH: Final = "/services/collector/event"
_OK, _CLIENT_ERROR, _SERVER_ERROR = 200, 400, 500
_BUSY: Final = frozenset({429, 503})
_UNAUTHORISED: Final = frozenset({401, 403})
_LONGEST_WAIT: Final = 300.0


class HecReceiver:
    """Posts to one collector."""

    def __init__(self, sink: HecSink, *, egress: Egress, host: str, token: Path, clock: Clock) -> None:
        """`host` is the deployment's name, `token` the file of the collector's token."""
        self._sink = sink
        self._egress = egress
        self._token = token
        self._clock = clock
        self._write = FORMATS[sink.format]
        told = {"host": host, "source": f"wellkeep:{sink.name}", "sourcetype": sink.sourcetype}
        self._told = told if sink.index is None else told | {"index": sink.index}

    async def send(self, batch: Sequence[Record]) -> None:
        """Post `batch`. Raises SinkTrouble, EgressRefused, EgressUnreachable."""
        try:
            token = read_secret(self._token)
            authorization = b"Splunk " + token.reveal()
        except Misconfigured:
            raise SinkTrouble(Trouble.TOKEN) from None
        body = b"\n".join(await written(batch, self._event))
        headers = {b"Authorization": authorization, b"Content-Type": b"application/json"}
        async with self._egress.http(self._sink.place) as client:
            answer = await client.post(_PATH, content=body, headers=headers)
        if answer.status_code != _OK:
            raise SinkTrouble(_said(answer.status_code), retry_after=self._asked(answer.headers))
        _check(answer.content)

    def _event(self, record: Record) -> bytes:
        time = datetime.fromisoformat(record.time).timestamp()
        told = orjson.dumps({"time": round(time, 6), **self._told})
        return told[:-1] + b',"event":' + self._write(record) + b"}"

    def _asked(self, headers: Mapping[str, str]) -> float:
        """Return how long we are asked to wait, in seconds or until a date (RFC 9110, section 10.2.3)."""
        said = headers.get("retry-after", "")
        try:
            seconds = float(said)
        except ValueError:
            seconds = self._until(said)
        return min(max(seconds, 0.0), _LONGEST_WAIT) if math.isfinite(seconds) else 0.0

    def _until(self, date: str) -> float:
        try:
            until = parsedate_to_datetime(date)
        except (ValueError, OverflowError):  # a year, or a day, that no calendar has
            return 0.0
        aware = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return (aware - self._clock.now()).total_seconds()


def _said(status: int) -> Trouble:
    if status in _BUSY:
        return Trouble.BUSY
    if status in _UNAUTHORISED:
        return Trouble.UNAUTHORISED
    if _CLIENT_ERROR <= status < _SERVER_ERROR:
        return Trouble.REJECTED
    return Trouble.FAILING


def _check(content: bytes) -> None:
    """Raise SinkTrouble unless `content` is the collector's word that it has the events."""
    try:
        said: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise SinkTrouble(Trouble.NO_ANSWER) from None
    if not isinstance(said, dict) or type(said.get("code")) is not int:
        raise SinkTrouble(Trouble.NO_ANSWER)
    if said["code"] != 0:
        raise SinkTrouble(Trouble.NOT_CONFIRMED)
