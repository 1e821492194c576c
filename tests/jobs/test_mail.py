"""Mail to staff: over the way out, with a token that stands nowhere else, tried again, and told of when given up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.stack import Stack, entries, stack
from database import Database
from egress.outside import Certificates, Manner, Names, Noted, place, serving, way_out
from egress.test_starttls import relay
from wellkeep.access.people import People
from wellkeep.assembly.home import Home
from wellkeep.base.access_settings import MailSettings
from wellkeep.base.errors import Misconfigured, Unavailable
from wellkeep.base.ids import uuid7
from wellkeep.db.queue import QueuedJob
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused
from wellkeep.egress.smtp import MailRefused
from wellkeep.jobs.mail import MailJobs

EMAIL, PASSWORD = "robin@example.org", "four words nobody says"


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(Path(tmp_path_factory.mktemp("certificates")))


def taking(mails: list[bytes], *, refusing: bytes = b"", code: bytes = b"550") -> Manner:
    """Be a server for mail that keeps what it takes; the command `refusing` is answered with `code`."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: bytes) -> None:
            writer.write(line + b"\r\n")
            await writer.drain()

        await say(b"220-mail.example.org\r\n220 ready")
        while True:
            line = await reader.readuntil(b"\r\n")
            mails.append(line)
            if refusing and line.startswith(refusing):
                await say(code + b" robin@example.org is not wanted here")
            elif line.startswith(b"EHLO"):
                await say(b"250-mail.example.org\r\n250 AUTH PLAIN")
            elif line.startswith(b"AUTH"):
                await say(b"235 welcome")
            elif line.startswith(b"DATA"):
                await say(b"354 go on")
                mails.append(await reader.readuntil(b"\r\n.\r\n"))
                await say(b"250 taken")
            else:
                await say(b"250 fine")

    return talk


def jobs(opened: Stack, egress: Egress, home: Path, **more: Any) -> MailJobs:
    mail = MailSettings(place="siem", sender="wellkeep@example.org", site="w.example", **more)
    settings = SimpleNamespace(mail=mail, host="w.example", listen=SimpleNamespace(public="127.0.0.1:443"))
    core: Any = SimpleNamespace(settings=settings, app=opened.gate._pool, egress=egress, findings=opened.findings)
    return MailJobs(core, Home(home))


async def invited(opened: Stack, tenant: UUID) -> QueuedJob:
    people = People(gate=opened.gate, mails=True)
    made = await people.invite(opened.operator, tenant=tenant, email=EMAIL, name="Robin Doe", roles=["coach"])
    assert made.invitation.token is None
    async with opened.database.connect() as connection:
        row = await connection.fetchrow("SELECT id, kind, resource_id FROM queue.job WHERE tenant_id = $1", tenant)
        assert row is not None
        assert (row["kind"], row["resource_id"]) == ("mail.invitation", made.invitation.id)
    return QueuedJob(tenant, row["id"], row["kind"], row["resource_id"], 1)


async def join(opened: Stack, token: str) -> httpx.Response:
    async with opened.client() as client:
        return await client.post("/v1/invitations/accept", json={"token": token, "password": PASSWORD})


async def test_the_link_is_in_the_mail_and_nowhere_else(
    opened: Stack, certificates: Certificates, tmp_path: Path
) -> None:
    tenant = await opened.tenant("st-elsewhere")
    job, mails = await invited(opened, tenant), list[bytes]()
    secret = tmp_path / "mail.password"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    async with serving(taking(mails), certificates.context()) as server:
        egress = way_out(Noted(), place(server, certificates))
        work = jobs(opened, egress, tmp_path, user="wellkeep", password_file="mail.password")
        await work.send(job, lambda: False)
        await work.send(job, lambda: False)
        assert server.connections == 1, "sent is sent"
    said = b"".join(mails)
    assert b"AUTH PLAIN AHdlbGxrZWVwAGh1c2g=\r\n" in said
    assert b"RCPT TO:<robin@example.org>\r\n" in said
    assert b"Robin" not in said
    assert b"st-elsewhere" not in said
    link = re.search(rb"https://w\.example/invitation#(\S+)", said)
    assert link is not None
    token = link[1].decode()
    told = str(await entries(opened, tenant)) + opened.log.getvalue()
    async with opened.database.connect() as connection:
        told += str(await connection.fetch("SELECT i::text, encode(payload, 'escape') FROM queue.pgqueuer AS i"))
    assert token.split(".")[1] not in told
    assert EMAIL not in told
    assert (await join(opened, token)).status_code == 200
    assert (await join(opened, token)).status_code == 401


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        (b"RCPT", b"550", MailRefused),
        (b"RCPT", b"451", Unavailable),
        (b"EHLO", b"hello", Unavailable),
        (b"DATA", b"250", Unavailable),
        (b"MAIL", b"25", Unavailable),
    ],
)
async def test_what_is_not_taken_is_tried_again_or_given_up_and_told_of(
    opened: Stack,
    certificates: Certificates,
    tmp_path: Path,
    command: bytes,
    code: bytes,
    error: type[Exception],
) -> None:
    tenant = await opened.tenant("st-elsewhere")
    job, mails = await invited(opened, tenant), list[bytes]()
    async with serving(taking(mails, refusing=command, code=code), certificates.context()) as server:
        work = jobs(opened, way_out(Noted(), place(server, certificates)), tmp_path)
        with pytest.raises(error) as failed:
            await work.send(job, lambda: False)
    assert "robin" not in str(failed.value)
    async with serving(taking(mails), certificates.context()) as server:
        await jobs(opened, way_out(Noted(), place(server, certificates)), tmp_path).send(job, lambda: False)
    assert b"invitation#" in mails[-1], "and the next run sends it"
    await work.held(job, "mail-refused")
    await opened.findings.flush()
    found = [one for one in await opened.findings.list(tenant) if one.kind == "mail.failed"]
    assert [one.detail for one in found] == [{"job": str(job.id), "error": "mail-refused"}]


async def test_a_relay_that_turns_to_tls_gets_it_where_the_settings_say_so(
    opened: Stack, certificates: Certificates, tmp_path: Path
) -> None:
    job, said = await invited(opened, await opened.tenant("st-elsewhere")), list[bytes]()
    async with serving(relay(said, certificates.context()), None) as server:
        egress = way_out(Noted(), place(server, certificates))
        await jobs(opened, egress, tmp_path, tls="starttls").send(job, lambda: False)
    assert b"invitation#" in said[-1]
    assert said.index(b"TLS") == 2


async def test_nothing_is_said_to_who_is_not_the_place(
    opened: Stack, certificates: Certificates, tmp_path: Path
) -> None:
    tenant = await opened.tenant("st-elsewhere")
    job, mails = await invited(opened, tenant), list[bytes]()
    other = Certificates.make(tmp_path, host="another.example.org")
    async with serving(taking(mails), other.context()) as server:
        with pytest.raises(EgressRefused):
            await jobs(opened, way_out(Noted(), place(server, certificates)), tmp_path).send(job, lambda: False)
    assert mails == []


async def test_who_was_disabled_or_has_no_server_gets_none(
    opened: Stack, certificates: Certificates, tmp_path: Path
) -> None:
    tenant = await opened.tenant("st-elsewhere")
    job, mails = await invited(opened, tenant), list[bytes]()
    async with serving(taking(mails), certificates.context()) as server:
        work = jobs(opened, way_out(Noted(), place(server, certificates)), tmp_path)
        await work.send(QueuedJob(tenant, job.id, job.kind, uuid7(), 1), lambda: False)
        await work.send(QueuedJob(tenant, job.id, job.kind, None, 1), lambda: False)
        async with opened.database.connect() as connection:
            await connection.execute("UPDATE access.person SET state = 'disabled', disabled_at = now()")
        await work.send(job, lambda: False)
    assert mails == []
    without = jobs(opened, way_out(Noted(), place(server, certificates), names=Names([[]])), tmp_path)
    without._core.settings.mail = MailSettings()  # type: ignore[misc]  # the tests' own core
    with pytest.raises(Misconfigured):
        await without.send(job, lambda: False)
