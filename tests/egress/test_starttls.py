"""A server for mail that begins in clear: it turns to TLS under its own name, or is told nothing and gets nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
import uvloop

from egress.outside import QUICK, Certificates, Manner, Noted, place, serving, way_out
from wellkeep.base.secrets import Secret
from wellkeep.egress import smtp
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, EgressUnreachable, Reason, Trouble
from wellkeep.egress.smtp import Sign

OFFERED = b"250-mail.example.org\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"


def relay(
    said: list[bytes],
    trust: ssl.SSLContext | None,
    *,
    offered: bytes = OFFERED,
    agrees: bytes = b"220 go ahead\r\n",
    after: bytes = b"",
    greeting: bytes = b"220 mail.example.org\r\n",
) -> Manner:
    """Be a relay that turns to TLS with `trust`, and keeps what it heard: in clear before `b"TLS"`, over it after."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while True:
            line = await reader.readuntil(b"\r\n")
            said.append(line)
            if line.startswith(b"EHLO"):
                writer.write(b"250 mail.example.org\r\n" if b"TLS" in said else offered)
            elif line == b"STARTTLS\r\n":
                writer.write(agrees)
                if trust is not None:
                    await writer.start_tls(trust)
                    said.append(b"TLS")
                    writer.write(after)
            elif line.startswith(b"AUTH"):
                writer.write(b"235 welcome\r\n")
            elif line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                said.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            else:
                writer.write(b"250 fine\r\n")
            await writer.drain()

    return talk


async def mail(egress: Egress) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "wellkeep@example.org", "robin@example.org", "Hello"
    message.set_content("the link")
    sign = Sign(user="wellkeep", password=Secret(b"hush"))
    to = "robin@example.org"
    await smtp.send(egress, message, place="siem", sender="wellkeep@example.org", to=to, sign=sign, starttls=True)


async def through(certificates: Certificates, noted: Noted) -> list[bytes]:
    said = list[bytes]()
    async with serving(relay(said, certificates.context()), None) as server:
        await mail(way_out(noted, place(server, certificates)))
    return said


async def test_all_but_the_asking_is_said_over_tls(certificates: Certificates, noted: Noted) -> None:
    said = await through(certificates, noted)
    clear, over = said[: said.index(b"TLS")], said[said.index(b"TLS") + 1 :]
    assert clear == [b"EHLO wellkeep\r\n", b"STARTTLS\r\n"]
    assert over[:2] == [b"EHLO wellkeep\r\n", b"AUTH PLAIN AHdlbGxrZWVwAGh1c2g=\r\n"], "what it is, is asked anew"
    assert b"the link" in over[-1]
    assert not noted.told


def test_it_is_the_same_on_uvloop(certificates: Certificates) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert b"the link" in runner.run(through(certificates, Noted()))[-1]


Hostile = Callable[[list[bytes], Certificates], Manner]
HOSTILE: dict[str, Hostile] = {
    "the word is left out": lambda said, own: relay(said, own.context(), offered=b"250-a.example\r\n250 SIZE 1000\r\n"),
    "the word is hidden in another": lambda said, own: relay(
        said, own.context(), offered=b"250 XSTARTTLS STARTTLS\r\n"
    ),
    "not now": lambda said, _: relay(said, None, agrees=b"454 TLS not available\r\n"),
    "not ever": lambda said, _: relay(said, None, agrees=b"502 what is that\r\n"),
    "an answer in clear behind the agreement": lambda said, own: relay(
        said, own.context(), agrees=b"220 go\r\n250-AUTH PLAIN\r\n250 fine\r\n"
    ),
    "half an answer in clear": lambda said, own: relay(said, own.context(), agrees=b"220 go\r\n2"),
    "no server for mail": lambda said, own: relay(said, own.context(), greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "no end of a line": lambda said, own: relay(said, own.context(), greeting=b"220-" + b"x" * 200_000),
    "no end of lines": lambda said, own: relay(said, own.context(), greeting=b"220-more\r\n" * 1_000),
    "busy": lambda said, own: relay(said, own.context(), greeting=b"421 too many\r\n"),
    "refuses everybody": lambda said, own: relay(said, own.context(), greeting=b"554 go away\r\n"),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_what_does_not_turn_to_tls_gets_nothing(how: str, certificates: Certificates, noted: Noted) -> None:
    said = list[bytes]()
    async with serving(HOSTILE[how](said, certificates), None) as server:
        with pytest.raises(EgressUnreachable) as failed:
            await mail(way_out(noted, place(server, certificates)))
    assert failed.value.trouble is Trouble.NO_TLS
    heard = {line for line in said if line != b"TLS"}
    assert heard <= {b"EHLO wellkeep\r\n", b"STARTTLS\r\n"}, "no sign-in, no address, no mail"
    assert "robin" not in str(failed.value)


async def test_the_certificate_is_checked_as_everywhere(
    certificates: Certificates, noted: Noted, tmp_path: Path
) -> None:
    for other in (Certificates.make(tmp_path, host="another.example.org"), Certificates.make(tmp_path)):
        said = list[bytes]()
        async with serving(relay(said, other.context()), None) as server:
            with pytest.raises(EgressRefused) as refused:
                await mail(way_out(noted, place(server, certificates)))
        assert refused.value.reason is Reason.CERTIFICATE
        assert said == [b"EHLO wellkeep\r\n", b"STARTTLS\r\n"]
    assert noted.reasons == [Reason.CERTIFICATE] * 2


@pytest.mark.parametrize(
    ("greeting", "agrees"),
    [
        (b"", b""),
        (b"220 mail.example.org\r\n", b""),
        (b"220 mail.example.org\r\n", b"220 go\r\n250 fine\r\n250 fine\r\n"),
    ],
    ids=["nothing at all", "nothing to the asking", "in clear alone"],
)
async def test_who_never_turns_to_it_is_given_up(
    certificates: Certificates, noted: Noted, greeting: bytes, agrees: bytes
) -> None:
    said = list[bytes]()
    async with serving(relay(said, None, greeting=greeting, agrees=agrees), None) as server:
        with pytest.raises(EgressUnreachable) as failed:
            await mail(way_out(noted, place(server, certificates), limits=QUICK))
    assert failed.value.trouble is Trouble.TIMED_OUT
    assert not [line for line in said if line.startswith((b"AUTH", b"MAIL", b"RCPT", b"DATA"))]


async def test_no_forbidden_address_is_dialled_in_clear_either(certificates: Certificates, noted: Noted) -> None:
    said = list[bytes]()
    async with serving(relay(said, certificates.context()), None) as server:
        with pytest.raises(EgressRefused):
            await mail(way_out(noted, place(server, certificates, networks=())))
        assert not server.connections
