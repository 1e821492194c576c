"""The root keys and epoch keys that the settings name, each opened by its driver.

Rule: opening connects to nothing and reads local key files alone, so a service that is gone stops no start before it is
asked. What is wrong with a file or a setting stops the start. Services of the cloud, of a Vault and of an HSM are
imported where they are named, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wellkeep.assembly.home import Home
from wellkeep.base.clock import Clock
from wellkeep.base.durable import sync_directory
from wellkeep.base.errors import Misconfigured
from wellkeep.base.key_settings import (
    AwsAccess,
    AwsEpochs,
    AwsRoot,
    HsmAccess,
    LocalEpochs,
    LocalRoot,
    Pkcs11Epochs,
    Pkcs11Root,
    RootSettings,
    TokenAccess,
    TransitRoot,
)
from wellkeep.base.secret_files import read_secret
from wellkeep.base.settings import Settings
from wellkeep.egress.egress import Egress
from wellkeep.keys import keyfile
from wellkeep.keys.calling import Counted, Service
from wellkeep.keys.keyfile import ROOT_KEY_VARIABLE
from wellkeep.keys.kms import EpochKeys, Kms
from wellkeep.keys.local import LocalEpochKeys, LocalKms
from wellkeep.keys.roots import PinnedRoots, Root
from wellkeep.keys.scope import Scope

if TYPE_CHECKING:
    from wellkeep.keys.aws_calls import AwsCalls
    from wellkeep.keys.pkcs11 import HsmKeys
    from wellkeep.keys.transit import TransitCalls

FIRST_EPOCH = 1
_LOST = (
    "There is no root key at {}, and this deployment had one. Put it back from where you keep it, or rebuild it from "
    "its shares: wellkeep keys recover"
)
_RETIRED = (
    "There is no root key at {}, and one that is retired is not made anew. Put it back from where you keep it, or, "
    "where no key is wrapped by it, take the root {} out of the settings."
)
_UNTESTED = "untested on a real server"


def scope_of(settings: Settings) -> Scope:
    """Return what every driver binds into what it wraps."""
    return Scope(deployment=settings.deployment, environment=settings.environment)


def make_local_keys(home: Home, settings: Settings) -> None:
    """Make local root keys, and the first epoch's key, where they are missing; one that exists is never replaced.

    Raises Misconfigured where one that exists is another deployment's or environment's, or the root key was lost.
    """
    scope = scope_of(settings)
    epochs = keyfile.epochs_in(home.secrets) if isinstance(settings.keys.epochs, LocalEpochs) else []
    for epoch in epochs:
        keyfile.has_epoch_key(home.secrets, scope=scope, epoch=epoch)  # refuses another deployment's
    given = home.takes_root_key and ROOT_KEY_VARIABLE in os.environ  # which stands in for the deployment's own root
    local = [one for one in settings.keys.all_roots() if isinstance(one, LocalRoot)]
    missing = [one for one in local if not home.resolve(one.key).exists()]
    new = [one for one in missing if not one.retired and not (given and one.name == settings.keys.root)]
    if epochs and new and not given and len(missing) == len(local):
        raise Misconfigured(_LOST.format(home.resolve(new[0].key)))  # for it is made before the first epoch's
    for one in missing:
        if one.retired:
            raise Misconfigured(_RETIRED.format(home.resolve(one.key), one.name))
    for one in new:
        keyfile.create_root_key(home.resolve(one.key), scope=scope)
    for one in local:
        if one in new or one not in missing:
            sync_directory(home.resolve(one.key).parent)
    if not epochs and isinstance(settings.keys.epochs, LocalEpochs):
        keyfile.ensure_epoch_key(home.secrets, scope=scope, epoch=FIRST_EPOCH)


def open_roots(
    home: Home, settings: Settings, *, egress: Egress, clock: Clock, counted: Counted | None = None
) -> PinnedRoots:
    """Return the root keys, reached through `egress`; looks at keys are `counted`. Raises Misconfigured."""
    opener = _Opener(home, settings, egress=egress, clock=clock, counted=counted)
    roots = [
        Root(
            name=one.name,
            kms=opener.root(one),
            tenants=frozenset(one.tenants),
            moving=one.moving,
            retired=one.retired,
            note=_UNTESTED if isinstance(one, TransitRoot) else None,
        )
        for one in settings.keys.all_roots()
    ]
    return PinnedRoots(roots, main=settings.keys.root)


def open_epochs(
    home: Home, settings: Settings, *, egress: Egress, clock: Clock, counted: Counted | None = None
) -> EpochKeys:
    """Return the deployment's epoch keys, as `open_roots` does the root keys. Raises Misconfigured."""
    return _Opener(home, settings, egress=egress, clock=clock, counted=counted).epochs()


class _Opener:
    """Drivers from settings."""

    def __init__(
        self, home: Home, settings: Settings, *, egress: Egress, clock: Clock, counted: Counted | None
    ) -> None:
        self._home = home
        self._settings = settings.keys
        self._egress = egress
        self._clock = clock
        self._counted = counted
        self._scope = scope_of(settings)

    def root(self, one: RootSettings) -> Kms:
        if isinstance(one, LocalRoot):
            named = self._home.takes_root_key and one.name == self._settings.root  # the variable stands in for one root
            environ: Mapping[str, str] | None = None if named else {}
            key = keyfile.read_root_key(self._home.resolve(one.key), scope=self._scope, environ=environ)
            return LocalKms(key, scope=self._scope)
        if isinstance(one, AwsRoot):
            from wellkeep.keys.aws import AwsKms  # noqa: PLC0415 -- where it is named

            return AwsKms(self._aws(one, one.name), arn=one.key, scope=self._scope, clock=self._clock)
        if isinstance(one, Pkcs11Root):
            from wellkeep.keys.pkcs11 import Pkcs11Kms  # noqa: PLC0415 -- where it is named

            return Pkcs11Kms(self._hsm(one), label=one.key)
        from wellkeep.keys.transit import TransitKms  # noqa: PLC0415 -- where it is named

        return TransitKms(self._transit(one), key=one.key)

    def epochs(self) -> EpochKeys:
        one = self._settings.epochs
        if isinstance(one, LocalEpochs):
            keyfile.require_own_epoch_keys(self._home.secrets, scope=self._scope)
            return LocalEpochKeys(self._home.secrets, scope=self._scope, clock=self._clock)
        if isinstance(one, AwsEpochs):
            from wellkeep.keys.aws import AwsEpochKeys  # noqa: PLC0415 -- where it is named

            calls = self._aws(one, "epochs")
            return AwsEpochKeys(calls, scope=self._scope, wait_days=one.wait_days, clock=self._clock)
        if isinstance(one, Pkcs11Epochs):
            from wellkeep.keys.pkcs11 import Pkcs11EpochKeys  # noqa: PLC0415 -- where it is named

            return Pkcs11EpochKeys(self._hsm(one), clock=self._clock)
        from wellkeep.keys.transit import TransitEpochKeys  # noqa: PLC0415 -- where it is named

        return TransitEpochKeys(self._transit(one), clock=self._clock)

    def _aws(self, one: AwsAccess, name: str) -> AwsCalls:
        from wellkeep.egress import aws_credentials  # noqa: PLC0415 -- where it is named
        from wellkeep.keys.aws_calls import AwsCalls  # noqa: PLC0415 -- as above
        from wellkeep.keys.aws_identity import StoredIdentity, WebIdentity  # noqa: PLC0415 -- as above

        identity: StoredIdentity | WebIdentity
        if one.credentials is not None:
            whose = f"the key service {name}"
            identity = StoredIdentity(aws_credentials.stored(self._home.secrets / one.credentials, whose=whose))
        else:
            identity = WebIdentity(
                Service(self._egress, _given(one.sts)),
                role=_given(one.role),
                token=self._home.resolve(_given(one.token)),
                clock=self._clock,
            )
        service = Service(self._egress, one.place)
        return AwsCalls(service, region=one.region, identity=identity, clock=self._clock, counted=self._counted)

    def _hsm(self, one: HsmAccess) -> HsmKeys:
        from wellkeep.keys.pkcs11 import HsmKeys  # noqa: PLC0415 -- where it is named
        from wellkeep.keys.pkcs11_token import Token  # noqa: PLC0415 -- as above

        token = Token(module=Path(one.module), label=one.token, pin=self._home.secrets / one.pin)
        return HsmKeys(token, scope=self._scope)

    def _transit(self, one: TokenAccess) -> TransitCalls:
        from wellkeep.keys.transit import TransitCalls  # noqa: PLC0415 -- where it is named

        token = self._home.secrets / one.token
        read_secret(token)  # what is wrong with it now stops the start
        return TransitCalls(
            Service(self._egress, one.place),
            mount=one.mount,
            namespace=one.namespace,
            token=token,
            scope=self._scope,
            clock=self._clock,
            counted=self._counted,
        )


def _given(value: str | None) -> str:
    if value is None:
        raise Misconfigured("A driver aws of [keys] needs credentials, or else role, token and sts")
    return value
