"""Passkeys (WebAuthn level 2): a key pair in the person's device, which signs for this very site and nothing else.

Rules: a challenge is 32 random bytes of ours, for one purpose, good once and for five minutes; the device must have
verified its user (a PIN, a finger), so a passkey alone is two factors; origin and relying party are the deployment's
own host, which is why nobody can be lured into using one elsewhere. A counter that did not grow means a copy of the
key: it is refused. No attestation is asked for: which make the device is of is none of our business.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import structlog

from wellkeep.base.errors import Conflict, FieldProblem, Validation
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection

Purpose = Literal["register", "sign-in", "factor", "step-up"]
MOST_PASSKEYS: Final = 20
_RP_NAME = "wellkeep"
_CHALLENGE_BYTES = 32

_ASK = """
INSERT INTO access.challenge (tenant_id, id, person_id, purpose, challenge, created_at, expires_at)
SELECT wk.tenant(), $1, $2, $3, $4, now, now + interval '5 minutes' FROM (SELECT clock_timestamp() AS now) AS at
"""
_TAKE = """
DELETE FROM access.challenge
WHERE id = $1 AND person_id IS NOT DISTINCT FROM $2 AND purpose = $3
  AND clock_timestamp() BETWEEN created_at AND expires_at
RETURNING challenge
"""
"""What was asked in the future was asked before the clock was set back: it must not last for as long."""
_FORGET = "DELETE FROM access.challenge WHERE expires_at < clock_timestamp()"
_OF_PERSON = "SELECT credential_id FROM access.factor WHERE person_id = $1 AND kind = 'passkey'"
_FIND = """
SELECT id, public_key, sign_count FROM access.factor
WHERE person_id = $1 AND kind = 'passkey' AND credential_id = $2 FOR UPDATE
"""
_INSERT = """
INSERT INTO access.factor (tenant_id, id, person_id, kind, name, credential_id, public_key, sign_count, created_at,
  confirmed_at)
SELECT wk.tenant(), $1, $2, 'passkey', $3, $4, $5, $6, now, now FROM (SELECT clock_timestamp() AS now) AS at
ON CONFLICT (tenant_id, credential_id) DO NOTHING RETURNING id
"""
_USED = "UPDATE access.factor SET sign_count = $2, last_used_at = clock_timestamp() WHERE id = $1"

_log = structlog.get_logger("wellkeep.access")


@dataclass(frozen=True, slots=True)
class Asked:
    """A challenge: its id, which the answer names, and what the browser's `navigator.credentials` takes."""

    id: UUID
    options: dict[str, Any]


class Passkeys:
    """Asks for and checks signatures of passkeys of one site."""

    def __init__(self, *, host: str, origins: Sequence[str]) -> None:
        """`host` is the relying party, `origins` the addresses that pages of ours have."""
        self._host = host
        self._origins = list(origins)

    async def plan(self, connection: Connection, *, person: UUID, account: str) -> Asked:
        """Ask a browser for a new passkey of `person`, shown to them under `account`. Raises Conflict for too many."""
        import webauthn  # noqa: PLC0415 -- it takes its time to import, and few requests need it
        from webauthn.helpers import structs  # noqa: PLC0415 -- as above

        held = [row["credential_id"] for row in await connection.fetch(_OF_PERSON, person)]
        if len(held) >= MOST_PASSKEYS:
            raise Conflict("This account has as many passkeys as one may have: remove one first")
        made, challenge = await self._ask(connection, person, "register")
        options = webauthn.generate_registration_options(
            rp_id=self._host,
            rp_name=_RP_NAME,
            user_name=account,
            user_id=person.bytes,
            challenge=challenge,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=one) for one in held],
        )
        return Asked(made, _plain(options))

    async def register(
        self, connection: Connection, *, person: UUID, challenge: UUID, credential: dict[str, Any], name: str
    ) -> UUID:
        """Keep the new passkey and return its factor's id. Raises Validation where it does not fit the challenge."""
        import webauthn  # noqa: PLC0415 -- as above

        expected = await connection.fetchval(_TAKE, challenge, person, "register")
        if expected is None:
            raise _wrong()
        try:
            made = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=expected,
                expected_rp_id=self._host,
                expected_origin=self._origins,
                require_user_verification=True,
            )
        except Exception as error:  # noqa: BLE001 -- the parsers below raise whatever a hostile answer provokes
            _log.info("passkey.refused", kind=type(error).__name__)
            raise _wrong() from None
        factor = uuid7()
        values = (factor, person, name, made.credential_id, made.credential_public_key, made.sign_count)
        if await connection.fetchval(_INSERT, *values) is None:
            raise Conflict("This passkey is known already")
        return factor

    async def question(self, connection: Connection, *, purpose: Purpose, person: UUID | None = None) -> Asked:
        """Ask a browser for a signature: of one of the passkeys of `person`, or of whoever holds one."""
        import webauthn  # noqa: PLC0415 -- as above
        from webauthn.helpers import structs  # noqa: PLC0415 -- as above

        held = [] if person is None else [row["credential_id"] for row in await connection.fetch(_OF_PERSON, person)]
        asked, challenge = await self._ask(connection, person, purpose)
        options = webauthn.generate_authentication_options(
            rp_id=self._host,
            challenge=challenge,
            allow_credentials=[structs.PublicKeyCredentialDescriptor(id=one) for one in held],
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return Asked(asked, _plain(options))

    async def expected(
        self, connection: Connection, *, challenge: UUID, purpose: Purpose, person: UUID | None = None
    ) -> bytes | None:
        """Take a challenge, so that it is good no more; None where there is none of this person and purpose."""
        taken: bytes | None = await connection.fetchval(_TAKE, challenge, person, purpose)
        return taken

    async def answers(
        self, connection: Connection, *, person: UUID, expected: bytes, credential: dict[str, Any]
    ) -> UUID | None:
        """Return the factor whose passkey signed `expected` just now, its user verified; None where none did."""
        import webauthn  # noqa: PLC0415 -- as above

        identifier = credential_id(credential)
        row = None if identifier is None else await connection.fetchrow(_FIND, person, identifier)
        if row is None:
            return None
        try:
            shown = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=expected,
                expected_rp_id=self._host,
                expected_origin=self._origins,
                credential_public_key=row["public_key"],
                credential_current_sign_count=row["sign_count"],
                require_user_verification=True,
            )
        except Exception as error:  # noqa: BLE001 -- the parsers below raise whatever a hostile answer provokes
            _log.info("passkey.refused", kind=type(error).__name__)
            return None
        await connection.execute(_USED, row["id"], shown.new_sign_count)
        factor: UUID = row["id"]
        return factor

    async def _ask(self, connection: Connection, person: UUID | None, purpose: Purpose) -> tuple[UUID, bytes]:
        identifier, challenge = uuid7(), os.urandom(_CHALLENGE_BYTES)
        await connection.execute(_FORGET)
        await connection.execute(_ASK, identifier, person, purpose, challenge)
        return identifier, challenge


def credential_id(credential: dict[str, Any]) -> bytes | None:
    """Return the id of the passkey that an answer says it is of, or None where it says none."""
    from webauthn import base64url_to_bytes  # noqa: PLC0415 -- as above

    given = credential.get("rawId")
    if not isinstance(given, str):
        return None
    try:
        return base64url_to_bytes(given)
    except ValueError:
        return None


def _plain(options: Any) -> dict[str, Any]:
    from webauthn.helpers import options_to_json_dict  # noqa: PLC0415 -- as above

    return options_to_json_dict(options)


def _wrong() -> Validation:
    return Validation(
        "This passkey does not fit what was asked for. Begin again.", fields=(FieldProblem("/credential", "malformed"),)
    )
