"""Mail to staff: the link of an invitation or of a reset.

Rules: a job holds ids alone; the token is made when the mail is sent, kept as a digest, and stands nowhere but in that
mail; a run that is repeated makes another, and the one before is worthless. A mail names nobody and nothing but the
deployment's host. What a server does not take is tried again, and then is a finding that holds ids.
"""

from __future__ import annotations

from email.message import EmailMessage
from typing import Final

from wellkeep.access import session_format
from wellkeep.access.invitations import MAIL_JOB, link_to
from wellkeep.assembly.accounts import site
from wellkeep.assembly.core import Core
from wellkeep.assembly.home import Home
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secret_files import read_secret
from wellkeep.db.queue import QueuedJob, Stopping
from wellkeep.egress import smtp
from wellkeep.egress.smtp import Sign
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.jobs.handlers import GiveUp, Handler

_MAKE = """
UPDATE access.invitation AS i SET digest = $2 FROM access.person AS p
WHERE i.id = $1 AND i.used_at IS NULL AND i.mailed_at IS NULL AND i.expires_at > clock_timestamp()
  AND p.id = i.person_id AND p.state <> 'disabled'
RETURNING i.kind, i.expires_at, p.email
"""
_SENT = "UPDATE access.invitation SET mailed_at = clock_timestamp() WHERE id = $1"
_SUBJECTS: Final = {"join": "Your invitation to {host}", "reset": "Set a new password at {host}"}
_TEXT: Final = """\
Somebody who administers {host} asks you to set a password there.

{link}

The link is good once, until {until} UTC. If you did not expect this mail, leave it be, and tell who administers {host}.
"""


class MailJobs:
    """Sends the mails that wait."""

    def __init__(self, core: Core, home: Home) -> None:
        """Send by the settings of `core`; a password's file lies below `home`."""
        self._core = core
        self._home = home

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {MAIL_JOB: self.send}

    def give_up(self) -> dict[str, GiveUp]:
        """Return whom to tell of a mail that is held."""
        return {MAIL_JOB: self.held}

    async def send(self, job: QueuedJob, _stopping: Stopping) -> None:
        """Send the mail of one invitation, unless it was sent, taken, or is over. Raises what `smtp.send` does."""
        mail = self._core.settings.mail
        if mail.place is None or mail.sender is None:
            raise Misconfigured("A mail waits, and [mail] names no server")
        if job.resource is None:
            return
        token = session_format.new_secret(job.resource)
        digest = session_format.digest(token.reveal())
        async with self._core.app.tenant_transaction(tenant=job.tenant) as connection:
            row = await connection.fetchrow(_MAKE, job.resource, digest)
        if row is None:
            return
        where = mail.site or site(self._core.settings).authority
        host = where.partition(":")[0]
        message = EmailMessage()
        message["From"], message["To"] = mail.sender, row["email"]
        message["Subject"] = _SUBJECTS[row["kind"]].format(host=host)
        message["Auto-Submitted"] = "auto-generated"
        until = f"{row['expires_at']:%Y-%m-%d %H:%M}"
        text = _TEXT.format(host=host, link=link_to(where, token), until=until)
        message.set_content(text, cte="7bit")  # no line is folded: the link stays one
        await smtp.send(
            self._core.egress,
            message,
            place=mail.place,
            sender=mail.sender,
            to=row["email"],
            sign=self._sign(),
            starttls=mail.tls == "starttls",
        )
        async with self._core.app.tenant_transaction(tenant=job.tenant) as connection:
            await connection.execute(_SENT, job.resource)

    async def held(self, job: QueuedJob, error: str) -> None:
        """Report a mail that was given up."""
        self._core.findings.note(
            job.tenant,
            kind=Kind.MAIL_FAILED,
            severity=Severity.MEDIUM,
            key=finding_key(Kind.MAIL_FAILED, job.resource or job.id),
            detail={"job": str(job.id), "error": error},
        )

    def _sign(self) -> Sign | None:
        mail = self._core.settings.mail
        if mail.user is None or mail.password_file is None:
            return None
        return Sign(user=mail.user, password=read_secret(self._home.resolve(mail.password_file)))
