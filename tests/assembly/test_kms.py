"""The drivers that the settings name are opened without a connection, and what can't be opened stops the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from egress.outside import Noted
from wellkeep.assembly import diagnosis_keys, kms
from wellkeep.assembly.egress_denials import HeldDenials
from wellkeep.assembly.home import Home
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.key_settings import (
    AwsEpochs,
    AwsRoot,
    KeySettings,
    LocalRoot,
    Pkcs11Epochs,
    Pkcs11Root,
    TransitEpochs,
    TransitRoot,
)
from wellkeep.base.settings import EgressSettings, Place, Settings
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import Reason
from wellkeep.keys import keyfile
from wellkeep.keys.keyfile import ROOT_KEY_VARIABLE
from wellkeep.keys.local import root_name
from wellkeep.keys.roots import PinnedRoots
from wellkeep.prove.server import commanding

ARN = "arn:aws:kms:eu-central-1:123456789012:key/1b7c7dd6-5f9c-4f0e-8f5b-6a1de45a7c2f"
TENANT = uuid4()
AWS: dict[str, Any] = {"place": "kms", "region": "eu-central-1"}
ROLE: dict[str, Any] = {"role": "arn:aws:iam::123456789012:role/w", "token": "/run/token", "sts": "sts"}
HSM: dict[str, Any] = {"module": "/usr/lib/hsm.so", "token": "wk", "pin": "pin"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.make()
    for name, content in (
        ("aws.json", '{"access_key_id": "AKIA", "secret_access_key": "s"}'),
        ("pin", "1"),
        ("vault", "t"),
    ):
        (made.secrets / name).write_text(content)
        (made.secrets / name).chmod(0o600)
    return made


def settings(keys: KeySettings) -> Settings:
    places = tuple(Place(name=name, host=f"{name}.example.org", ports=(443,)) for name in ("kms", "sts", "vault"))
    return Settings(
        version=1, deployment=UUID(int=7), environment="test", keys=keys, egress=EgressSettings(places=places)
    )


def opened(home: Home, keys: KeySettings) -> PinnedRoots:
    told = settings(keys)
    egress = Egress(places=told.egress.places, denials=Noted(), home=home.path)
    kms.open_epochs(home, told, egress=egress, clock=SystemClock())
    return kms.open_roots(home, told, egress=egress, clock=SystemClock())


def test_every_driver_is_opened_and_connects_to_nothing(home: Home) -> None:
    roots = (
        AwsRoot(name="aws", key=ARN, credentials="aws.json", **AWS),
        AwsRoot(name="role", key=ARN + "2", tenants=(TENANT,), **AWS, **ROLE),
        Pkcs11Root(name="hsm", key="main", retired=True, **HSM),
        TransitRoot(name="vault", key="main", place="vault", token="vault", retired=True),
        LocalRoot(name="old", key="secrets/old.key", retired=True),
    )
    keyfile.create_root_key(home.secrets / "old.key", scope=kms.scope_of(settings(KeySettings())))
    for epochs in (
        AwsEpochs(credentials="aws.json", **AWS),
        Pkcs11Epochs(**HSM),
        TransitEpochs(place="vault", token="vault"),
    ):
        found = opened(home, KeySettings(root="aws", roots=roots, epochs=epochs))
        assert [one.description.driver for one in found.listed] == ["aws", "aws", "pkcs11", "transit", "local"]
        assert [one.note for one in found.listed] == [None, None, None, "untested on a real server", None]
        assert found.deployment.describe().root == f"aws:{ARN}"


@pytest.mark.parametrize("missing", ["aws.json", "vault", "root.key"])
def test_a_secret_that_is_missing_stops_the_start(home: Home, missing: str) -> None:
    roots = (
        LocalRoot(name="main"),
        AwsRoot(name="aws", key=ARN, credentials="aws.json", tenants=(TENANT,), **AWS),
        TransitRoot(name="vault", key="main", place="vault", token="vault", retired=True),
    )
    keys = KeySettings(roots=roots)
    kms.make_local_keys(home, settings(keys))
    assert opened(home, keys)
    (home.secrets / missing).unlink()
    with pytest.raises(Misconfigured):
        opened(home, keys)


def test_local_keys_are_made_where_they_are_missing_and_stay(home: Home) -> None:
    keys = KeySettings(roots=(LocalRoot(name="main"), LocalRoot(name="next", key="secrets/next.key")))
    for _ in range(2):
        kms.make_local_keys(home, settings(keys))
        held = {path.name: path.read_bytes() for path in home.secrets.glob("*.key")}
        assert set(held) == {"root.key", "next.key", "epoch-1.key"}
    kms.make_local_keys(home, settings(keys))
    assert {path.name: path.read_bytes() for path in home.secrets.glob("*.key")} == held
    scope = kms.scope_of(settings(keys))
    keyfile.create_epoch_key(home.secrets, scope=scope, epoch=7)
    keyfile.destroy_epoch_key(home.secrets, scope=scope, epoch=1)
    kms.make_local_keys(home, settings(keys))
    assert not (home.secrets / "epoch-1.key").exists(), "an epoch that was destroyed is not made again"
    (home.secrets / "epoch-7.key").rename(home.secrets / "epoch-8.key")
    with pytest.raises(Misconfigured, match="another deployment"):
        kms.make_local_keys(home, settings(keys))


def test_a_root_key_that_was_lost_is_not_made_anew(home: Home) -> None:
    """A new one would open nothing, and stand where the rebuilt one belongs."""
    told = settings(KeySettings())
    kms.make_local_keys(home, told)
    (home.secrets / "root.key").unlink()
    with pytest.raises(Misconfigured, match="keys recover"):
        kms.make_local_keys(home, told)
    assert not (home.secrets / "root.key").exists()


def test_a_root_key_that_is_retired_is_not_made_anew(home: Home) -> None:
    """The rows that it wrapped name it, and its file would find another in its place."""
    keys = KeySettings(roots=(LocalRoot(name="main"), LocalRoot(name="old", key="secrets/old.key", retired=True)))
    with pytest.raises(Misconfigured, match="take the root old out"):
        kms.make_local_keys(home, settings(keys))
    assert not list(home.secrets.glob("*.key"))


def test_where_the_environment_holds_the_root_key_no_file_is_made(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_KEY_VARIABLE, "A" * 43 + "=")
    for _ in range(2):
        kms.make_local_keys(home, settings(KeySettings()))
    assert not (home.secrets / "root.key").exists()
    assert opened(home, KeySettings())


def test_the_environments_key_stands_in_for_the_deployments_own_root_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeySettings(roots=(LocalRoot(name="main"), LocalRoot(name="old", key="secrets/old.key", retired=True)))
    keyfile.create_root_key(home.secrets / "old.key", scope=kms.scope_of(settings(keys)))
    kms.make_local_keys(home, settings(keys))
    before = [one.description.root for one in opened(home, keys).listed]
    monkeypatch.setenv(ROOT_KEY_VARIABLE, "A" * 43 + "=")
    after = [one.description.root for one in opened(home, keys).listed]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_settings_of_another_environment_find_the_key_file_to_be_anothers(home: Home) -> None:
    kms.make_local_keys(home, settings(KeySettings()))
    production = msgspec.structs.replace(settings(KeySettings()), environment="production")
    with pytest.raises(Misconfigured, match="environment"):
        kms.open_roots(home, production, egress=Egress(places=(), denials=Noted(), home=home.path), clock=SystemClock())


async def test_what_is_refused_before_there_is_a_ledger_is_told_when_there_is_one() -> None:
    held, noted = HeldDenials(), Noted()
    await held.denied("kms", Reason.CERTIFICATE, b"1" * 32)
    assert not noted.told
    await held.record(noted)  # type: ignore[arg-type]
    await held.denied("kms", Reason.OTHER_HOST, b"2" * 32)
    assert noted.reasons == [Reason.CERTIFICATE, Reason.OTHER_HOST]


@pytest.mark.parametrize("untried", [True, False])
def test_the_doctor_tells_of_a_driver_that_never_met_a_real_server(home: Home, untried: bool) -> None:  # noqa: FBT001
    used = TransitEpochs(place="vault", token="vault") if untried else Pkcs11Epochs(**HSM)
    told = [one for one in diagnosis_keys.stated(home, settings(KeySettings(epochs=used))) if not one.fine]
    assert ["untested on a real server" in one.mend for one in told].count(True) == untried


@pytest.mark.parametrize("outside", [True, False])
def test_the_doctor_asks_for_epoch_keys_to_be_kept_out_of_backups(home: Home, outside: bool) -> None:  # noqa: FBT001
    keys = KeySettings(epochs=Pkcs11Epochs(**HSM)) if outside else KeySettings()
    (told,) = [one for one in diagnosis_keys.stated(home, settings(keys)) if "backup holds" in one.what]
    assert told.fine is outside


def test_a_scratch_deployment_makes_its_own_root_key_whatever_the_environment_holds(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the proofs of a deployment whose root key is in the environment would use that key, and know nothing."""
    monkeypatch.setenv(ROOT_KEY_VARIABLE, "A" * 43 + "=")
    scratch = Home(home.path, takes_root_key=False)
    kms.make_local_keys(scratch, settings(KeySettings()))
    own = keyfile.read_root_key(home.secrets / "root.key", scope=kms.scope_of(settings(KeySettings())), environ={})
    assert [one.description.root for one in opened(scratch, KeySettings()).listed] == [root_name(own)]
    assert ROOT_KEY_VARIABLE not in commanding(scratch.path)
