"""A signed webhook, as Standard Webhooks has it (standardwebhooks.com): the checkpoint posted to somebody who keeps it.

    webhook-id          msg_<32 hex>, the same for each attempt at one checkpoint
    webhook-timestamp   POSIX seconds
    webhook-signature   v1,<base64 HMAC-SHA256(secret, id "." timestamp "." body)>

    {"type":"ledger.checkpoint","timestamp":…,"data":{"origin":…,"size":…,"root":<base64>,"note":…}}

Rules: 2xx is the receipt, and all that is known: that it was said to somebody, not that it is kept. A redirect is none.
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from wellkeep.base.clock import Clock, iso
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.ledger.anchors.anchor import AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.anchors.outside import Outside
from wellkeep.ledger.checkpoint import Checkpoint

TYPE = "ledger.checkpoint"
_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64
_PAUSES = (0.5, 2.0)


class _Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    timestamp: int
    status: int
    body: str
    mac: str


class Webhook:
    """An anchor of kind `webhook`."""

    kind = "webhook"

    def __init__(self, outside: Outside, *, name: str, path: str, secret: Secret[bytes], clock: Clock) -> None:
        """Post to `path`; `secret` is what `read_key` returns."""
        self.name = name
        self._outside = outside
        self._path = path
        self._secret = secret
        self._clock = clock

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:  # noqa: ARG002
        """Post the checkpoint, three times at most."""
        identifier = f"msg_{sha256(note).hexdigest()[:32]}"
        body = _body(note, checkpoint, self._clock.now())
        pauses = list(_PAUSES)
        while True:
            receipt = await self._attempt(identifier, body, last=not pauses)
            if receipt is not None:
                return receipt
            await asyncio.sleep(pauses.pop(0))

    async def seen(self, origin: str, newest: bytes | None) -> Seen | None:  # noqa: ARG002 -- it gives nothing back
        """Return None: who was told keeps it, and is asked by people."""
        return None

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return our own word for when it was taken; the signature shows that the body is what was sent."""
        try:
            told = msgspec.json.decode(receipt, type=_Receipt)
            sent = msgspec.json.decode(told.body, type=_Message)
        except ValueError:
            raise AnchorFailed(Trouble.NOT_PROVEN) from None
        right = self._mac(told.id, told.timestamp, told.body.encode())
        if not hmac.compare_digest(right, told.mac) or sent.data.note.encode() != note:
            raise AnchorFailed(Trouble.NOT_PROVEN)
        return Evidence(datetime.fromtimestamp(told.timestamp, UTC), independent=False)

    async def _attempt(self, identifier: str, body: bytes, *, last: bool) -> bytes | None:
        """Post once; return the receipt, or None where it is worth another attempt."""
        timestamp = int(self._clock.seconds())
        mac = self._mac(identifier, timestamp, body)
        headers = {
            "content-type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{mac}",
        }
        try:
            answer = await self._outside.exchange("POST", self._path, headers=headers, body=body)
        except AnchorFailed as failed:
            if last or failed.trouble is not Trouble.UNREACHABLE:
                raise
            return None
        if answer.good:
            return msgspec.json.encode(_Receipt(identifier, timestamp, answer.status, body.decode(), mac))
        if last or not answer.later:
            raise AnchorFailed(Trouble.REFUSED)
        return None

    def _mac(self, identifier: str, timestamp: int, body: bytes) -> str:
        signed = b"%b.%d.%b" % (identifier.encode(), timestamp, body)
        return b64encode(hmac.digest(self._secret.reveal(), signed, "sha256")).decode("ascii")


class _Data(msgspec.Struct, frozen=True):
    origin: str
    size: int
    root: str
    note: str


class _Message(msgspec.Struct, frozen=True):
    type: str
    timestamp: str
    data: _Data


def _body(note: bytes, checkpoint: Checkpoint, now: datetime) -> bytes:
    data = _Data(checkpoint.origin, checkpoint.size, b64encode(checkpoint.root).decode("ascii"), note.decode())
    return msgspec.json.encode(_Message(TYPE, iso(now), data))


def read_key(text: Secret[bytes], *, name: str) -> Secret[bytes]:
    """Return the key that `whsec_<base64 of 24 to 64 bytes>` stands for. Raises Misconfigured, naming the anchor."""
    given = text.reveal().decode("ascii", "replace")
    try:
        key = b64decode(given.removeprefix(_PREFIX), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if not given.startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise Misconfigured(f"The secret of the anchor {name} is not whsec_ and the base64 of 24 to 64 bytes")
    return Secret(key)
