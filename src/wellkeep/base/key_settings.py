"""The root keys and epoch keys that a deployment names: which service holds each, and which tenants brought their own.

Rules: a driver's own settings and no other; where a service lies is the name of a place of `[[egress.places]]`; a
secret is the name of a file in `secrets/`. Which root a tenant's keys may name is said here and nowhere else: whoever
writes into the database can't have a key opened by a root that is not the tenant's. The deployment's own keys, and the
platform tenant's, are never under a root that a tenant brought.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated
from uuid import UUID

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.listed import Code, SecretFile, check_listed

FilePath = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
KeyArn = Annotated[
    str, msgspec.Meta(pattern=r"^arn:aws[a-z-]{0,16}:kms:[a-z0-9-]{1,63}:[0-9]{12}:key/[0-9a-z-]{1,64}\Z")
]
RoleArn = Annotated[str, msgspec.Meta(pattern=r"^arn:aws[a-z-]{0,16}:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}\Z")]
Label = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}\Z")]
Mount = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}(/[a-z0-9][a-z0-9._-]{0,31}){0,3}\Z")]
Tenants = Annotated[tuple[UUID, ...], msgspec.Meta(max_length=4_096)]
"""Whose a root is, where it is not the deployment's. Beside it, of such a root: `moving`, until its tenants' keys are
wrapped by it, they also open under the deployment's roots; and of any: `retired`, it opens, and wraps nothing new."""
Namespace = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._/-]{0,127}\Z")]
_MOST_ROOTS = 256


class _Driver(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What each driver has: the word that names it."""

    @property
    def driver(self) -> str:
        """Which driver it is."""
        return str(self.__struct_config__.tag)


class AwsAccess(_Driver, frozen=True, kw_only=True):
    """How AWS is spoken to: by keys from a file, or as a role that a token stands for, which the place `sts` exchanges.

    `credentials` names a JSON file: access_key_id, secret_access_key, session_token; `token` is the file that the
    platform writes the web identity's token to.
    """

    place: Code
    region: Region
    credentials: SecretFile | None = None
    role: RoleArn | None = None
    token: FilePath | None = None
    sts: Code | None = None


class TokenAccess(_Driver, frozen=True, kw_only=True):
    """How a Vault or OpenBao is spoken to; `token` names a file in `secrets/`, which is read at each call."""

    place: Code
    mount: Mount = "transit"
    namespace: Namespace | None = None
    token: SecretFile


class HsmAccess(_Driver, frozen=True, kw_only=True):
    """Which library speaks to the HSM, and which token of it; `pin` names a file in `secrets/`."""

    module: FilePath
    token: Label
    pin: SecretFile


class LocalRoot(_Driver, frozen=True, kw_only=True, tag_field="driver", tag="local"):
    """A key file, relative to the home or absolute."""

    name: Code
    tenants: Tenants = ()
    moving: bool = False
    retired: bool = False
    key: FilePath = "secrets/root.key"


class AwsRoot(AwsAccess, frozen=True, kw_only=True, tag_field="driver", tag="aws"):
    """A symmetric key of AWS KMS, by its ARN: an alias could be pointed elsewhere."""

    name: Code
    tenants: Tenants = ()
    moving: bool = False
    retired: bool = False
    key: KeyArn


class Pkcs11Root(HsmAccess, frozen=True, kw_only=True, tag_field="driver", tag="pkcs11"):
    """An AES-256 key in an HSM, by its label."""

    name: Code
    tenants: Tenants = ()
    moving: bool = False
    retired: bool = False
    key: Label


class TransitRoot(TokenAccess, frozen=True, kw_only=True, tag_field="driver", tag="transit"):
    """A key of the transit engine, by its name."""

    name: Code
    tenants: Tenants = ()
    moving: bool = False
    retired: bool = False
    key: Label


class LocalEpochs(_Driver, frozen=True, kw_only=True, tag_field="driver", tag="local"):
    """A file `secrets/epoch-<n>.key` for each epoch."""


class AwsEpochs(AwsAccess, frozen=True, kw_only=True, tag_field="driver", tag="aws"):
    """A KMS key for each epoch; `wait_days` is how long AWS keeps one that is to be destroyed."""

    wait_days: Annotated[int, msgspec.Meta(ge=7, le=30)] = 7


class Pkcs11Epochs(HsmAccess, frozen=True, kw_only=True, tag_field="driver", tag="pkcs11"):
    """A key in the HSM for each epoch."""


class TransitEpochs(TokenAccess, frozen=True, kw_only=True, tag_field="driver", tag="transit"):
    """A key of the transit engine for each epoch."""


RootSettings = LocalRoot | AwsRoot | Pkcs11Root | TransitRoot
EpochSettings = LocalEpochs | AwsEpochs | Pkcs11Epochs | TransitEpochs

_LOCAL_EPOCHS = LocalEpochs()


class KeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What wraps the tenants' keys, and how long keys live.

    Where no root without `tenants` is listed there is one: a local one named `main`, whose key is in `root_key`.
    """

    root: Code = "main"
    root_key: FilePath = "secrets/root.key"
    rotate_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 90
    epoch_kept_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 30
    roots: Annotated[tuple[RootSettings, ...], msgspec.Meta(max_length=_MOST_ROOTS)] = ()
    epochs: EpochSettings = _LOCAL_EPOCHS

    def all_roots(self) -> tuple[RootSettings, ...]:
        """Return the roots as listed, and the local one where none of the deployment's own is."""
        if any(not one.tenants for one in self.roots):
            return self.roots
        return (LocalRoot(name="main", key=self.root_key), *self.roots)


def check_keys(keys: KeySettings, *, places: Collection[str]) -> None:
    """Raise Misconfigured, naming a setting and no value, where the roots do not hold together."""
    roots = keys.all_roots()
    check_listed("root key", "[[keys.roots]]", [(one.name, _place(one)) for one in roots], places=places)
    check_listed("driver of", "[keys]", [("epochs", _place(keys.epochs))], places=places)
    for one in (*roots, keys.epochs):
        _check_access(one, places)
    own = [one for one in roots if one.name == keys.root]
    if not own or own[0].tenants or own[0].retired:
        raise Misconfigured(
            "root in [keys] must name a root of [[keys.roots]] that is neither retired nor some tenants' own"
        )
    _check_tenants(roots)


def _check_tenants(roots: Collection[RootSettings]) -> None:
    for one in roots:
        if PLATFORM_TENANT in one.tenants:
            raise Misconfigured(f"The root key {one.name} lists the platform's tenant, whose keys are the deployment's")
        if one.moving and (one.retired or not one.tenants):
            raise Misconfigured(f"The root key {one.name} says moving, and lists no tenants or is retired")
    active = [tenant for one in roots if not one.retired for tenant in set(one.tenants)]
    if len(active) != len(set(active)):
        raise Misconfigured(
            "A tenant is listed by two roots of [[keys.roots]] that are not retired: retire one of them"
        )


def _check_access(one: RootSettings | EpochSettings, places: Collection[str]) -> None:
    if not isinstance(one, AwsAccess):
        return
    by_file, by_role = one.credentials is not None, (one.role, one.token, one.sts)
    if by_file == any(by_role) or (any(by_role) and not all(by_role)):
        raise Misconfigured("A driver aws of [keys] needs credentials, or else role, token and sts, and not both")
    if one.sts is not None and one.sts not in places:
        raise Misconfigured("sts of a driver aws of [keys] names a place that [[egress.places]] does not list")


def _place(one: RootSettings | EpochSettings) -> str | None:
    return one.place if isinstance(one, AwsAccess | TokenAccess) else None
