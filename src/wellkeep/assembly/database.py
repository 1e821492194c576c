"""The database of a deployment, embedded or external, and how each role reaches it.

Rule: who has an endpoint from here connects on record, where `announce` was given; see `assembly.announcing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from wellkeep.assembly.home import Home
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Settings
from wellkeep.db import passwords
from wellkeep.db.dsn import Announce, Endpoint
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.roles import LOGIN_ROLES


class Database:
    """One deployment's database. `start` is needed for the embedded one and harmless for an external one."""

    def __init__(self, home: Home, settings: Settings) -> None:
        """Describe the database that `settings` name; nothing is started."""
        self._settings = settings
        self._external: Mapping[str, Secret[str]] = {}
        self.announce: Announce | None = None
        self.embedded: EmbeddedServer | None = None
        if settings.database.mode == "embedded":
            self.embedded = EmbeddedServer(home.path, settings.environment, deployment=settings.deployment)
        else:
            self._external = passwords.load_or_create(home.secrets / "database.json", LOGIN_ROLES)

    def start(self) -> None:
        """Start the embedded server, or take over the one that runs."""
        if self.embedded is not None:
            self.embedded.start()

    def stop(self) -> None:
        """Stop the embedded server; an external one is not ours to stop."""
        if self.embedded is not None:
            self.embedded.stop()

    @property
    def passwords(self) -> Mapping[str, Secret[str]]:
        """The password of each login role, to be set when the roles are made."""
        return self.embedded.passwords if self.embedded is not None else self._external

    def endpoint(self, role: str) -> Endpoint:
        """Return how `role` reaches the database. Raises Misconfigured where the settings name no host."""
        if self.embedded is not None:
            return replace(self.embedded.endpoint(role, self._settings.database.name), announce=self.announce)
        where = self._settings.database
        if where.host is None:
            raise Misconfigured("The setting database.host is missing. It names the PostgreSQL server.")
        tls = () if where.sslrootcert is None else (("sslrootcert", where.sslrootcert),)
        return Endpoint(where.host, where.port, where.name, role, self._external[role], tls, self.announce)

    def administrator(self) -> Endpoint | None:
        """Return the superuser's endpoint where we own the server, else None: an external one's is not kept."""
        if self.embedded is None:
            return None
        return replace(self.embedded.endpoint(database=self._settings.database.name), announce=self.announce)
