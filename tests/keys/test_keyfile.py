"""Key files: nobody else's eyes, nobody else's deployment, never written twice."""

from __future__ import annotations

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.keys import keyfile
from wellkeep.keys.scope import Scope

DEPLOYMENT = UUID("0198c2f0-0000-7000-8000-000000000001")
SCOPE = Scope(DEPLOYMENT, "test")
HEADER = f"wellkeep-root-key v1 deployment={DEPLOYMENT} environment=test"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_is_made_once_durable_and_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    before = os.umask(0)
    try:
        secret = keyfile.create_root_key(path, scope=SCOPE)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keyfile.read_root_key(path, scope=SCOPE, environ={}).reveal() == secret.reveal()
    with pytest.raises(Misconfigured, match="never overwritten"):
        keyfile.create_root_key(path, scope=SCOPE)
    assert keyfile.read_root_key(path, scope=SCOPE, environ={}).reveal() == secret.reveal()


def test_the_environment_goes_first(tmp_path: Path) -> None:
    keyfile.create_root_key(tmp_path / "root.key", scope=SCOPE)
    secret = os.urandom(32)
    environ = {keyfile.ROOT_KEY_VARIABLE: base64.b64encode(secret).decode()}
    assert keyfile.read_root_key(tmp_path / "root.key", scope=SCOPE, environ=environ).reveal() == secret


@pytest.mark.parametrize("value", ["", "short", base64.b64encode(bytes(31)).decode(), "é" * 44, "A" * 44 + "\n!"])
def test_a_variable_that_is_no_key_is_refused_without_its_value(tmp_path: Path, value: str) -> None:
    with pytest.raises(Misconfigured, match="base64 of 32 bytes") as refusal:
        keyfile.read_root_key(tmp_path / "none", scope=SCOPE, environ={keyfile.ROOT_KEY_VARIABLE: value})
    assert not value or value not in refusal.value.message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610])
def test_a_file_that_others_can_reach_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    keyfile.create_root_key(path, scope=SCOPE)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match="chmod 600"):
        keyfile.read_root_key(path, scope=SCOPE, environ={})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_accounts_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    keyfile.create_root_key(path, scope=SCOPE)
    os.chown(path, 12345, 12345)
    with pytest.raises(Misconfigured, match="another account"):
        keyfile.read_root_key(path, scope=SCOPE, environ={})


@pytest.mark.parametrize("other", [Scope(uuid4(), "test"), Scope(DEPLOYMENT, "production")])
def test_another_deployments_or_environments_file_is_refused(tmp_path: Path, other: Scope) -> None:
    keyfile.create_root_key(tmp_path / "root.key", scope=other)
    with pytest.raises(Misconfigured, match="another deployment"):
        keyfile.read_root_key(tmp_path / "root.key", scope=SCOPE, environ={})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"{HEADER}\n",
        f"{HEADER}\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{HEADER}\n{base64.b64encode(bytes(32)).decode()}",
        f"{HEADER}\n{base64.b64encode(bytes(32)).decode()}\nmore\n",
        f"{HEADER.replace('v1', 'v2')}\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{HEADER}\n{'é' * 44}\n",
        "\x00" * 600,
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "root.key", text)
    with pytest.raises(Misconfigured):
        keyfile.read_root_key(path, scope=SCOPE, environ={})


def test_a_missing_file_a_link_a_directory_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no key file"):
        keyfile.read_root_key(tmp_path / "none", scope=SCOPE, environ={})
    keyfile.create_root_key(tmp_path / "real.key", scope=SCOPE)
    (tmp_path / "link.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(Misconfigured, match="link"):
        keyfile.read_root_key(tmp_path / "link.key", scope=SCOPE, environ={})
    for make in (Path.mkdir, os.mkfifo):
        path = tmp_path / make.__name__
        make(path)
        with pytest.raises(Misconfigured, match="plain file"):
            keyfile.read_root_key(path, scope=SCOPE, environ={})


def test_a_key_that_could_not_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((OSError, Misconfigured)):
        keyfile.create_root_key(tmp_path / "root.key", scope=SCOPE)
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_key_that_was_renamed_is_refused(tmp_path: Path) -> None:
    made = {epoch: keyfile.create_epoch_key(tmp_path, scope=SCOPE, epoch=epoch) for epoch in (1, 2, 1200)}
    for epoch, key in made.items():
        assert keyfile.read_epoch_key(tmp_path, scope=SCOPE, epoch=epoch).reveal() == key.reveal()
    (tmp_path / "epoch-2.key").rename(tmp_path / "epoch-3.key")
    for act in (keyfile.read_epoch_key, keyfile.has_epoch_key, keyfile.destroy_epoch_key, keyfile.ensure_epoch_key):
        with pytest.raises(Misconfigured, match="another deployment, environment or epoch"):
            act(tmp_path, scope=SCOPE, epoch=3)
    with pytest.raises(Misconfigured):
        keyfile.create_epoch_key(tmp_path, scope=SCOPE, epoch=0)
    with pytest.raises(Misconfigured):
        keyfile.has_epoch_key(tmp_path / "none", scope=SCOPE, epoch=1)


def test_many_who_make_an_epoch_key_at_once_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: keyfile.ensure_epoch_key(tmp_path, scope=SCOPE, epoch=1), range(32)):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-1.key"]


def test_what_is_destroyed_was_overwritten_before_it_was_unlinked(tmp_path: Path) -> None:
    """A second link to the same file shows what was left in its blocks, and a leftover of its making goes as well."""
    keyfile.create_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    keyfile.create_epoch_key(tmp_path, scope=SCOPE, epoch=11)
    (tmp_path / "seen").hardlink_to(tmp_path / "epoch-1.key")
    (tmp_path / ".epoch-1.key.00ff.new").hardlink_to(tmp_path / "epoch-1.key")
    keyfile.destroy_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    keyfile.destroy_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    assert not (tmp_path / "seen").read_bytes().strip(b"\0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-11.key", "seen"]


def test_a_destruction_that_stopped_halfway_counts_and_goes_on(tmp_path: Path) -> None:
    keyfile.create_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    path = tmp_path / "epoch-1.key"
    path.write_bytes(bytes(path.stat().st_size))
    assert not keyfile.has_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    with pytest.raises(Misconfigured):
        keyfile.read_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    with pytest.raises(Misconfigured):
        keyfile.ensure_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    keyfile.destroy_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    assert not path.exists()


def test_what_a_crash_left_of_making_a_key_is_in_nobodys_way(tmp_path: Path) -> None:
    """It has another name, was never wrapped under, and goes with the epoch's key."""
    left = write(tmp_path / ".epoch-1.key.0123456789abcdef.new", "wellkeep-epoch-key v1 deploy")
    keyfile.ensure_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    assert keyfile.epochs_in(tmp_path) == [1]
    keyfile.destroy_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    assert not left.exists()
    assert keyfile.epochs_in(tmp_path) == []


def test_a_disk_that_is_full_leaves_no_epoch_key_and_the_next_try_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            keyfile.ensure_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    assert list(tmp_path.iterdir()) == []
    keyfile.ensure_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    assert keyfile.has_epoch_key(tmp_path, scope=SCOPE, epoch=1)


def test_a_destruction_that_could_not_be_synced_is_not_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "input/output")

    keyfile.create_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="input/output"):
            keyfile.destroy_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    keyfile.destroy_epoch_key(tmp_path, scope=SCOPE, epoch=1)
    assert list(tmp_path.iterdir()) == []
