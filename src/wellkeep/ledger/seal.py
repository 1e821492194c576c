r"""Seals: a MAC over each batch's end, under a key that no database holds; and one over each row of the outbox.

The threat is the database's owner, who can rewrite entries and recompute every hash of the chain, but can't seal what
they wrote. The key belongs to the deployment, not to a tenant: the record of a tenant's end must stay verifiable.

    mac = HMAC-SHA256(key, "wellkeep/ledger/seal/v1\n" | key id | "\n" | origin | "\n" | size | "\n" | leaf | root)

with size in decimal, leaf and root as 32 bytes each. Neither key ids nor origins hold a line feed, so no two seals have
the same message. An outbox row is `HMAC-SHA256(key, "wellkeep/ledger/outbox/v1\n" | tenant | "\n" | event) | event`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret

_HEADER = "wellkeep/ledger/seal/v1"
_OUTBOX_HEADER = "wellkeep/ledger/outbox/v1"
_VERIFIED_HEADER = b"wellkeep/ledger/verified/v1\n"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_ORIGIN = re.compile(
    r"[a-z0-9.-]+/ledger/(?P<tenant>root|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/(?P<epoch>[1-9][0-9]{0,5}))?"
)
_KEY_BYTES = 32
_MAC_BYTES = 32
_BLOCK_BYTES = 64
_INNER, _OUTER = (bytes(each ^ pad for each in range(256)) for pad in (0x36, 0x5C))


@dataclass(frozen=True, slots=True)
class SealKey:
    """A SEAL key of the deployment: the id that seals name, and 32 secret bytes."""

    key_id: str
    secret: Secret[bytes]

    def __post_init__(self) -> None:
        """Raise Misconfigured on an id that a seal can't name, or a key of another length."""
        if _KEY_ID.fullmatch(self.key_id) is None or len(self.secret.reveal()) != _KEY_BYTES:
            raise Misconfigured("A seal key has an id of 1 to 64 letters, digits, dots or dashes, and 32 bytes")

    def mac(self, *, origin: str, size: int, leaf: bytes, root: bytes) -> bytes:
        """Return the 32-byte MAC of the log `origin` at `size` entries, its last `leaf` and Merkle `root`."""
        message = self._header(origin) + b"%d\n" % size + leaf + root
        return hmac.digest(self.secret.reveal(), message, "sha256")

    def macs(self, *, origin: str) -> Callable[[int, bytes, bytes], bytes]:
        """Return `mac` for the log `origin` alone, of size, leaf and root: for many seals of one log.

        HMAC as RFC 2104 writes it, for hmac.digest sets its hash up anew each time, which takes longer than hashing.
        """
        padded = self.secret.reveal().ljust(_BLOCK_BYTES, b"\x00")
        inner = padded.translate(_INNER) + self._header(origin)
        outer = padded.translate(_OUTER)

        def mac(size: int, leaf: bytes, root: bytes) -> bytes:
            return sha256(outer + sha256(inner + b"%d\n" % size + leaf + root).digest()).digest()

        return mac

    def _header(self, origin: str) -> bytes:
        return f"{_HEADER}\n{self.key_id}\n{origin}\n".encode("ascii")

    def outboxed(self, *, tenant: UUID, event: bytes) -> bytes:
        """Return what an outbox row of `tenant` holds: a MAC of 32 bytes, then the `event`.

        Only such a row is chained by whoever finds it left over, so nobody who merely writes to the database can have
        an entry made. The message begins with another header than a seal's.
        """
        return self._outbox_mac(tenant, event) + event

    def verified(self, body: bytes) -> bytes:
        """Return the 32-byte MAC of what this host remembers to have verified."""
        return hmac.digest(self.secret.reveal(), _VERIFIED_HEADER + body, "sha256")

    def _outbox_mac(self, tenant: UUID, event: bytes) -> bytes:
        return hmac.digest(self.secret.reveal(), f"{_OUTBOX_HEADER}\n{tenant}\n".encode("ascii") + event, "sha256")

    def opens(self, row: bytes, *, tenant: UUID) -> bytes | None:
        """Return the event of an outbox row, or None where its MAC is not of this key and tenant. In constant time."""
        mac, event = row[:_MAC_BYTES], row[_MAC_BYTES:]
        return event if hmac.compare_digest(mac, self._outbox_mac(tenant, event)) else None


class Seal(NamedTuple):
    """A stored seal: the log stood at `size` entries with this last leaf and this root."""

    size: int
    key_id: str
    leaf: bytes
    root: bytes
    mac: bytes

    def holds(self, *, origin: str, keys: Mapping[str, SealKey]) -> bool:
        """Say whether the MAC is ours: of a key that we have, for this log. In constant time."""
        key = keys.get(self.key_id)
        if key is None:
            return False
        expected = key.mac(origin=origin, size=self.size, leaf=self.leaf, root=self.root)
        return hmac.compare_digest(expected, self.mac)


def log_of(name: str) -> tuple[UUID, int]:
    """Return the tenant and epoch of a log by its origin; raises Misconfigured where that is no origin of ours.

    Epochs have six digits at most: each is a restore that a person accepted, and a forged one must leave room above it.
    """
    parts = _ORIGIN.fullmatch(name)
    if parts is None:
        raise Misconfigured("This is not the name of a log of wellkeep's")
    tenant = PLATFORM_TENANT if parts["tenant"] == "root" else UUID(parts["tenant"])
    return tenant, int(parts["epoch"] or 1)


def origin(host: str, tenant: UUID, epoch: int) -> str:
    """Return the name of a log: `<host>/ledger/<tenant>/<epoch>`, the platform's `<host>/ledger/root`.

    A later epoch of the root log is `<host>/ledger/root/<epoch>`. Raises Misconfigured on a host that is no DNS name.
    """
    if _HOST.fullmatch(host) is None:
        raise Misconfigured("The ledger's host must be a DNS name in lower case")
    if tenant == PLATFORM_TENANT:
        return f"{host}/ledger/root" if epoch == 1 else f"{host}/ledger/root/{epoch}"
    return f"{host}/ledger/{tenant}/{epoch}"
