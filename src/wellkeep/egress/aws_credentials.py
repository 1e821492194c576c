"""Who signs requests to AWS: keys from a file in `secrets/`, read anew with each request.

Rule: temporary keys are put into the file anew every few hours by whoever has them, so nothing is remembered; what is
wrong with the file is told without a byte of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secret_files import read_secret
from wellkeep.base.secrets import Secret
from wellkeep.egress.sigv4 import Credentials


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


def stored(path: Path, *, whose: str) -> Callable[[], Credentials]:
    """Return what reads the credentials at `path`; `whose` names in a message what needs them. Raises Misconfigured.

    What is returned raises Misconfigured too, where the file is no longer what it was.
    """

    def read() -> Credentials:
        return _decoded(read_secret(path), whose)

    read()  # what is wrong with them now stops the start
    return read


def _decoded(secret: Secret[bytes], whose: str) -> Credentials:
    try:
        found = msgspec.json.decode(secret.reveal(), type=_Stored)
    except ValueError:
        raise Misconfigured(
            f'The credentials of {whose} are no JSON {{"access_key_id": …, "secret_access_key": …}}'
        ) from None
    token = None if found.session_token is None else Secret(found.session_token)
    return Credentials(found.access_key_id, Secret(found.secret_access_key), token)
