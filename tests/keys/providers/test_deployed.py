"""A deployment whose root and epoch keys lie elsewhere from its first minute on: made, used, and withdrawn."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import msgspec
import pytest

from anchors.moto import Moto
from database import ENVIRONMENT, scratch_home
from deployments import Said, command
from keys.providers.drivers import REGION
from keys.providers.softhsm import MODULE, PIN, SoftHsm
from wellkeep.assembly.core import open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.key_settings import (
    AwsEpochs,
    AwsRoot,
    EpochSettings,
    KeySettings,
    LocalEpochs,
    LocalRoot,
    Pkcs11Epochs,
    Pkcs11Root,
    RootSettings,
)
from wellkeep.base.settings import EgressSettings, Place, Settings
from wellkeep.keys.pkcs11 import HsmKeys
from wellkeep.keys.pkcs11_token import Token
from wellkeep.keys.scope import Scope

_DEPLOYMENT = "SELECT DISTINCT root FROM keys.deployment_keys()"
_TENANT = "SELECT DISTINCT root FROM keys.tenant_key"


def kms(moto: Moto, action: str, **told: object) -> dict[str, dict[str, str]]:
    """Do what the account's owner can do."""
    headers = {"x-amz-target": f"TrentService.{action}", "content-type": "application/x-amz-json-1.1"}
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential=owner/20260101/{REGION}/kms/aws4_request"
    answer = httpx.post(f"http://127.0.0.1:{moto.port}/", headers=headers, json=told, timeout=10, trust_env=False)
    assert answer.is_success, answer.text
    found: dict[str, dict[str, str]] = answer.json() if answer.content else {}
    return found


@contextmanager
def deployed(
    root: RootSettings, epochs: EpochSettings, *, secrets: dict[str, str], places: tuple[Place, ...] = ()
) -> Iterator[tuple[Home, Said]]:
    """Make a deployment whose settings were written before `init`."""
    folder = scratch_home()
    home = Home(folder / "home")
    try:
        home.make()
        for name, content in secrets.items():
            (home.secrets / name).write_text(content)
            (home.secrets / name).chmod(0o600)
        keys = KeySettings(root=root.name, roots=(root,), epochs=epochs)
        told = Settings(
            version=1,
            deployment=uuid7(),
            environment=ENVIRONMENT,
            keys=keys,
            egress=EgressSettings(places=places),
        )
        home.write_settings(told)
        yield home, command("init", home.path, "--environment", ENVIRONMENT, "--json")
    finally:
        Database(home, home.settings()).stop()
        shutil.rmtree(folder, ignore_errors=True)


async def roots(home: Home, tenant: str | None = None) -> set[str]:
    """Return the roots that the rows of the deployment's own keys name, or those of a tenant."""
    database = Database(home, home.settings())
    database.start()
    try:
        async with open_core(home, home.settings(), database) as core:
            if tenant is not None:
                await core.ring.load(UUID(tenant))
            asked = PLATFORM_TENANT if tenant is None else UUID(tenant)
            async with core.app.tenant_transaction(tenant=asked) as connection:
                rows = await connection.fetch(_DEPLOYMENT if tenant is None else _TENANT)
            return {row["root"] for row in rows}
    finally:
        database.stop()


def test_a_deployment_lives_in_aws_kms_from_its_first_minute_on(moto: Moto) -> None:
    arn = kms(moto, "CreateKey", Description="root", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    access = {"place": "kms", "region": REGION, "credentials": "aws.json"}
    place = Place(name="kms", host="127.0.0.1", ports=(moto.port,), networks=("127.0.0.0/8",), clear=True)
    with deployed(
        AwsRoot(name="cloud", key=arn, **access),  # type: ignore[arg-type]
        AwsEpochs(**access),  # type: ignore[arg-type]
        secrets={"aws.json": '{"access_key_id": "AKIA", "secret_access_key": "s"}'},
        places=(place,),
    ) as (home, said):
        assert said.code == 0, said.err
        assert said.json()["recovery_shares"] == []
        assert not list(home.secrets.glob("*.key.*")) + list(home.secrets.glob("epoch-*"))
        assert not (home.secrets / "root.key").exists()
        made = command("tenant", "create", "clinic", home=home.path)
        assert made.code == 0, made.err
        assert asyncio.run(roots(home)) == {f"aws:{arn}"}
        rolled = command("keys", "rotate", "epoch", home=home.path)
        assert rolled.code == 0, rolled.err
        aliases = [one["AliasName"] for one in kms(moto, "ListAliases")["Aliases"]]  # type: ignore[index]
        ours = f"alias/wellkeep-{home.settings().deployment}-epoch-"
        assert sorted(name for name in aliases if name.startswith(ours)) == [f"{ours}1", f"{ours}2"]
        kms(moto, "DisableKey", KeyId=arn.rpartition("/")[2])
        refused = command("tenant", "create", "another", home=home.path)
        assert refused.code == 1
        assert "revoked" in refused.err
        tried = command("egress", "test", "kms", home=home.path)
        assert tried.code == 0, "what is in the way of a service can be looked for while it says no"
        kms(moto, "EnableKey", KeyId=arn.rpartition("/")[2])
        assert command("tenant", "create", "another", home=home.path).code == 0
        nowhere = EgressSettings(places=(msgspec.structs.replace(place, ports=(1,)),))
        home.write_settings(msgspec.structs.replace(home.settings(), egress=nowhere))
        tried = command("egress", "test", "kms", home=home.path)
        assert (tried.code, "nothing takes the connection" in tried.out) == (1, True), tried.all


def test_a_deployment_lives_in_an_hsm_from_its_first_minute_on(hsm: SoftHsm, tmp_path: Path) -> None:
    label = f"root-{os.urandom(4).hex()}"
    own = HsmKeys(Token(module=MODULE, label=hsm.label, pin=hsm.pin), scope=Scope(uuid7(), ENVIRONMENT))
    asyncio.run(own.make(label))
    access = {"module": str(MODULE), "token": hsm.label, "pin": "hsm.pin"}
    with deployed(
        Pkcs11Root(name="hsm", key=label, **access),  # type: ignore[arg-type]
        Pkcs11Epochs(**access),
        secrets={"hsm.pin": PIN},
    ) as (home, said):
        assert said.code == 0, said.err
        made = command("tenant", "create", "clinic", home=home.path)
        assert made.code == 0, made.err
        assert asyncio.run(roots(home)) == {f"pkcs11:{hsm.label}/{label}"}
        asyncio.run(own.destroy(label))
        assert command("tenant", "create", "another", home=home.path).code == 1


@pytest.mark.parametrize("gone", ["place", "secret"])
def test_a_service_that_is_not_there_stops_init_with_words(gone: str) -> None:
    place = Place(name="kms", host="127.0.0.1", ports=(1,), networks=("127.0.0.0/8",), clear=True)
    arn = f"arn:aws:kms:{REGION}:123456789012:key/1b7c7dd6-5f9c-4f0e-8f5b-6a1de45a7c2f"
    access = {"place": "kms", "region": REGION, "credentials": "aws.json"}
    secrets = {} if gone == "secret" else {"aws.json": '{"access_key_id": "AKIA", "secret_access_key": "s"}'}
    with deployed(
        AwsRoot(name="cloud", key=arn, **access),  # type: ignore[arg-type]
        AwsEpochs(**access),  # type: ignore[arg-type]
        secrets=secrets,
        places=(place,),
    ) as (_, said):
        assert said.code == 1
        assert ("can't be reached" if gone == "place" else "aws.json") in said.err
        assert "Traceback" not in said.err


def test_a_deployment_that_began_with_a_file_goes_on_under_an_hsm(hsm: SoftHsm) -> None:
    """What the file wrapped opens while that root is retired, until the rotation; then the file may go."""
    label = f"root-{os.urandom(4).hex()}"
    own = HsmKeys(Token(module=MODULE, label=hsm.label, pin=hsm.pin), scope=Scope(uuid7(), ENVIRONMENT))
    asyncio.run(own.make(label))
    local = LocalRoot(name="main")
    with deployed(local, LocalEpochs(), secrets={"hsm.pin": PIN}) as (home, said):
        assert said.code == 0, said.err
        assert len(said.json()["recovery_shares"]) == 3
        (before,) = asyncio.run(roots(home))
        there = Pkcs11Root(name="hsm", key=label, module=str(MODULE), token=hsm.label, pin="hsm.pin")
        keys = KeySettings(root="hsm", roots=(there, LocalRoot(name="main", retired=True)))
        home.write_settings(msgspec.structs.replace(home.settings(), keys=keys))
        made = command("tenant", "create", "clinic", "--json", home=home.path)
        assert made.code == 0, made.err
        assert asyncio.run(roots(home)) == {before}
        assert asyncio.run(roots(home, made.json()["id"])) == {f"pkcs11:{hsm.label}/{label}"}
        rotated = command("keys", "rotate", "root", home=home.path)
        assert rotated.code == 0, rotated.err
        assert asyncio.run(roots(home)) == {f"pkcs11:{hsm.label}/{label}"}
        (home.secrets / "root.key").unlink()
        home.write_settings(msgspec.structs.replace(home.settings(), keys=KeySettings(root="hsm", roots=(there,))))
        again = command("tenant", "create", "another", home=home.path)
        assert again.code == 0, again.err
