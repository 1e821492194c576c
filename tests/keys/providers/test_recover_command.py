"""A root key that burnt comes back from what `init` showed once, on record, and nothing is ever overwritten."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from database import ENVIRONMENT, scratch_home
from deployments import WELLKEEP, Said, command, environment

SECONDS = 120


@dataclass(frozen=True)
class Made:
    """A deployment that nobody serves, and its shares."""

    home: Path
    shares: tuple[str, ...]

    @property
    def root_key(self) -> Path:
        return self.home / "secrets/root.key"

    def recover(self, shares: Sequence[str], *options: str) -> Said:
        """Run `keys recover`, the shares on its stdin."""
        done = subprocess.run(  # noqa: S603 -- our own program
            [*WELLKEEP, "keys", "recover", str(self.home), *options],
            env=environment(),
            input="\n".join(shares) + "\n",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    folder = scratch_home()
    home = folder / "home"
    try:
        said = command("init", home, "--environment", ENVIRONMENT, "--recovery-shares", "2/4", "--json")
        assert said.code == 0, said.err
        yield Made(home, tuple(said.json()["recovery_shares"]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_shares_are_shown_by_the_first_init_alone_and_written_nowhere(made: Made) -> None:
    assert len(made.shares) == 4
    again = command("init", made.home, "--environment", ENVIRONMENT, "--json")
    assert again.json()["recovery_shares"] == []
    first_words = made.shares[0].split()[5:12]
    for path in made.home.rglob("*"):
        if path.is_file() and path.stat().st_size < 2**20:
            assert " ".join(first_words).encode() not in path.read_bytes(), path


def test_a_key_that_is_there_is_never_overwritten(made: Made) -> None:
    before = made.root_key.read_bytes()
    said = made.recover(made.shares[:2])
    assert said.code == 1
    assert "never overwritten" in said.err
    assert made.root_key.read_bytes() == before


def test_shares_are_tried_while_the_key_is_there_and_nothing_is_written(made: Made) -> None:
    before = {path.name: path.read_bytes() for path in made.root_key.parent.iterdir()}
    said = made.recover([made.shares[2], made.shares[0]], "--check")
    assert said.code == 0, said.err
    assert "rebuild the root key" in said.all
    said = made.recover([made.shares[1], made.shares[1]], "--check")
    assert said.code == 1
    assert "rebuild no key" in said.err
    assert {path.name: path.read_bytes() for path in made.root_key.parent.iterdir()} == before


def test_a_lost_root_key_is_rebuilt_and_that_is_on_record(made: Made) -> None:
    before = made.root_key.read_bytes()
    made.root_key.unlink()
    assert command("tenant", "list", home=made.home).code == 1
    for wrong in (["hunter2 " * 33], [made.shares[0], made.shares[0]]):
        said = made.recover(wrong)
        assert said.code == 1, said.all
        assert not made.root_key.exists()
        assert "hunter2" not in said.all
        words = set(made.shares[0].split()[5:]) - {"rebuild"}  # one of the 1,024, and of our own message
        assert not words & set(said.all.split()), "words of a share were shown"
    said = made.recover([made.shares[3].upper(), made.shares[1]])
    assert said.code == 0, said.err
    assert made.root_key.read_bytes() == before
    assert made.root_key.stat().st_mode & 0o777 == 0o600
    assert command("tenant", "list", home=made.home).code == 0
    entered = command("ledger", "verify", "--json", home=made.home)
    assert entered.code == 0, entered.err


def test_another_deployments_shares_write_nothing(made: Made, tmp_path: Path) -> None:
    folder = scratch_home()
    try:
        said = command("init", folder / "home", "--environment", ENVIRONMENT, "--json")
        theirs = json.loads(said.out)["recovery_shares"]
        assert len(theirs) == 3
        before = made.root_key.read_bytes()
        assert "another deployment" in made.recover(theirs, "--check").err
        made.root_key.unlink()
        try:
            refused = made.recover(theirs)
            assert refused.code == 1
            assert "another deployment" in refused.err
            assert not made.root_key.exists()
        finally:
            made.root_key.write_bytes(before)
            made.root_key.chmod(0o600)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_root_key_that_takes_the_place_of_another_has_shares_of_its_own(made: Made) -> None:
    file = made.home / "wellkeep.toml"
    before = file.read_text()
    roots = ["[keys]", 'root = "second"', "[[keys.roots]]", 'driver = "local"', 'name = "second"']
    roots += ['key = "secrets/second.key"', "[[keys.roots]]", 'driver = "local"', 'name = "main"', "retired = true"]
    file.write_text(before.replace("[keys]\n", "\n".join(roots) + "\n"))
    try:
        said = command("init", made.home, "--environment", ENVIRONMENT, "--json")
        assert said.code == 0, said.err
        theirs = said.json()["recovery_shares"]
        assert len(theirs) == 3
        assert said.json()["administrator_key"] is None
        assert "another deployment" in made.recover(theirs, "--check").err, "nothing lies under it yet"
        assert command("keys", "rotate", "root", home=made.home).code == 0
        assert made.recover(theirs, "--check").code == 0
    finally:
        file.write_text(before)


@pytest.mark.parametrize("asked", ["1/3", "half"])
def test_a_split_that_hands_out_the_key_is_refused_before_anything_is_made(tmp_path: Path, asked: str) -> None:
    said = command("init", tmp_path / "home", "--recovery-shares", asked)
    assert said.code == 1
    assert "2/3" in said.err
    assert not (tmp_path / "home/secrets").exists()
