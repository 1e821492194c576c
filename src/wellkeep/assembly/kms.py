"""The key management service and epoch keys that the settings name."""

from __future__ import annotations

from wellkeep.assembly.home import Home
from wellkeep.base.settings import Settings
from wellkeep.keys import keyfile
from wellkeep.keys.local import LocalEpochKeys, LocalKms

FIRST_EPOCH = 1


def make_local_keys(home: Home, settings: Settings) -> None:
    """Make the root key and the first epoch key where they are missing; a key that exists is never replaced."""
    root = home.resolve(settings.keys.root_key)
    if not root.exists():
        keyfile.create_root_key(root, deployment=settings.deployment)
    if not keyfile.read_epoch_keys(home.secrets, deployment=settings.deployment):
        keyfile.create_epoch_key(home.secrets, deployment=settings.deployment, epoch=FIRST_EPOCH)


def open_kms(home: Home, settings: Settings) -> LocalKms:
    """Return the service that holds the root key. Raises Misconfigured, saying what is wrong with the key file."""
    return LocalKms(keyfile.read_root_key(home.resolve(settings.keys.root_key), deployment=settings.deployment))


def open_epochs(home: Home, settings: Settings) -> LocalEpochKeys:
    """Return the deployment's epoch keys. Raises Misconfigured."""
    return LocalEpochKeys.open(home.secrets, deployment=settings.deployment)
