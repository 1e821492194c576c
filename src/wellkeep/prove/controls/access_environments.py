"""access.environments: what one environment made (a database, a key) stops the start of the other.

A second deployment, of another environment, is made beside the scratch one. Then its files are exchanged one by one for
the first one's, as somebody does who copies a home, pastes a DSN or mixes two backups up; each time it is started, must
refuse, and must start again once its own is back.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import msgspec

from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.installation import initialise
from wellkeep.assembly.kms import scope_of
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.errors import IntegrityBroken, Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import DatabaseSettings
from wellkeep.keys.keyfile import ROOT_KEY_VARIABLE, read_root_key
from wellkeep.keys.kms import KeyPurpose, key_context
from wellkeep.keys.local import LocalKms
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.server import PROGRAM, commanding, ended
from wellkeep.prove.world import World

_ENVIRONMENT = "elsewhere"
_ROOT, _EPOCH = "root.key", "epoch-1.key"
_OK, _UNAUTHENTICATED = 200, 401


@dataclass(frozen=True, slots=True)
class _Two:
    """The scratch deployment, which is served, and the other one, whose files are exchanged."""

    scratch: Scratch
    other: Home

    @property
    def first(self) -> Home:
        """The home of the deployment whose things are taken."""
        return self.scratch.home


async def run(world: World, notes: Notes) -> None:
    """Start the other deployment with one thing of the first at a time."""
    scratch = await world.scratch()
    async with _another() as other:
        two = _Two(scratch, other)
        database = Database(other, other.settings())
        await asyncio.to_thread(database.start)
        try:
            await _exchanged(two, notes)
            await _variable(two, notes)
            await _one_key_for_both(two, notes)
            await _api_keys(two, notes)
        finally:
            await asyncio.to_thread(database.stop)


@asynccontextmanager
async def _another() -> AsyncIterator[Home]:
    """Make a deployment of another environment, and remove it afterwards."""
    folder = await asyncio.to_thread(_folder)
    try:
        home = Home(folder / "home", takes_root_key=False)
        await initialise(home, environment=_ENVIRONMENT)
        yield home
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _folder() -> Path:
    """Make a directory that the embedded PostgreSQL's own account can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="wellkeep-scratch-"))
    folder.chmod(0o711)
    return folder


async def _exchanged(two: _Two, notes: Notes) -> None:
    """Exchange one thing at a time; the refusal must say what is wrong with it."""
    cases: dict[str, tuple[Callable[[_Two], AbstractContextManager[None]], str]] = {
        "the other's root key file": (lambda one: _file_of_the_other(one, _ROOT, _ROOT), "environment"),
        "the other's epoch key file": (
            lambda one: _file_of_the_other(one, _newest_epoch(one.first), _EPOCH),
            "environment",
        ),
        "a root key file of this deployment, made for the other environment": (
            lambda one: _relabelled(one, _ROOT),
            "environment",
        ),
        "an epoch key file of this deployment, made for the other environment": (
            lambda one: _relabelled(one, _EPOCH),
            "environment",
        ),
        "the other's root key in a file that says it is this one's": (_forged, "root key"),
        "the other's database directory": (_directory, "environment"),
        "the other's database server and passwords, as by its DSN": (_server, "environment"),
        "a settings file that names the other environment": (_renamed, "environment"),
    }
    for name, (exchange, word) in cases.items():
        with exchange(two):
            said = await _start(two.other)
        held = said is not None and word in said
        seen = "it started" if said is None else f"refused: {said.partition('. ')[0]}"
        notes.check(f"started a deployment with {name}", held=held, seen=seen)
    said = await _start(two.other)
    notes.check(
        "positive control: started it with its own again",
        held=said is None,
        seen="it starts" if said is None else f"refused: {said}",
    )


async def _start(home: Home) -> str | None:
    """Open what a server opens before it serves; return why it refused, or None where it did not."""
    try:
        settings = home.settings()
        database = Database(home, settings)
        await asyncio.to_thread(database.start)
        async with open_core(home, settings, database):
            return None
    except Misconfigured as refused:
        return refused.message


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    """Put a file or directory aside, and back again."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        aside.rename(path)


@contextmanager
def _text(path: Path, text: str) -> Iterator[None]:
    with _kept(path):
        _write(path, text)
        yield


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _file_of_the_other(two: _Two, name: str, place: str) -> AbstractContextManager[None]:
    return _text(two.other.secrets / place, (two.first.secrets / name).read_text("ascii"))


def _newest_epoch(home: Home) -> str:
    """Return the name of a file of an epoch's key that is there: earlier ones may have been destroyed."""
    names = [path.name for path in home.secrets.glob("epoch-*.key") if path.read_bytes().strip(b"\0")]
    if not names:
        raise Unseen("the scratch deployment has no file of an epoch's key")
    return max(names, key=lambda name: (len(name), name))


def _relabelled(two: _Two, name: str) -> AbstractContextManager[None]:
    """Have a key file say that the same deployment made it in the other environment."""
    own, other = (f"environment={home.settings().environment}" for home in (two.other, two.first))
    path = two.other.secrets / name
    return _text(path, path.read_text("ascii").replace(own, other))


def _forged(two: _Two) -> AbstractContextManager[None]:
    header = (two.other.secrets / _ROOT).read_text("ascii").partition("\n")[0]
    return _text(two.other.secrets / _ROOT, f"{header}\n{_key(two.first)}\n")


def _key(home: Home) -> str:
    return (home.secrets / _ROOT).read_text("ascii").split("\n")[1]


@contextmanager
def _directory(two: _Two) -> Iterator[None]:
    path = two.other.path / "postgres"
    with _kept(path):
        path.symlink_to(two.first.path / "postgres")
        yield


@contextmanager
def _server(two: _Two) -> Iterator[None]:
    endpoint = two.scratch.superuser()
    before = two.other.settings()
    where = DatabaseSettings(mode="external", host=endpoint.host, port=endpoint.port, name=endpoint.database)
    passwords = two.other.secrets / "database.json"
    _write(passwords, json.dumps({role: one.reveal() for role, one in two.scratch.database.passwords.items()}))
    two.other.write_settings(msgspec.structs.replace(before, database=where))
    try:
        yield
    finally:
        two.other.write_settings(before)
        passwords.unlink()


@contextmanager
def _renamed(two: _Two) -> Iterator[None]:
    before = two.other.settings()
    two.other.write_settings(msgspec.structs.replace(before, environment=two.first.settings().environment))
    try:
        yield
    finally:
        two.other.write_settings(before)


async def _variable(two: _Two, notes: Notes) -> None:
    """Give the root key by the environment of the process: its own, then the other's; as an operator starts it."""
    told = {}
    for name, home in (("own", two.other), ("other", two.first)):
        given = commanding(two.other.path) | {ROOT_KEY_VARIABLE: _key(home)}
        told[name] = await asyncio.to_thread(ended, *PROGRAM, "tenant", "list", environment=given)
    refused = told["other"].code != 0 and "root key" in told["other"].err
    notes.check(
        f"started a process with the other's root key in {ROOT_KEY_VARIABLE}; positive control: with its own",
        held=refused and told["own"].code == 0,
        seen=f"exit {told['other'].code} with the other's, {told['own'].code} with its own",
    )


async def _one_key_for_both(two: _Two, notes: Notes) -> None:
    """Wrap a key in one environment and unwrap it in the other, by the very same root key."""
    ours, theirs = (scope_of(home.settings()) for home in (two.other, two.first))
    secret: Secret[bytes] = read_root_key(two.other.secrets / _ROOT, scope=ours, environ={})
    context = key_context(PLATFORM_TENANT, KeyPurpose.DATA, 1)
    wrapped = await LocalKms(secret, scope=ours).wrap(bytes(32), context=context)
    scopes = {
        "its own": ours,
        "another environment": replace(ours, environment=theirs.environment),
        "another deployment": replace(ours, deployment=theirs.deployment),
    }
    opened = []
    for name, scope in scopes.items():
        try:
            await LocalKms(secret, scope=scope).unwrap(wrapped, context=context)
        except IntegrityBroken:
            continue
        opened.append(name)
    notes.check(
        "gave both environments one root key, and unwrapped a key of one in the other",
        held=opened == ["its own"],
        seen=f"it opens in {', '.join(opened) or 'neither'}",
    )


async def _api_keys(two: _Two, notes: Notes) -> None:
    """Show the served deployment an API key of the other, as it is and under this one's name."""
    settings = two.other.settings()
    database = Database(two.other, settings)
    await asyncio.to_thread(database.start)
    async with open_runtime(two.other, settings, database) as runtime:
        made = await runtime.api_keys.create(
            this_operator(), tenant=PLATFORM_TENANT, name=f"prove-{uuid4().hex[:8]}", roles=("auditor",), days=1
        )
    own = two.scratch.settings.environment
    shown = {
        "as it is": made.key,
        "with the environment's name changed": Secret(made.key.reveal().replace(f"_{_ENVIRONMENT}_", f"_{own}_")),
        "positive control": two.scratch.a.keys["integration"],
    }
    answers = {}
    for name, key in shown.items():
        client = await two.scratch.client(key)
        answers[name] = (await client.get("/v1/collections")).status_code
    good = answers.pop("positive control")
    notes.check(
        "signed in with an API key of the other environment, as it is and renamed; positive control: with one's own",
        held=set(answers.values()) == {_UNAUTHENTICATED} and good == _OK,
        seen=f"HTTP {', '.join(map(str, answers.values()))}; its own: {good}",
    )


PROBE = Probe(claim="access.environments", where=Where.SCRATCH, run=run)
