"""Who the embedded PostgreSQL runs as: nobody privileged.

PostgreSQL refuses to run as root, rightly. Rule: as root we step down to an account that exists already (`postgres`, or
the configured one) and never make one; as anybody else the server runs as ourselves. The threat is a launcher that
changes the machine's accounts, or opens directories to everybody, to get its way.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from wellkeep.base.errors import Misconfigured

DEFAULT_ACCOUNT = "postgres"


class Credentials(TypedDict, total=False):
    """The part of `subprocess`'s arguments that steps down."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The Unix account whose processes and files the server's are."""

    uid: int
    gid: int
    stepped_down: bool

    def credentials(self) -> Credentials:
        """Return what `subprocess` needs to start a process as this account."""
        if not self.stepped_down:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path | int) -> None:
        """Make `path` (or an open descriptor) this account's."""
        if self.stepped_down:
            os.chown(path, self.uid, self.gid)

    def may_traverse(self, directory: Path) -> bool:
        """Whether this account may pass through `directory`, by its mode bits."""
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def server_account(configured: str = DEFAULT_ACCOUNT) -> Account:
    """Return the account that the server is to run as.

    Raises Misconfigured where we are root and `configured` has no entry in the password database.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), stepped_down=False)
    try:
        entry = pwd.getpwnam(configured)
    except KeyError:
        raise Misconfigured(
            f"PostgreSQL does not run as root, and there is no account {configured!r} to run it as. Install your "
            "distribution's postgresql-common, or name an existing unprivileged account in the settings."
        ) from None
    if entry.pw_uid == 0:
        raise Misconfigured(f"The account {configured!r} is root under another name. Name an unprivileged account.")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, stepped_down=True)


def require_traversable(directory: Path, account: Account) -> None:
    """Raise Misconfigured unless `account` may pass through `directory` and everything above it.

    We never open a parent directory ourselves: a home under 0700 is closed on purpose.
    """
    for parent in (directory, *directory.parents):
        if not account.may_traverse(parent):
            raise Misconfigured(
                f"PostgreSQL runs as uid {account.uid} and can't pass through {parent}. "
                "Choose a data directory that it can reach, such as /var/lib/wellkeep."
            )
