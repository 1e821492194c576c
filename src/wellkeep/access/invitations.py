"""Links by which a person sets a password: made, and taken once.

Rules: a link is good once and for 72 hours; a new one makes those before it worthless, and so does correcting the
address that it was sent to; its secret stands in the part of
the address after `#`, which no browser sends and no log holds, and here only as a digest. Who resets a person takes the
password, and the sessions, at once: the reason may be that somebody else has them. An unknown link and a used one take
the same steps and get the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from wellkeep.access import session_format
from wellkeep.access.sessions import end_all
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection
from wellkeep.db.queue import enqueue

MAIL_JOB: Final = "mail.invitation"
Kind = Literal["join", "reset"]

_INSERT = """
INSERT INTO access.invitation (tenant_id, id, person_id, kind, digest, created_at, expires_at)
SELECT wk.tenant(), $1, $2, $3, $4, now, now + interval '72 hours' FROM (SELECT clock_timestamp() AS now) AS at
RETURNING expires_at
"""
_SUPERSEDE = "UPDATE access.invitation SET used_at = clock_timestamp() WHERE person_id = $1 AND used_at IS NULL"
_TAKE_PASSWORD = "DELETE FROM access.password WHERE person_id = $1"  # noqa: S105 -- a statement
_TAKE_FACTORS = "DELETE FROM access.factor WHERE person_id = $1"
_TAKE_CODES = "DELETE FROM access.recovery_code WHERE person_id = $1"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link: its token, this once, or None where it goes out by mail."""

    id: UUID
    token: Secret[str] | None
    expires_at: datetime

    def link(self, host: str) -> str | None:
        """Return the address to send the person to, whose secret no server is told by opening it."""
        return None if self.token is None else link_to(host, self.token)


def link_to(host: str, token: Secret[str]) -> str:
    """Return the address of a link on `host` (a name, with a port where it is not 443)."""
    return f"https://{host}/invitation#{token.reveal()}"


async def void(connection: Connection, person: UUID) -> None:
    """Make every link of `person` worthless, within the transaction of `connection`, who holds the person's row."""
    await connection.execute(_SUPERSEDE, person)


async def invite_to(
    connection: Connection, person: UUID, *, kind: Kind, mails: bool, factors: bool = False
) -> Invitation:
    """Make a link for `person`, within the transaction of `connection`; those before it are worthless from then on.

    `mails`: it is sent by a job, and its token is made then. `factors`: the second factors are taken, too.
    """
    await void(connection, person)
    if kind == "reset":
        await connection.execute(_TAKE_PASSWORD, person)
        await end_all(connection, person, because="reset")
    if factors:
        await connection.execute(_TAKE_FACTORS, person)
        await connection.execute(_TAKE_CODES, person)
    identifier = uuid7()
    token = None if mails else session_format.new_secret(identifier)
    digest = None if token is None else session_format.digest(token.reveal())
    expires = await connection.fetchval(_INSERT, identifier, person, kind, digest)
    if mails:
        await enqueue(connection, kind=MAIL_JOB, resource=identifier)
    return Invitation(identifier, token, expires)
