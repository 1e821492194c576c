"""A file of an epoch's key that another environment made stops the start, before anything needs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.keys.keyfile import create_epoch_key, require_own_epoch_keys
from wellkeep.keys.scope import Scope

OURS = Scope(deployment=UUID(int=7), environment="test")


@pytest.mark.parametrize("theirs", [replace(OURS, environment="production"), replace(OURS, deployment=UUID(int=8))])
def test_one_of_several_that_is_not_ours_stops_the_start(tmp_path: Path, theirs: Scope) -> None:
    create_epoch_key(tmp_path, scope=OURS, epoch=1)
    require_own_epoch_keys(tmp_path, scope=OURS)
    create_epoch_key(tmp_path, scope=theirs, epoch=2)
    with pytest.raises(Misconfigured, match="environment"):
        require_own_epoch_keys(tmp_path, scope=OURS)


def test_what_was_destroyed_or_is_no_key_stops_nothing(tmp_path: Path) -> None:
    create_epoch_key(tmp_path, scope=OURS, epoch=1)
    path = tmp_path / "epoch-1.key"
    path.write_bytes(bytes(path.stat().st_size))
    (tmp_path / "epoch-old.key").write_text("a copy that somebody made")
    require_own_epoch_keys(tmp_path, scope=OURS)
