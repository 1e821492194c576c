"""The settings of one deployment: one TOML file in its home, checked in full before anything starts.

Rules: no setting turns a defence off; secrets stand in files of their own under `secrets/` (mode 0600) or in the
environment, never here; an unknown key stops the start, because a misspelt setting is a setting that is not in force.

    <home>/wellkeep.toml        this file
    <home>/secrets/             root key, epoch keys, database passwords, TLS key (0700, files 0600)
    <home>/postgres/            the embedded PostgreSQL, where there is one
    <home>/log/                 JSON lines
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from wellkeep.base.access_settings import AccessSettings, MailSettings, check_mail
from wellkeep.base.anchor_settings import AnchorSettings, check_anchors
from wellkeep.base.errors import Misconfigured
from wellkeep.base.key_settings import KeySettings, check_keys
from wellkeep.base.limit_settings import LimitSettings, check_limits
from wellkeep.base.listed import Code
from wellkeep.base.listen_settings import ListenSettings, admin_networks
from wellkeep.base.sink_settings import SinkSettings, check_sinks
from wellkeep.base.tls_settings import TlsSettings, check_hosts
from wellkeep.base.trust_settings import TrustSettings
from wellkeep.base.volume_settings import VolumeSettings

FILE_NAME = "wellkeep.toml"
PRODUCTION = "production"
"""The environment that real patients' data is in."""

_HOST = r"^([0-9A-Za-z]([0-9A-Za-z._-]{0,251}[0-9A-Za-z.])?|[0-9A-Fa-f:.]{2,45})\Z"

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Environment = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9]{1,15}$")]


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where PostgreSQL is: the embedded one, or any ≥ 15 by the connection string of an administrator."""

    mode: Literal["embedded", "external"] = "embedded"
    host: str | None = None
    port: int = 5432
    name: str = "wellkeep"
    sslmode: Literal["verify-full"] = "verify-full"
    sslrootcert: str | None = None


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A place outside that may be connected to: its name in the ledger and in findings, and where it is.

    `networks` are those of ours (loopback, private, unique-local) that its host may resolve into; `ca` is a file of
    authorities, relative to the home or absolute, in place of the system's; `clear` allows TCP without TLS, inside
    `networks` alone. `tenants` are those that it serves, and are shown it; without any it is the deployment's own.
    """

    name: Code
    host: Annotated[str, msgspec.Meta(pattern=_HOST)]
    ports: Annotated[tuple[Port, ...], msgspec.Meta(min_length=1)]
    networks: tuple[str, ...] = ()
    ca: str | None = None
    clear: bool = False
    tenants: Annotated[tuple[UUID, ...], msgspec.Meta(max_length=1000)] = ()


class EgressSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The one list of what may be connected to; what is not on it is refused."""

    # Left out of the file while it is empty: TOML lets nobody add a table to a list that is written out as `[]`.
    places: tuple[Place, ...] = ()


class LedgerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What this host remembers of the ledger, relative to the home or absolute; better on another volume than it.

    And where the root log's end is kept outside: how many anchors must hold it (default: all), how often, how late.
    """

    memory: Annotated[str, msgspec.Meta(min_length=1)] = "ledger/remembered"
    retention_years: Annotated[int, msgspec.Meta(ge=6, le=100)] = 6
    anchors_needed: Annotated[int, msgspec.Meta(ge=1, le=32)] | None = None
    anchor_every_seconds: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 60
    anchors_stale_seconds: Annotated[int, msgspec.Meta(ge=120, le=2_592_000)] = 3_600
    anchors: Annotated[tuple[AnchorSettings, ...], msgspec.Meta(max_length=32)] = ()
    sinks: Annotated[tuple[SinkSettings, ...], msgspec.Meta(max_length=32)] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that a deployment is told."""

    version: Literal[1]
    deployment: UUID
    environment: Environment
    host: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")] = "localhost"
    default_region: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] = "US"
    database: DatabaseSettings = msgspec.field(default_factory=DatabaseSettings)
    listen: ListenSettings = msgspec.field(default_factory=ListenSettings)
    tls: TlsSettings = msgspec.field(default_factory=TlsSettings)
    keys: KeySettings = msgspec.field(default_factory=KeySettings)
    ledger: LedgerSettings = msgspec.field(default_factory=LedgerSettings)
    egress: EgressSettings = msgspec.field(default_factory=EgressSettings)
    volumes: VolumeSettings = msgspec.field(default_factory=VolumeSettings)
    limits: LimitSettings = msgspec.field(default_factory=LimitSettings)
    access: AccessSettings = msgspec.field(default_factory=AccessSettings)
    mail: MailSettings = msgspec.field(default_factory=MailSettings)
    trust: TrustSettings = msgspec.field(default_factory=TrustSettings)


def default_home() -> Path:
    """Return `$WELLKEEP_HOME`, else `./wellkeep-data`."""
    return Path(os.environ.get("WELLKEEP_HOME") or "wellkeep-data").absolute()


def load(home: Path) -> Settings:
    """Read and check `<home>/wellkeep.toml`.

    Raises `Misconfigured` naming the setting; the offending value is not shown, since a secret pasted into the wrong
    place is still a secret.
    """
    path = home / FILE_NAME
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"No deployment in {home}. Make one with: wellkeep init {home}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        where = re.search(r"\(at (line \d+), column \d+\)\Z", str(error))
        place = f" at {where[1]}" if where else ""
        raise Misconfigured(f"{path} is not valid TOML{place}. Mend it, or restore it from your backup.") from None
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        found = re.search(r"at `\$\.?([a-z0-9_.\[\]]*)`", str(error))
        unknown = re.search(r"unknown field `([a-z_]+)`", str(error))
        named = ".".join(part for part in (found and found[1], unknown and unknown[1]) if part) or "the file"
        raise Misconfigured(
            f"{path}: the setting {named} is not what it must be. See docs/reference/settings.md"
        ) from None
    admin_networks(settings.listen)
    check_hosts(settings.tls.hosts or ())
    places = {place.name for place in settings.egress.places}
    check_anchors(settings.ledger.anchors, settings.ledger.anchors_needed, places=places)
    check_sinks(settings.ledger.sinks, places=places)
    check_limits(settings.limits, places=places)
    check_mail(settings.mail, places=places)
    check_keys(settings.keys, places=places)
    return settings


def dump(settings: Settings) -> str:
    """Write `settings` as the TOML text that `load` reads."""
    return dump_tables(msgspec.to_builtins(settings))


def dump_tables(tables: dict[str, Any]) -> str:
    """Write settings that were not checked, which `load` may refuse."""
    lines = ["# wellkeep: the settings of one deployment. Reference: docs/reference/settings.md", ""]
    return "\n".join(lines + _table("", tables)) + "\n"


def _table(path: str, values: dict[str, Any]) -> list[str]:
    """Return the lines of one table: its own settings first, then the tables in it."""
    lines = _assignments({name: value for name, value in values.items() if not _holds_tables(value)})
    for name, value in values.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            lines += ["", f"[{inner}]", *_table(inner, value)]
        elif _holds_tables(value):
            for one in value:
                lines += ["", f"[[{inner}]]", *_table(inner, one)]
    return lines


def _holds_tables(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list | tuple) and any(isinstance(one, dict) for one in value))


def _assignments(values: dict[str, Any]) -> list[str]:
    return [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in values.items() if value is not None]
