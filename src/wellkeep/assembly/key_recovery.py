"""The local root key of a deployment: its recovery shares, and the file that is rebuilt from them.

Rule: the file that is written is the one that the settings name, and only where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.kms import scope_of
from wellkeep.base.errors import Misconfigured
from wellkeep.base.key_settings import LocalRoot
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Settings
from wellkeep.db.provision import connected
from wellkeep.keys import keyfile, recovery
from wellkeep.keys.local import root_name
from wellkeep.keys.recovery import Split


def root_key_file(home: Home, settings: Settings) -> Path | None:
    """Return where the root key of the deployment's own keys lies, None where a service holds it."""
    own = next(one for one in settings.keys.all_roots() if one.name == settings.keys.root)
    return home.resolve(own.key) if isinstance(own, LocalRoot) else None


def recovery_shares(home: Home, settings: Settings, split: Split) -> tuple[Secret[str], ...]:
    """Return new shares of the root key; none where a service holds it, or the environment. Raises Misconfigured."""
    path = root_key_file(home, settings)
    if path is None or not path.exists():
        return ()
    return recovery.make_shares(keyfile.read_root_key(path, scope=scope_of(settings), environ={}), split)


def require_shares(home: Home, settings: Settings) -> Path:
    """Return where the root key's file lies, or did. Raises Misconfigured where a service holds that key."""
    path = root_key_file(home, settings)
    if path is None:
        raise Misconfigured("The root key of this deployment is held by a service: there are no shares of it.")
    return path


def require_recoverable(home: Home, settings: Settings) -> Path:
    """Return the root key's file that is missing. Raises Misconfigured where it is there, or lies elsewhere."""
    path = require_shares(home, settings)
    if path.exists() or path.is_symlink():
        raise Misconfigured(f"There is a key in {path}. It is never overwritten: move it away if it is the wrong one.")
    return path


async def recover(home: Home, settings: Settings, database: Database, shares: Sequence[Secret[str]]) -> Path:
    """Rebuild the root key's file from `shares` and return where it is.

    Raises Misconfigured where the shares are another key's, or a file is there; DatabaseUnavailable.
    """
    path = require_recoverable(home, settings)
    keyfile.write_root_key(path, await _rebuilt(database, shares), scope=scope_of(settings))
    return path


async def try_shares(database: Database, shares: Sequence[Secret[str]]) -> None:
    """Rebuild the root key from `shares` and write nothing. Raises Misconfigured where they are another key's."""
    await _rebuilt(database, shares)


async def _rebuilt(database: Database, shares: Sequence[Secret[str]]) -> Secret[bytes]:
    key = recovery.rebuild(shares)
    async with connected(database.endpoint("wk_app")) as connection:
        await recovery.require_in_use(connection, root_name(key))
    return key
