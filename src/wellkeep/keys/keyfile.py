"""Key files of the local driver, and the environment variable in a root key file's stead.

Rules: a key file is a plain file, ours, 0600, of two lines: a header that says what it is and whose, and 32 bytes in
base64. Anything else is refused with a message that says what to do. A file is written under another name, synced, and
then linked to its own, so that it is there whole or not at all, and never in another's place; it is never written again
but to destroy it. The threats are a key that others on the machine can read, another deployment's or environment's file
put in this one's place, and a half-written key that seals data nobody opens again.

    wellkeep-root-key v1 deployment=<uuid> environment=<name>
    wellkeep-epoch-key v1 deployment=<uuid> environment=<name> epoch=<n>

`WELLKEEP_ROOT_KEY` holds the second line alone.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from wellkeep.base.durable import sync_directory
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.keys.scope import Scope

ROOT_KEY_VARIABLE = "WELLKEEP_ROOT_KEY"
_KEY_SIZE = 32
_MOST_BYTES = 512
_EPOCH_NAME = re.compile(r"epoch-([1-9][0-9]{0,8})\.key")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def create_root_key(path: Path, *, scope: Scope) -> Secret[bytes]:
    """Make a random root key in a new file and return it; Misconfigured where `path` exists already."""
    return write_root_key(path, Secret(os.urandom(_KEY_SIZE)), scope=scope)


def write_root_key(path: Path, secret: Secret[bytes], *, scope: Scope) -> Secret[bytes]:
    """Put a root key that was rebuilt into a new file; Misconfigured where `path` exists already."""
    return _create(path, _root_header(scope), secret)


def read_root_key(path: Path, *, scope: Scope, environ: Mapping[str, str] | None = None) -> Secret[bytes]:
    """Return the root key from `WELLKEEP_ROOT_KEY` where that is set, else from the file at `path`.

    Raises Misconfigured on a file that is missing, not ours, readable to others, of another form or of another
    deployment or environment, and on a variable that is not the base64 of 32 bytes.
    """
    given = (os.environ if environ is None else environ).get(ROOT_KEY_VARIABLE)
    if given is not None:
        return _decode(given.strip(), f"the environment variable {ROOT_KEY_VARIABLE}")
    return _read(path, _root_header(scope))


def create_epoch_key(directory: Path, *, scope: Scope, epoch: int) -> Secret[bytes]:
    """Make the key of `epoch`, from 1, in a new file of `directory` and return it; Misconfigured where it exists."""
    return _create(_epoch_path(directory, epoch), _epoch_header(scope, epoch), Secret(os.urandom(_KEY_SIZE)))


def ensure_epoch_key(directory: Path, *, scope: Scope, epoch: int) -> None:
    """Make the key of `epoch` durably unless it is there, whole and ours; raises Misconfigured, OSError."""
    if not has_epoch_key(directory, scope=scope, epoch=epoch):
        try:
            create_epoch_key(directory, scope=scope, epoch=epoch)
        except Misconfigured:
            read_epoch_key(directory, scope=scope, epoch=epoch)  # another process was quicker
    sync_directory(directory)  # also where somebody else made it, who may have died before this


def read_epoch_key(directory: Path, *, scope: Scope, epoch: int) -> Secret[bytes]:
    """Return the key of `epoch`; raises Misconfigured as `read_root_key` does."""
    return _read(_epoch_path(directory, epoch), _epoch_header(scope, epoch))


def has_epoch_key(directory: Path, *, scope: Scope, epoch: int) -> bool:
    """Say whether the key of `epoch` is there; one that was overwritten is not. Raises Misconfigured, OSError."""
    path = _epoch_path(directory, epoch)
    if not path.parent.is_dir():
        raise Misconfigured(f"The directory {directory} is not there. It holds the keys of this deployment.")
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    held = _read_guarded(path)
    if not held.strip(b"\0"):
        return False
    _key_of(path, held, _epoch_header(scope, epoch))
    return True


def require_own_epoch_keys(directory: Path, *, scope: Scope) -> None:
    """Raise Misconfigured where a file of an epoch's key in `directory` is another deployment's or environment's.

    Asked at each start: else such a file would be told of when a tenant's keys are first needed.
    """
    for path in sorted(directory.glob("epoch-*.key")):
        number = path.stem.removeprefix("epoch-")
        if number.isascii() and number.isdecimal() and not number.startswith("0"):
            has_epoch_key(directory, scope=scope, epoch=int(number))


def epochs_in(directory: Path) -> list[int]:
    """Return of which epochs there are files that hold something, whosever they are. Raises OSError."""
    named = ((_EPOCH_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(int(name[1]) for name, path in named if name is not None and path.read_bytes().strip(b"\0"))


def destroy_epoch_key(directory: Path, *, scope: Scope, epoch: int) -> None:
    """Overwrite the key of `epoch` with zeros, sync, unlink, sync; what is not there, or was overwritten, is no error.

    A leftover of its making is destroyed as well. Raises Misconfigured where the file is not this deployment's, OSError
    where it can't be written: then it may be tried again, at whichever step it stopped.
    """
    path = _epoch_path(directory, epoch)
    has_epoch_key(directory, scope=scope, epoch=epoch)  # refuses another deployment's
    for one in (*directory.glob(f".{path.name}.*.new"), path):
        with suppress(FileNotFoundError):  # a twin was quicker
            _overwrite(one)
            one.unlink()
    sync_directory(directory)


def _overwrite(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _root_header(scope: Scope) -> str:
    return f"wellkeep-root-key v1 deployment={scope.deployment} environment={scope.environment}"


def _epoch_header(scope: Scope, epoch: int) -> str:
    return f"wellkeep-epoch-key v1 deployment={scope.deployment} environment={scope.environment} epoch={epoch}"


def _epoch_path(directory: Path, epoch: int) -> Path:
    if epoch < 1:
        raise Misconfigured("An epoch is a number from 1.")
    return directory / f"epoch-{epoch}.key"


def _create(path: Path, header: str, secret: Secret[bytes]) -> Secret[bytes]:
    text = f"{header}\n{base64.b64encode(secret.reveal()).decode()}\n".encode()
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        raise Misconfigured(f"A key file can't be made at {path}. Its directory must exist and be yours.") from None
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(staging, path)  # fails where there is one, which a rename would not
        sync_directory(path.parent)
    except FileExistsError:
        raise Misconfigured(f"There is a key in {path} already. A key is never overwritten.") from None
    finally:
        with suppress(FileNotFoundError):  # gone already is what is wanted
            staging.unlink()
    return secret


def _read(path: Path, header: str) -> Secret[bytes]:
    return _key_of(path, _read_guarded(path), header)


def _key_of(path: Path, held: bytes, header: str) -> Secret[bytes]:
    lines = held.decode("ascii", errors="replace").split("\n")
    kind = header.split(" deployment=", maxsplit=1)[0]
    if not lines[0].startswith(kind + " "):
        raise Misconfigured(
            f"{path} is not a {kind.partition(' ')[0]} file of version 1. Restore it from where you keep it."
        )
    if lines[0] != header:
        raise Misconfigured(
            f"{path} belongs to another deployment, environment or epoch. Put this deployment's own file back."
        )
    if len(lines) != 3 or lines[2] != "":  # noqa: PLR2004 -- header, key, end
        raise Misconfigured(f"{path} must have two lines: the header and the key. Restore it from where you keep it.")
    return _decode(lines[1], str(path))


def _read_guarded(path: Path) -> bytes:
    """Return a key file's bytes, after the open descriptor (not the name) was found to be safe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Misconfigured(
            f"There is no key file at {path}, and without it nothing can be opened. Restore it from where you keep it; "
            "a lost root key, from its shares too: wellkeep keys recover"
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
