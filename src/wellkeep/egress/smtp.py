"""One mail to one server, over a connection that egress made: TLS from the first byte (RFC 8314), then RFC 5321.

Where the server has STARTTLS alone (RFC 3207), as relays on port 587 do, it is asked for it and for nothing else in
clear; what does not turn to TLS gets no mail, whether the server or somebody in between left the word out.

Rules: nothing else is said before the certificate was checked against the place's own name; a line of an answer, the
whole talk and what is sent are bounded; a text of the server's never leaves this module, for it quotes addresses. What
may pass by itself is `EgressUnreachable` and is tried again; a server that refuses for good raises `MailRefused`.
"""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from typing import Final

from wellkeep.base.errors import WellkeepError
from wellkeep.base.secrets import Secret
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressUnreachable, Trouble

SECONDS: Final = 30.0
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}")
"""What stands in a command and in a header as it is, whoever reads it."""
_MOST_LINES: Final = 64
_HELLO: Final = b"EHLO wellkeep"
_STARTTLS: Final = b"STARTTLS"
_SERVICE_READY, _DONE, _SIGNED_IN, _GO_ON, _PERMANENT = 220, 250, 235, 354, 500


_NO_TALK: Final = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)
"""asyncio.IncompleteReadError is an EOFError; a line too long is none of the others."""


class MailRefused(WellkeepError):
    """The server does not take this mail, and will not take it later either."""

    code = "mail-refused"
    status = 502
    title = "The server for mail refused a mail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Who signs in to the server."""

    user: str
    password: Secret[bytes]


async def send(
    egress: Egress,
    message: EmailMessage,
    *,
    place: str,
    sender: str,
    to: str,
    sign: Sign | None,
    starttls: bool = False,
) -> None:
    """Hand `message` to the server at `place`, which turns to TLS first with `starttls`, and speaks it anyway without.

    Raises MailRefused, EgressRefused, EgressUnreachable.
    """
    if _ADDRESS.fullmatch(to) is None:
        raise MailRefused("An address that this server can't be told without a doubt gets no mail")
    body = message.as_bytes(policy=SMTP)
    reader, writer = await egress.stream(place, before=partial(_turn_to_tls, place) if starttls else None)
    try:
        async with asyncio.timeout(SECONDS):
            talk = _Talk(reader, writer)
            if not starttls:
                await talk.hear(_SERVICE_READY)
            await talk.say(_HELLO, _DONE)
            if sign is not None:
                secret = base64.b64encode(b"\0" + sign.user.encode() + b"\0" + sign.password.reveal())
                await talk.say(b"AUTH PLAIN " + secret, _SIGNED_IN)
            await talk.say(b"MAIL FROM:<" + sender.encode() + b">", _DONE)
            await talk.say(b"RCPT TO:<" + to.encode() + b">", _DONE)
            await talk.say(b"DATA", _GO_ON)
            await talk.say(_stuffed(body) + b".", _DONE)
    except TimeoutError:
        raise EgressUnreachable(place=place, trouble=Trouble.TIMED_OUT) from None
    except _NO_TALK:
        raise EgressUnreachable(place=place, trouble=Trouble.BROKEN_OFF) from None
    finally:
        writer.transport.abort()


async def _turn_to_tls(place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for TLS in clear. Raises EgressUnreachable where the server does not offer it, or does not agree."""
    talk = _Talk(reader, writer)
    try:
        await talk.hear(_SERVICE_READY)
        offered = _STARTTLS in await talk.say(_HELLO, _DONE)
        if offered:
            await talk.say(_STARTTLS, _SERVICE_READY)
    except (MailRefused, *_NO_TALK):
        offered = False
    if not offered:
        raise EgressUnreachable(place=place, trouble=Trouble.NO_TLS)


class _Talk:
    """What is said and heard, line by line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, line: bytes, wanted: int) -> set[bytes]:
        self._writer.write(line + b"\r\n")
        await self._writer.drain()
        return await self.hear(wanted)

    async def hear(self, wanted: int) -> set[bytes]:
        """Read an answer to its last line, and return the first word of each, in capitals.

        Raises MailRefused, EOFError where it is none, or one for later.
        """
        words = set[bytes]()
        for _ in range(_MOST_LINES):
            line = await self._reader.readuntil(b"\n")
            code = int(line[:3])  # a ValueError where it is no answer of a server for mail
            words.update(line[4:].upper().split()[:1])
            if line[3:4] != b"-":
                break
        else:
            raise EOFError
        if code >= _PERMANENT:
            raise MailRefused
        if code != wanted:
            raise EOFError
        return words


def _stuffed(body: bytes) -> bytes:
    """Return the body with its last line ended and a dot before each line that begins with one (RFC 5321, 4.5.2)."""
    whole = body if body.endswith(b"\r\n") else body + b"\r\n"
    return (b"." + whole if whole.startswith(b".") else whole).replace(b"\r\n.", b"\r\n..")
