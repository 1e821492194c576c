"""Recovery codes: ten, for who lost the second factor; each good once, and each use is told.

Rules: a code has 80 random bits, so its digest needs no slow hash; new codes make the old ones worthless; a used one is
marked by one UPDATE that two workers can't both win. Using one is a finding, because it is what a thief would do.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import Final
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection

CODES: Final = 10
_BYTES = 10
_CODE = re.compile(r"[a-z2-7]{16}")

_FORGET = "DELETE FROM access.recovery_code WHERE person_id = $1"
_INSERT = """
INSERT INTO access.recovery_code (tenant_id, id, person_id, digest, created_at)
SELECT wk.tenant(), made.id, $1, made.digest, clock_timestamp()
FROM unnest($2::uuid[], $3::bytea[]) AS made (id, digest)
"""
_USE = """
UPDATE access.recovery_code SET used_at = clock_timestamp()
WHERE person_id = $1 AND digest = $2 AND used_at IS NULL RETURNING id
"""
_LEFT = "SELECT count(*) FROM access.recovery_code WHERE person_id = $1 AND used_at IS NULL"


async def renew(connection: Connection, person: UUID) -> tuple[Secret[str], ...]:
    """Make ten new codes in the place of those before, and return them, this once."""
    codes = [base64.b32encode(os.urandom(_BYTES)).decode("ascii").lower() for _ in range(CODES)]
    await connection.execute(_FORGET, person)
    await connection.execute(_INSERT, person, [uuid7() for _ in codes], [_digest(code, person) for code in codes])
    return tuple(Secret("-".join(code[at : at + 4] for at in range(0, len(code), 4))) for code in codes)


async def use(connection: Connection, person: UUID, code: str) -> bool:
    """Use up a code, with or without its dashes, in any case; False where it is none, or was used."""
    plain = code.replace("-", "").replace(" ", "").lower()
    if _CODE.fullmatch(plain) is None:
        return False
    return await connection.fetchval(_USE, person, _digest(plain, person)) is not None


async def left(connection: Connection, person: UUID) -> int:
    """Return how many codes are left."""
    count: int = await connection.fetchval(_LEFT, person)
    return count


def _digest(code: str, person: UUID) -> bytes:
    return hashlib.sha256(person.bytes + code.encode("ascii")).digest()
