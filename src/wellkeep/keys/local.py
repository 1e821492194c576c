"""The local driver: a root key file, or the environment, and epoch keys in files beside it.

Rules: a key file is 0600, ours, 32 bytes in base64 under a header that names what it is and which deployment it belongs
to; anything else is refused with a message that says what to do. Files are made with O_EXCL and are durable before they
are used, and never written again. The threats are a key that others on the machine can read, a backup's key file put
under another deployment, and a half-written key that seals data nobody opens again.

The file has two lines: `wellkeep-root-key v1 deployment=<uuid>` (`wellkeep-epoch-key v1 deployment=<uuid> epoch=<n>`
for an epoch key) and the key. `WELLKEEP_ROOT_KEY` holds the second line alone.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.crypto import canonical, keys, wrap
from wellkeep.crypto.errors import CryptoError
from wellkeep.keys.kms import RootDescription

ROOT_KEY_VARIABLE = "WELLKEEP_ROOT_KEY"
_KEY_SIZE = 32
_MOST_BYTES = 512
_EPOCH_NAME = re.compile(r"epoch-([1-9][0-9]{0,2})\.key")
_CONTEXT_LABEL = b"wellkeep/kms/v1\n"


class LocalKms:
    """A root key held by this process, behind the same interface as a service's."""

    def __init__(self, secret: Secret[bytes]) -> None:
        """`secret` holds 32 bytes; `open_root_key` and `root_key_from_environment` are the ways to get it."""
        self._key = wrap.WrapKey(secret.reveal())
        self._root = "local:" + keys.commitment(secret.reveal())[:8].hex()

    def __repr__(self) -> str:
        """Name the root key by its public identifier."""
        return f"<LocalKms {self._root}>"

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped under the root key, bound to `context`."""
        return self._key.wrap(plain, context=encode_context(context))

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this context; raises IntegrityBroken on any other blob, key or context."""
        return _unwrap(self._key, blob, context)

    def describe(self) -> RootDescription:
        """Return the driver's name and an identifier derived from the key, one way."""
        return RootDescription(driver="local", root=self._root)
