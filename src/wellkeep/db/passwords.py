"""The passwords of the embedded server's roles: random, in one file that only we read.

The server never learns a password in a statement: `initdb` reads the superuser's from a pipe, and roles are given SCRAM
verifiers made on our side (RFC 5802, RFC 7677).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from wellkeep.base.durable import sync_directory
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret

_SCRAM_ITERATIONS = 4096
"""What RFC 7677 asks for at least. The passwords have 256 random bits: more rounds would cost and buy nothing."""


def scram_verifier(password: Secret[str]) -> str:
    """Return what PostgreSQL stores for `password`: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.

    Raises Misconfigured on a password that is not printable ASCII, which SASLprep might change.
    """
    text = password.reveal()
    if not (text.isascii() and text.isprintable() and text):
        raise Misconfigured("A role's password must be printable ASCII.")
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return (
        f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{b64encode(salt).decode()}"
        f"${b64encode(stored).decode()}:{b64encode(server).decode()}"
    )


def load_or_create(path: Path, roles: tuple[str, ...]) -> Mapping[str, Secret[str]]:
    """Return the password of each of `roles`, from the 0600 file at `path`; what is missing is made and kept.

    The file is durable before anything uses it: a cluster whose password was lost would be closed for ever.
    Raises Misconfigured where others can read the file or its content is not ours.
    """
    kept = _read(path) if path.exists() else {}
    missing = {role: secrets.token_urlsafe(32) for role in roles if role not in kept}
    if missing:
        kept |= missing
        _write(path, kept)
    return {role: Secret(kept[role]) for role in roles}


def _read(path: Path) -> dict[str, str]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, encoding="ascii") as stream:
        status = os.fstat(stream.fileno())
        if status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise Misconfigured(f"{path} must belong to the account that runs wellkeep, with mode 0600.")
        try:
            content = json.load(stream)
        except ValueError:
            content = None
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise Misconfigured(f"{path} is not the password file that wellkeep wrote. Put the right one back.")
    return content


def _write(path: Path, content: Mapping[str, str]) -> None:
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        json.dump(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    staging.rename(path)
    sync_directory(path.parent)
