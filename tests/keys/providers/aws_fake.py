"""A stand-in for AWS KMS and STS on loopback: real AES-GCM under each key, and every bad mood that AWS may have."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from anchors.world import Asked, Reply

ACCOUNT = "arn:aws:kms:eu-central-1:123456789012"
_STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
<SessionToken>AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE==</SessionToken>
<Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


@dataclass
class Key:
    """One key."""

    arn: str
    description: str = ""
    state: str = "Enabled"
    deletion: float | None = None
    usage: str = "ENCRYPT_DECRYPT"
    aead: AESGCM = field(default_factory=lambda: AESGCM(os.urandom(32)))


class Error(Exception):
    """What is answered with a status and a type."""

    def __init__(self, kind: str, status: int = 400) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = status


@dataclass
class FakeAws:
    """Keys, aliases, and how calls are answered; `error` is an action's or every action's."""

    keys: dict[str, Key] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Error] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    slow: float = 0.0
    ignores_context: bool = False
    opens_disabled: bool = False
    opens_with_any: bool = False
    says: str | None = None
    plain: bytes | None = None
    expires: str = "2099-01-01T00:00:00Z"
    tokens: list[str] = field(default_factory=list)
    signed_by: list[str] = field(default_factory=list)

    def add(self, **given: Any) -> Key:
        """Make a key."""
        key = Key(f"{ACCOUNT}:key/{uuid4()}", **given)
        self.keys[key.arn] = key
        return key

    async def handle(self, asked: Asked) -> Reply:
        await asyncio.sleep(self.slow)
        if "x-amz-target" not in asked.headers:
            self.tokens.append(asked.body.decode())
            return Reply(200, _STS.format(expires=self.expires).encode())
        self.signed_by.append(asked.headers["authorization"])
        action = asked.headers["x-amz-target"].removeprefix("TrentService.")
        self.calls[action] += 1
        if (reply := self.replies.get(action) or self.replies.get("*")) is not None:
            return reply
        try:
            if (error := self.errors.get(action) or self.errors.get("*")) is not None:
                raise error
            answer = getattr(self, "_" + action)(json.loads(asked.body))
        except Error as failed:
            body = {"__type": f"com.amazonaws.kms#{failed.kind}", "message": "a secret detail"}
            return Reply(failed.status, json.dumps(body).encode())
        return Reply(200, json.dumps(answer).encode())

    def _Encrypt(self, told: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- as AWS names it
        key = self._usable(told["KeyId"])
        nonce = os.urandom(12)
        blob = nonce + key.aead.encrypt(nonce, b64decode(told["Plaintext"]), self._bound(told))
        return {"KeyId": self.says or key.arn, "CiphertextBlob": b64encode(blob).decode()}

    def _Decrypt(self, told: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        key = self._usable(told["KeyId"])
        blob = b64decode(told["CiphertextBlob"])
        tried = list(self.keys.values()) if self.opens_with_any else [key]
        for one in tried:
            try:
                plain = one.aead.decrypt(blob[:12], blob[12:], self._bound(told))
            except (InvalidTag, ValueError):
                continue
            return {"KeyId": self.says or one.arn, "Plaintext": b64encode(self.plain or plain).decode()}
        raise Error("InvalidCiphertextException")

    def _DescribeKey(self, told: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        key = self._known(told["KeyId"])
        metadata = {"KeyId": key.arn, "Arn": key.arn, "KeyState": key.state, "KeyUsage": key.usage}
        metadata |= {"Description": key.description, "KeySpec": "SYMMETRIC_DEFAULT"}
        return {"KeyMetadata": metadata | ({} if key.deletion is None else {"DeletionDate": key.deletion})}

    def _CreateKey(self, told: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._DescribeKey({"KeyId": self.add(description=told["Description"]).arn})

    def _CreateAlias(self, told: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if told["AliasName"] in self.aliases:
            raise Error("AlreadyExistsException")
        self.aliases[told["AliasName"]] = f"{ACCOUNT}:key/{told['TargetKeyId']}"
        return {}

    def _ScheduleKeyDeletion(self, told: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        key = self._known(told["KeyId"])
        if key.state == "PendingDeletion":
            raise Error("KMSInvalidStateException")
        key.state, key.deletion = "PendingDeletion", 4_000_000_000.0 + 86_400 * told["PendingWindowInDays"]
        return {"KeyId": key.arn, "DeletionDate": key.deletion, "KeyState": key.state}

    def _known(self, name: str) -> Key:
        named = self.aliases.get(name, name)
        key = self.keys.get(named) or self.keys.get(f"{ACCOUNT}:key/{named}")
        if key is None:
            raise Error("NotFoundException")
        return key

    def _usable(self, name: str) -> Key:
        key = self._known(name)
        if not self.opens_disabled and key.state != "Enabled":
            raise Error("DisabledException" if key.state == "Disabled" else "KMSInvalidStateException")
        return key

    def _bound(self, told: dict[str, Any]) -> bytes:
        return b"" if self.ignores_context else json.dumps(told["EncryptionContext"], sort_keys=True).encode()
