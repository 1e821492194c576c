"""Root and epoch keys of the local driver, for tests that stand on them."""

from __future__ import annotations

import os
import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp
from uuid import UUID

from wellkeep.base.secrets import Secret
from wellkeep.keys import keyfile
from wellkeep.keys.local import LocalEpochKeys, LocalKms
from wellkeep.keys.scope import Scope

SCOPE = Scope(UUID("0198c2f0-0000-7000-8000-00000000d001"), "test")


def a_root() -> LocalKms:
    """Return a root key that nobody else has."""
    return LocalKms(Secret(os.urandom(32)), scope=SCOPE)


def epoch_keys(*epochs: int) -> LocalEpochKeys:
    """Return new keys of `epochs`, in a directory that goes when they do."""
    directory = Path(mkdtemp(prefix="wk-epochs-"))
    made = LocalEpochKeys(directory, scope=SCOPE)
    weakref.finalize(made, shutil.rmtree, directory, ignore_errors=True)
    for epoch in epochs:
        keyfile.create_epoch_key(directory, scope=SCOPE, epoch=epoch)
    return made
