"""Tenant tokens: minted here, checked by `wk.tenant()` in the database.

A token says: this backend, for this tenant, until then. Rules: at most 60 seconds, one backend, HMAC-SHA256 under a key
that the database's roles can't read. The threat is SQL injected into our own session: it can set any variable, but it
can't sign, so it stays inside the tenant whose request it rode in on.

    wkt1.<tenant, 32 hex digits>.<expiry, unix seconds>.<backend pid>.<HMAC-SHA256, 64 hex digits>
"""

from __future__ import annotations

import hmac
from uuid import UUID

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection

_DOMAIN = b"wk/context/v1\n"
_KEY_BYTES = 32
_BLOCK_BYTES = 64
_LONGEST_SECONDS = 60
_REUSED_SECONDS = 20.0
_CACHED_TOKENS = 10_000
_INSTALL = "SELECT wk.install_context_key($1, $2)"


class ContextKey:
    """The CONTEXT key of the deployment, and the tokens minted with it lately."""

    def __init__(self, secret: Secret[bytes]) -> None:
        """Hold a key of exactly 32 bytes. Raises Misconfigured on any other length."""
        if len(secret.reveal()) != _KEY_BYTES:
            raise Misconfigured("The context key must have 32 bytes.")
        self._key = secret
        self._minted: dict[tuple[UUID, int], tuple[float, str]] = {}

    def pads(self) -> tuple[bytes, bytes]:
        """Return the key XORed with HMAC's inner and outer pad (RFC 2104), 64 bytes each."""
        block = self._key.reveal().ljust(_BLOCK_BYTES, b"\x00")
        return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)

    def mint(self, *, tenant: UUID, pid: int, now: float, ttl: int = 55) -> str:
        """Return a token for `tenant` on the backend `pid`, good for `ttl` seconds from `now` (unix seconds)."""
        if not 0 < ttl <= _LONGEST_SECONDS:
            raise Misconfigured("A tenant token lives 1 to 60 seconds.")
        signed = b"wkt1.%b.%d.%d" % (tenant.hex.encode(), int(now) + ttl, pid)
        mac = hmac.digest(self._key.reveal(), _DOMAIN + signed, "sha256")
        return f"{signed.decode()}.{mac.hex()}"

    def token(self, *, tenant: UUID, pid: int, now: float) -> str:
        """Return a token like `mint`, the same one for 20 seconds: a signature a request would be CPU for nothing."""
        minted = self._minted.get((tenant, pid))
        if minted is not None and 0.0 <= now - minted[0] < _REUSED_SECONDS:
            return minted[1]
        if len(self._minted) >= _CACHED_TOKENS:
            self._minted.clear()
        token = self.mint(tenant=tenant, pid=pid, now=now)
        self._minted[tenant, pid] = (now, token)
        return token


async def install(connection: Connection, key: ContextKey) -> None:
    """Make `key` the one that the database believes; `connection` is `wk_migrate`'s.

    The key before it stays good for two minutes. Installing the same key again changes nothing.
    """
    ipad, opad = key.pads()
    await connection.execute(_INSTALL, ipad, opad)
