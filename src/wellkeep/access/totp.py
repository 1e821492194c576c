"""Codes of authenticator apps (RFC 6238): six digits, thirty seconds, SHA-1, as every app has it.

Rules: the secret is 160 random bits, told once and sealed since; a code is taken for the step before, the one now and
the one after (a phone's clock), and no step twice: the last one is stored and compared in one UPDATE that two workers
can't both win. The database's clock says what time it is. A factor counts from the first right code on.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import pyotp

from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection

SECRET_BYTES: Final = 20
STEP_SECONDS: Final = 30
_CODE = re.compile(r"[0-9]{6}")
_ISSUER = "wellkeep"

_DROP_UNCONFIRMED = "DELETE FROM access.factor WHERE person_id = $1 AND kind = 'totp' AND confirmed_at IS NULL"
_INSERT = """
INSERT INTO access.factor (tenant_id, id, person_id, kind, name, sealed, created_at)
VALUES (wk.tenant(), $1, $2, 'totp', $3, $4, clock_timestamp())
"""
_LOOK = """
SELECT id, sealed, floor(extract(epoch FROM clock_timestamp()) / 30)::bigint AS step FROM access.factor
WHERE person_id = $1 AND kind = 'totp' AND (confirmed_at IS NOT NULL) = $2 AND ($3::uuid IS NULL OR id = $3)
"""
_USE = """
UPDATE access.factor SET last_step = $2, last_used_at = clock_timestamp(),
  confirmed_at = coalesce(confirmed_at, clock_timestamp())
WHERE id = $1 AND (last_step IS NULL OR last_step < $2) RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """An app that is being set up: its secret in base32, and the same as the address of a QR code; this once."""

    id: UUID
    secret: str = field(repr=False)
    uri: str = field(repr=False)


async def plan(
    connection: Connection, secrets: AccountSecrets, *, tenant: UUID, person: UUID, name: str, account: str
) -> Planned:
    """Begin to set up an app called `name`, in the place of one that was begun before and never confirmed."""
    factor, secret = uuid7(), os.urandom(SECRET_BYTES)
    await connection.execute(_DROP_UNCONFIRMED, person)
    sealed = secrets.seal(secret, tenant=tenant, factor=factor)
    await connection.execute(_INSERT, factor, person, name, sealed)
    text = base64.b32encode(secret).decode("ascii")
    return Planned(factor, text, pyotp.TOTP(text).provisioning_uri(name=account, issuer_name=_ISSUER))


async def use(
    connection: Connection,
    secrets: AccountSecrets,
    *,
    tenant: UUID,
    person: UUID,
    code: str,
    confirming: UUID | None = None,
) -> UUID | None:
    """Take a code of one of the person's apps, or the first one of the app that is being confirmed.

    Returns the factor's id, or None for a code that is wrong, too old, or was taken before.
    """
    if _CODE.fullmatch(code) is None:
        return None
    for row in await connection.fetch(_LOOK, person, confirming is None, confirming):
        step = _step(secrets.open(row["sealed"], tenant=tenant, factor=row["id"]), code, row["step"])
        if step is not None and await connection.fetchval(_USE, row["id"], step) is not None:
            found: UUID = row["id"]
            return found
    return None


def _step(secret: bytes, code: str, now: int) -> int | None:
    """Return the step that `code` is of, the earliest that fits, looking at all three whatever fits."""
    app = pyotp.TOTP(base64.b32encode(secret).decode("ascii"))
    fitting = [step for step in (now - 1, now, now + 1) if hmac.compare_digest(app.generate_otp(step), code)]
    return fitting[0] if fitting else None
