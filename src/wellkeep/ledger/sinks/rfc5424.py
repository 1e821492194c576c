r"""The syslog protocol's messages (RFC 5424) and their frames over TLS (RFC 5425): pure bytes.

    <PRI>1 TIMESTAMP HOSTNAME wellkeep - MSGID [SD-ID name="value" …] MSG       frame: MSG-LEN SP SYSLOG-MSG

Rules: what is told about a record stands in structured data, escaped as section 6.3.3 says (`"`, `\`, `]`); MSG is
ASCII without a byte-order mark, so a receiver hands it on as it is. A receiver need not take more than 2,048 octets
(RFC 5425, section 4.3.1), so what would be longer than it was said to take goes in parts: `part` i of `parts`, which
share `leaf` (a gap's `log`, `from`, `to`), and whose MSGs joined in order are the record. A part has room for a quarter
of what the receiver takes, whatever is told before it, so that no record becomes more than it can send.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

FACILITIES: Final[Mapping[str, int]] = {
    "auth": 4,
    "authpriv": 10,
    "audit": 13,
    **{f"local{number}": 16 + number for number in range(8)},
}
_APPLICATION = "wellkeep"
_LEAST_ROOM = 4
_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "]": "\\]"})


class Severity(IntEnum):
    """The severities used (RFC 5424, table 2)."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    INFORMATIONAL = 6


class Header:
    """What all messages of a sink share."""

    def __init__(self, *, facility: int, host: str, enterprise: int) -> None:
        """`facility` is a number of table 1, `host` a DNS name, `enterprise` a private enterprise number."""
        self._facility = facility
        self._host = host
        self._id = f"{_APPLICATION}@{enterprise}"

    def message(self, body: bytes, *, severity: Severity, time: str, kind: str, told: Mapping[str, str | int]) -> bytes:
        """Return one SYSLOG-MSG; `time` is RFC 3339, `kind` the MSGID, `told` the structured data."""
        said = "".join(f' {name}="{str(value).translate(_ESCAPES)}"' for name, value in told.items())
        priority = self._facility * 8 + severity
        head = f"<{priority}>1 {time} {self._host} {_APPLICATION} - {kind} [{self._id}{said}] "
        return head.encode("utf-8") + body

    def parts(
        self, body: bytes, *, severity: Severity, time: str, kind: str, told: Mapping[str, str | int], most: int
    ) -> list[bytes]:
        """Return the record as one message of at most `most` octets, or as several; `body` is ASCII."""
        whole = self.message(body, severity=severity, time=time, kind=kind, told=told)
        if len(whole) <= most:
            return [whole]
        numbered = dict(told) | {"part": len(body), "parts": len(body)}
        head = len(self.message(b"", severity=severity, time=time, kind=kind, told=numbered))
        room = max(most - head, most // _LEAST_ROOM)
        pieces = [body[at : at + room] for at in range(0, len(body), room)]
        return [
            self.message(
                piece, severity=severity, time=time, kind=kind, told=dict(told) | {"part": part, "parts": len(pieces)}
            )
            for part, piece in enumerate(pieces, start=1)
        ]


def frame(message: bytes) -> bytes:
    """Return a message with its length before it, as it goes over TLS."""
    return b"%d %b" % (len(message), message)
