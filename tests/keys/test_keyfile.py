"""Key files: nobody else's eyes, nobody else's deployment, never written twice."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.keys import keyfile

DEPLOYMENT = UUID("0198c2f0-0000-7000-8000-000000000001")
HEADER = f"wellkeep-root-key v1 deployment={DEPLOYMENT}"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_is_made_once_durable_and_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    before = os.umask(0)
    try:
        secret = keyfile.create_root_key(path, deployment=DEPLOYMENT)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keyfile.read_root_key(path, deployment=DEPLOYMENT, environ={}).reveal() == secret.reveal()
    with pytest.raises(Misconfigured, match="never overwritten"):
        keyfile.create_root_key(path, deployment=DEPLOYMENT)
    assert keyfile.read_root_key(path, deployment=DEPLOYMENT, environ={}).reveal() == secret.reveal()


def test_the_environment_goes_first(tmp_path: Path) -> None:
    keyfile.create_root_key(tmp_path / "root.key", deployment=DEPLOYMENT)
    secret = os.urandom(32)
    environ = {keyfile.ROOT_KEY_VARIABLE: base64.b64encode(secret).decode()}
    assert keyfile.read_root_key(tmp_path / "root.key", deployment=DEPLOYMENT, environ=environ).reveal() == secret


@pytest.mark.parametrize("value", ["", "short", base64.b64encode(bytes(31)).decode(), "é" * 44, "A" * 44 + "\n!"])
def test_a_variable_that_is_no_key_is_refused_without_its_value(tmp_path: Path, value: str) -> None:
    with pytest.raises(Misconfigured, match="base64 of 32 bytes") as refusal:
        keyfile.read_root_key(tmp_path / "none", deployment=DEPLOYMENT, environ={keyfile.ROOT_KEY_VARIABLE: value})
    assert not value or value not in refusal.value.message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610])
def test_a_file_that_others_can_reach_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    keyfile.create_root_key(path, deployment=DEPLOYMENT)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match="chmod 600"):
        keyfile.read_root_key(path, deployment=DEPLOYMENT, environ={})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_accounts_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    keyfile.create_root_key(path, deployment=DEPLOYMENT)
    os.chown(path, 12345, 12345)
    with pytest.raises(Misconfigured, match="another account"):
        keyfile.read_root_key(path, deployment=DEPLOYMENT, environ={})


def test_another_deployments_file_is_refused(tmp_path: Path) -> None:
    keyfile.create_root_key(tmp_path / "root.key", deployment=uuid4())
    with pytest.raises(Misconfigured, match="another deployment"):
        keyfile.read_root_key(tmp_path / "root.key", deployment=DEPLOYMENT, environ={})


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
        keyfile.read_root_key(path, deployment=DEPLOYMENT, environ={})


def test_a_missing_file_a_link_a_directory_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no key file"):
        keyfile.read_root_key(tmp_path / "none", deployment=DEPLOYMENT, environ={})
    keyfile.create_root_key(tmp_path / "real.key", deployment=DEPLOYMENT)
    (tmp_path / "link.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(Misconfigured, match="link"):
        keyfile.read_root_key(tmp_path / "link.key", deployment=DEPLOYMENT, environ={})
    for make in (Path.mkdir, os.mkfifo):
        path = tmp_path / make.__name__
        make(path)
        with pytest.raises(Misconfigured, match="plain file"):
            keyfile.read_root_key(path, deployment=DEPLOYMENT, environ={})


def test_a_key_that_could_not_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((OSError, Misconfigured)):
        keyfile.create_root_key(tmp_path / "root.key", deployment=DEPLOYMENT)
    assert list(tmp_path.iterdir()) == []


def test_epoch_keys_are_read_by_number_and_a_renamed_one_is_refused(tmp_path: Path) -> None:
    made = {epoch: keyfile.create_epoch_key(tmp_path, deployment=DEPLOYMENT, epoch=epoch) for epoch in (1, 2, 12)}
    (tmp_path / "epoch-x.key").write_text("not one of ours")
    read = keyfile.read_epoch_keys(tmp_path, deployment=DEPLOYMENT)
    assert {epoch: key.reveal() for epoch, key in read.items()} == {epoch: key.reveal() for epoch, key in made.items()}
    (tmp_path / "epoch-2.key").rename(tmp_path / "epoch-3.key")
    with pytest.raises(Misconfigured, match="another deployment or epoch"):
        keyfile.read_epoch_keys(tmp_path, deployment=DEPLOYMENT)
    with pytest.raises(Misconfigured):
        keyfile.create_epoch_key(tmp_path, deployment=DEPLOYMENT, epoch=256)
    with pytest.raises(Misconfigured):
        keyfile.read_epoch_keys(tmp_path / "none", deployment=DEPLOYMENT)
