"""A stand-in for the transit engine on loopback, made from the requests and answers that its documentation shows."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from anchors.world import Asked, Reply

TOKEN = "hvs.CAESIJ"


def _said(status: int, *errors: str) -> Reply:
    return Reply(status, json.dumps({"errors": list(errors)}).encode())


@dataclass
class FakeTransit:
    """Keys by name, and how calls are answered."""

    mount: str = "transit"
    token: str = TOKEN
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    slow: float = 0.0
    upserts: bool = False
    plain: bytes | None = None
    namespaces: list[str | None] = field(default_factory=list)

    def add(self, name: str, **given: Any) -> None:
        """Make a key."""
        settings = {"type": "aes256-gcm96", "derived": True, "exportable": False, "allow_plaintext_backup": False}
        settings |= {"deletion_allowed": False, "latest_version": 1, "min_decryption_version": 1, "name": name}
        self.keys[name] = settings | {"keys": {"1": 1442851412}, "_secret": os.urandom(32)} | given

    async def handle(self, asked: Asked) -> Reply:
        await asyncio.sleep(self.slow)
        self.namespaces.append(asked.headers.get("x-vault-namespace"))
        if asked.headers.get("x-vault-token") != self.token:
            return _said(403, "permission denied")
        rest = asked.target.removeprefix(f"/v1/{self.mount}/")
        if rest == asked.target:
            return _said(404, "no handler for route 'elsewhere/'. route entry not found.")
        verb, _, name = rest.partition("/")
        if (reply := self.replies.get(verb) or self.replies.get("*")) is not None:
            return reply
        told = json.loads(asked.body or b"{}")
        return {"keys": self._keys, "encrypt": self._encrypt, "decrypt": self._decrypt}[verb](asked.method, name, told)

    def _keys(self, method: str, name: str, told: dict[str, Any]) -> Reply:
        name, _, config = name.partition("/")
        if method == "POST" and config:
            self.keys[name] |= told
        elif method == "POST":
            if name not in self.keys:
                self.add(name, **told)
        elif name not in self.keys:
            return _said(404)
        elif method == "DELETE":
            if not self.keys[name]["deletion_allowed"]:
                return _said(400, f"error deleting policy {name}: deletion is not allowed for this key")
            del self.keys[name]
            return Reply(204)
        shown = {key: value for key, value in self.keys[name].items() if not key.startswith("_")}
        return Reply(200, json.dumps({"request_id": "8375227a", "lease_id": "", "data": shown}).encode())

    def _encrypt(self, _method: str, name: str, told: dict[str, Any]) -> Reply:
        if name not in self.keys:
            if not self.upserts:
                return _said(400, "encryption key not found")
            self.add(name)
        nonce = os.urandom(12)
        blob = nonce + self._aead(name, told).encrypt(nonce, b64decode(told["plaintext"]), _associated(told))
        data = {"ciphertext": "vault:v1:" + b64encode(blob).decode(), "key_version": 1}
        return Reply(200, json.dumps({"data": data}).encode())

    def _decrypt(self, _method: str, name: str, told: dict[str, Any]) -> Reply:
        if name not in self.keys:
            return _said(400, "encryption key not found")
        parts = told["ciphertext"].split(":")
        if len(parts) != 3 or parts[1] != "v1":
            return _said(400, "invalid ciphertext: version is too new")
        try:
            blob = b64decode(parts[2], validate=True)
        except NotBase64:
            return _said(400, "invalid ciphertext: could not decode base64")
        try:
            plain = self._aead(name, told).decrypt(blob[:12], blob[12:], _associated(told))
        except (InvalidTag, ValueError):
            return _said(400, "cipher: message authentication failed")
        return Reply(200, json.dumps({"data": {"plaintext": b64encode(self.plain or plain).decode()}}).encode())

    def _aead(self, name: str, told: dict[str, Any]) -> AESGCM:
        context = b64decode(told["context"]) if self.keys[name]["derived"] else b""
        return AESGCM(hmac.digest(self.keys[name]["_secret"], context, "sha256"))


def _associated(told: dict[str, Any]) -> bytes:
    return b64decode(told.get("associated_data", ""))
