"""The journal of commands: what the ledger can't take yet, in files of the home, one for each entry.

Rules: a command is written here before it does anything and flushed to disk, so one that is killed, or that starts a
database, is on record all the same; whoever opens the ledger next enters what lies here, and takes it away only then.
An entry's id is made with it, so entering it twice makes one entry. What lies under an entry's name and is none of ours
is not entered: that is a finding, it stays, and what comes after it is entered all the same.

The threat is a command that leaves no trace because it ended before its record, or because the ledger was away. Whoever
may write here is the account that runs the deployment: it can take a file away before it is entered.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from wellkeep.assembly.core import Core
from wellkeep.base.clock import SystemClock
from wellkeep.base.durable import sync_directory
from wellkeep.base.ids import PLATFORM_TENANT, parse_uuid
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.event import Action, Event, EventRefused, Outcome

_SUFFIX = ".entry"
_LONGEST = 4096
"""Far more than an entry of a command takes, in bytes."""
_ACTIONS = frozenset({Action.OPERATOR_COMMAND, Action.DEPLOYMENT_STARTED, Action.DEPLOYMENT_STOPPED})


class Journaled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be entered of a command."""

    id: UUID
    action: Action
    account: str
    outcome: Outcome
    request: UUID
    command: str
    error: str | None = None


_decode = msgspec.json.Decoder(Journaled).decode


class Journal:
    """The journal below the home's own directory."""

    def __init__(self, home: Path) -> None:
        """Describe it; nothing is made before there is something to write."""
        self._folder = home / "journal"

    def write(self, one: Journaled) -> None:
        """Write an entry, durably. Raises OSError where that can't be done: then nothing may be done either."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        staging = self._folder / f".{secrets.token_hex(8)}"
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.encode(one))
            stream.flush()
            os.fsync(stream.fileno())
        staging.rename(self._path(one.id))
        sync_directory(self._folder)

    def forget(self, one: UUID) -> None:
        """Take an entry away, because it is in the ledger."""
        self._path(one).unlink(missing_ok=True)

    def waiting(self, *, older_than: float = 0.0) -> Sequence[UUID]:
        """Return the ids of what waits and is so many seconds old, in the order of making."""
        if not self._folder.is_dir():
            return ()
        until = SystemClock().seconds() - older_than
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            named = parse_uuid(path.stem)
            if named is not None and (named.int >> 80) / 1000 <= until:
                found.append(named)
        return sorted(found)

    async def enter(self, core: Core, *, older_than: float = 0.0) -> int:
        """Enter what waits and return how many entries it were. Raises LedgerUnavailable; then it waits on."""
        entered = 0
        for one in self.waiting(older_than=older_than):
            try:
                read = _decode(_contents(self._path(one)))
                await core.gate.enter(_own(one, read), tenant=PLATFORM_TENANT)
            except FileNotFoundError:
                continue  # another process entered it meanwhile
            except (_Strange, msgspec.DecodeError, EventRefused):
                self._refuse(core)
                continue
            self.forget(one)
            entered += 1
        return entered

    def _path(self, one: UUID) -> Path:
        return self._folder / f"{one}{_SUFFIX}"

    @staticmethod
    def _refuse(core: Core) -> None:
        core.findings.note(
            PLATFORM_TENANT,
            kind=Kind.OPERATOR_UNRECORDED,
            severity=Severity.HIGH,
            key=finding_key(Kind.OPERATOR_UNRECORDED, "journal"),
            detail={"what": "journal"},
        )


def event(one: Journaled) -> Event:
    """Return the event that is entered of a command."""
    return Event(
        id=one.id,
        action=one.action,
        actor_type=ActorType.OPERATOR,
        actor_id=one.account,
        method=AuthMethod.LOCAL,
        outcome=one.outcome,
        request=one.request,
        resource_type="command",
        resource_id=one.command,
        error=one.error,
    )


class _Strange(Exception):
    """What lies in the journal was not written by it."""


def _own(named: UUID, one: Journaled) -> Event:
    """Return the event of what lies under the name `named`. Raises _Strange where it is no command's, or another's."""
    if one.id != named or one.action not in _ACTIONS:
        raise _Strange
    return event(one)


def _contents(path: Path) -> bytes:
    """Return what a file of the journal holds.

    Raises FileNotFoundError, and _Strange for what is no plain file, can't be read, or is longer than an entry.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError:
        raise _Strange from None
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        held = os.read(descriptor, _LONGEST + 1) if plain else b""
    finally:
        os.close(descriptor)
    if not plain or len(held) > _LONGEST:
        raise _Strange
    return held
