"""Who we are to AWS: keys from a file, or a role that the platform vouches for with a token (web identity).

Rules: the token is read from its file at each exchange, because the platform writes a new one before it runs out; the
session's keys live in memory alone, and are exchanged again five minutes before their end. The answer of STS is taken
apart by four patterns, so that no XML is parsed. Nothing is asked of instance metadata, whose address egress refuses.

Source: AWS STS API reference, AssumeRoleWithWebIdentity (2011-06-15).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from wellkeep.base.clock import Clock
from wellkeep.base.errors import KeysUnavailable, Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.egress.sigv4 import Credentials
from wellkeep.keys.calling import UNREADABLE, Service

_BEFORE = timedelta(minutes=5)
_MOST_TOKEN = 20_000
_OK = 200
_ACCESS_KEY = re.compile(r"<AccessKeyId>(\w{16,128})</AccessKeyId>")
_SECRET_KEY = re.compile(r"<SecretAccessKey>([\w+/=]{16,256})</SecretAccessKey>")
_SESSION = re.compile(r"<SessionToken>([\w+/=-]{16,8192})</SessionToken>")
_EXPIRES = re.compile(r"<Expiration>([0-9TZ:.+-]{20,40})</Expiration>")
_WHO = "The credentials of this deployment for AWS can't be read. See that the file in secrets/ is there and valid."


class StoredIdentity:
    """Keys from a file."""

    def __init__(self, read: Callable[[], Credentials]) -> None:
        """`read` returns what the file holds now, and may raise Misconfigured."""
        self._read = read

    async def credentials(self) -> Credentials:
        """Return the keys. Raises KeysUnavailable where the file is no longer what it was."""
        try:
            return await asyncio.to_thread(self._read)
        except Misconfigured:
            raise KeysUnavailable(_WHO) from None


class WebIdentity:
    """A role that is assumed by a token."""

    def __init__(self, sts: Service, *, role: str, token: Path, clock: Clock) -> None:
        """`token` is the file that the platform keeps fresh. Exchanges nothing yet."""
        self._sts = sts
        self._role = role
        self._token = token
        self._clock = clock
        self._held: tuple[Credentials, datetime] | None = None
        self._exchanging = asyncio.Lock()

    async def credentials(self) -> Credentials:
        """Return the session's keys, exchanged anew where they soon run out. Raises KeysUnavailable."""
        async with self._exchanging:
            if self._held is None or self._clock.now() >= self._held[1] - _BEFORE:
                self._held = await self._exchange()
            return self._held[0]

    async def _exchange(self) -> tuple[Credentials, datetime]:
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._role,
            "RoleSessionName": "wellkeep",
            "WebIdentityToken": await asyncio.to_thread(self._read),
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._sts.exchange("POST", "/", headers=headers, body=urlencode(form).encode())
        if answer.status != _OK:
            raise KeysUnavailable("AWS STS does not give this deployment its role. See its trust policy and token.")
        return _session(answer.body.decode("utf-8", "replace"))

    def _read(self) -> str:
        try:
            with self._token.open("rb") as file:
                held = file.read(_MOST_TOKEN + 1).strip()
            token = held.decode("ascii")
        except (OSError, UnicodeDecodeError):
            raise KeysUnavailable(_WHO) from None
        if not token or len(token) > _MOST_TOKEN:
            raise KeysUnavailable(_WHO)
        return token


def _session(document: str) -> tuple[Credentials, datetime]:
    found = [pattern.search(document) for pattern in (_ACCESS_KEY, _SECRET_KEY, _SESSION, _EXPIRES)]
    try:
        access, secret, session, expires = [one[1] for one in found if one is not None]
        until = datetime.fromisoformat(expires)
    except ValueError:
        raise KeysUnavailable(UNREADABLE) from None
    if until.tzinfo is None:
        raise KeysUnavailable(UNREADABLE)
    return Credentials(access, Secret(secret), Secret(session)), until
