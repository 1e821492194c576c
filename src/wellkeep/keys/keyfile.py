"""Key files of the local driver, and the environment variable in a root key file's stead.

Rules: a key file is a plain file, ours, 0600, of two lines: a header that says what it is and whose, and 32 bytes in
base64. Anything else is refused with a message that says what to do. Files are made with O_EXCL, are durable before
they are used, and are never written again. The threats are a key that others on the machine can read, another
deployment's file put in this one's place, and a half-written key that seals data nobody opens again.

    wellkeep-root-key v1 deployment=<uuid>
    wellkeep-epoch-key v1 deployment=<uuid> epoch=<n>

`WELLKEEP_ROOT_KEY` holds the second line alone.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from wellkeep.base.durable import sync_directory
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret

ROOT_KEY_VARIABLE = "WELLKEEP_ROOT_KEY"
_KEY_SIZE = 32
_MOST_BYTES = 512
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_EPOCH_NAME = re.compile(r"epoch-(?P<epoch>[1-9][0-9]{0,2})\.key")
_LAST_EPOCH = 255


def create_root_key(path: Path, *, deployment: UUID) -> Secret[bytes]:
    """Make a random root key in a new file and return it; Misconfigured where `path` exists already."""
    return _create(path, f"wellkeep-root-key v1 deployment={deployment}")


def read_root_key(path: Path, *, deployment: UUID, environ: Mapping[str, str] | None = None) -> Secret[bytes]:
    """Return the root key from `WELLKEEP_ROOT_KEY` where that is set, else from the file at `path`.

    Raises Misconfigured on a file that is missing, not ours, readable to others, of another form or of another
    deployment, and on a variable that is not the base64 of 32 bytes.
    """
    given = (os.environ if environ is None else environ).get(ROOT_KEY_VARIABLE)
    if given is not None:
        return _decode(given.strip(), f"the environment variable {ROOT_KEY_VARIABLE}")
    return _read(path, f"wellkeep-root-key v1 deployment={deployment}")


def create_epoch_key(directory: Path, *, deployment: UUID, epoch: int) -> Secret[bytes]:
    """Make the key of `epoch` (1 to 255) in a new file of `directory` and return it."""
    if not 1 <= epoch <= _LAST_EPOCH:
        raise Misconfigured("An epoch is a number from 1 to 255.")
    return _create(directory / f"epoch-{epoch}.key", _epoch_header(deployment, epoch))


def read_epoch_keys(directory: Path, *, deployment: UUID) -> dict[int, Secret[bytes]]:
    """Return every epoch's key in `directory`; raises Misconfigured as `read_root_key` does."""
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError:
        raise Misconfigured(f"The directory {directory} can't be read. It holds the keys of this deployment.") from None
    found = {}
    for name in names:
        match = _EPOCH_NAME.fullmatch(name)
        if match is not None:
            epoch = int(match["epoch"])
            found[epoch] = _read(directory / name, _epoch_header(deployment, epoch))
    return found


def _epoch_header(deployment: UUID, epoch: int) -> str:
    return f"wellkeep-epoch-key v1 deployment={deployment} epoch={epoch}"


def _create(path: Path, header: str) -> Secret[bytes]:
    secret = os.urandom(_KEY_SIZE)
    text = f"{header}\n{base64.b64encode(secret).decode()}\n".encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Misconfigured(f"There is a key in {path} already. A key is never overwritten.") from None
    except OSError:
        raise Misconfigured(f"A key file can't be made at {path}. Its directory must exist and be yours.") from None
    written = False
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
        written = True
    finally:
        if not written:
            with suppress(FileNotFoundError):  # gone already is what is wanted
                path.unlink()
    return Secret(secret)


def _read(path: Path, header: str) -> Secret[bytes]:
    lines = _read_guarded(path).decode("ascii", errors="replace").split("\n")
    kind = header.split(" deployment=", maxsplit=1)[0]
    if not lines[0].startswith(kind + " "):
        raise Misconfigured(
            f"{path} is not a {kind.partition(' ')[0]} file of version 1. Restore it from where you keep it."
        )
    if lines[0] != header:
        raise Misconfigured(f"{path} belongs to another deployment or epoch. Put this deployment's own file back.")
    if len(lines) != 3 or lines[2] != "":  # noqa: PLR2004 -- header, key, end
        raise Misconfigured(f"{path} must have two lines: the header and the key. Restore it from where you keep it.")
    return _decode(lines[1], str(path))


def _read_guarded(path: Path) -> bytes:
    """Return a key file's bytes, after the open descriptor (not the name) was found to be safe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Misconfigured(
            f"There is no key file at {path}. Restore it from where you keep it: without it nothing can be opened."
        ) from None
    except OSError:
        raise Misconfigured(
            f"{path} can't be opened, or is a link. It must be a plain file of the serving account."
        ) from None
    try:
        _require_ours(path, os.fstat(descriptor))
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


def _require_ours(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Misconfigured(f"{path} is not a plain file.")
    if status.st_uid != os.geteuid():
        raise Misconfigured(f"{path} belongs to another account. Run: chown {os.geteuid()} {path}")
    if status.st_mode & _OTHERS:
        raise Misconfigured(f"{path} can be reached by other accounts. Run: chmod 600 {path}")


def _decode(text: str, place: str) -> Secret[bytes]:
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _KEY_SIZE:
        raise Misconfigured(f"The key in {place} is not the base64 of 32 bytes. Restore it from where you keep it.")
    return Secret(secret)
