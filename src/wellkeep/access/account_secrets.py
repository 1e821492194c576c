"""What keeps copies of the tables from being of use: the pepper, keys of cookies and lanes, the seal of app secrets.

Rules: each is derived by HKDF-Expand from a REASON key of the deployment, which is random, wrapped by the root key, the
same in every worker, never under a customer's key and never destroyed while the deployment lives. So there is no file
more to lose or to forget in a backup, and whoever has the database alone has none of them. What was made under an older
epoch says so and is checked under it; what is made now is made under the newest.

The threat is a stolen copy of the database: without the pepper its password hashes can't even be guessed at.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken
from wellkeep.crypto.envelope import envelope_kid, open_one, seal_one
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import DataKey, expand
from wellkeep.crypto.padding import ValueType
from wellkeep.keys.deployment import DeploymentKey

DEVICE_COOKIE: Final = "__Host-wk_device"
DEVICE_SECONDS: Final = 180 * 86_400

_COLLECTION = 0
_FIELD = 2
_CLIENT_FIELD = 3
"""Field 1 of collection 0 is a reason (`keys.reasons`): neither opens in the other's place."""
_DEVICE = re.compile(r"([0-9]{1,5})\.([0-9a-f]{32})\.([0-9a-f]{64})")


class AccountSecrets:
    """Derives and uses what hangs on the deployment's keys."""

    def __init__(self, keys: Sequence[DeploymentKey]) -> None:
        """`keys` are the live epochs of the REASON key, newest first."""
        self.epoch = keys[0].epoch
        self._peppers = {key.epoch: expand(key.secret.reveal(), info=b"wk1/pepper") for key in keys}
        self._devices = {key.epoch: expand(key.secret.reveal(), info=b"wk1/device") for key in keys}
        self._lanes = expand(keys[0].secret.reveal(), info=b"wk1/lane")
        sealing = [DataKey(key.secret.reveal()) for key in keys]
        self._newest = sealing[0]
        self._sealing = {key.kid: key for key in sealing}

    def peppered(self, password: bytes, *, epoch: int) -> bytes:
        """Return the 48 bytes that stand for a password under the pepper of `epoch`.

        Raises IntegrityBroken for an epoch that no key is left of.
        """
        pepper = self._peppers.get(epoch)
        if pepper is None:
            raise IntegrityBroken
        return hmac.digest(pepper, password, "sha384")

    def lane(self, *parts: bytes) -> bytes:
        """Return the key of a lane: a digest that tells nobody whom or where it is about."""
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._lanes, text, "sha256")

    def device(self, *, tenant: UUID, person: UUID) -> str:
        """Return a new cookie that says that this person signed in from this browser."""
        nonce = os.urandom(16).hex()
        return f"{self.epoch}.{nonce}.{self._device_mac(self.epoch, nonce, tenant, person)}"

    def device_of(self, cookie: str | None, *, tenant: UUID, person: UUID) -> str | None:
        """Return what is known of the browser that `cookie` was given to, where it was, for this very person."""
        match = _DEVICE.fullmatch(cookie or "")
        if match is None or int(match[1]) not in self._devices:
            return None
        wanted = self._device_mac(int(match[1]), match[2], tenant, person)
        return match[2] if hmac.compare_digest(wanted, match[3]) else None

    def seal(self, secret: bytes, *, tenant: UUID, factor: UUID) -> bytes:
        """Seal the secret of an authenticator app, bound to its tenant and to the factor."""
        return self._seal(_FIELD, secret, tenant=tenant, record=factor)

    def open(self, sealed: bytes, *, tenant: UUID, factor: UUID) -> bytes:
        """Return the secret; raises IntegrityBroken where it is another factor's or was changed."""
        return self._open(_FIELD, sealed, tenant=tenant, record=factor)

    def seal_client(self, secret: bytes, *, tenant: UUID, provider: UUID) -> bytes:
        """Seal the secret that shows an identity provider who we are, bound to its tenant and to the provider."""
        return self._seal(_CLIENT_FIELD, secret, tenant=tenant, record=provider)

    def open_client(self, sealed: bytes, *, tenant: UUID, provider: UUID) -> bytes:
        """Return the client's secret; raises IntegrityBroken where it is another provider's or was changed."""
        return self._open(_CLIENT_FIELD, sealed, tenant=tenant, record=provider)

    def _seal(self, field: int, secret: bytes, *, tenant: UUID, record: UUID) -> bytes:
        item = (field, ValueType.TEXT, secret, False)
        return seal_one(self._newest, item, tenant=tenant.bytes, collection=_COLLECTION, record=record.bytes)

    def _open(self, field: int, sealed: bytes, *, tenant: UUID, record: UUID) -> bytes:
        try:
            key = self._sealing[envelope_kid(sealed)]
            _, payload = open_one(
                key, (field, sealed), tenant=tenant.bytes, collection=_COLLECTION, record=record.bytes
            )
        except (CryptoError, KeyError):
            raise IntegrityBroken from None
        return payload

    def _device_mac(self, epoch: int, nonce: str, tenant: UUID, person: UUID) -> str:
        text = tenant.bytes + person.bytes + bytes.fromhex(nonce)
        return hmac.digest(self._devices[epoch], text, "sha256").hex()
