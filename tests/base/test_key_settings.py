"""Root and epoch keys as the settings name them: what does not hold together stops the start, and no value is shown."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.key_settings import AwsRoot, LocalEpochs, LocalRoot
from wellkeep.base.settings import FILE_NAME, Settings, dump, load

MINIMAL = Settings(version=1, deployment=UUID(int=7), environment="test")
PLACES = """
[[egress.places]]
name = "kms"
host = "kms.eu-central-1.amazonaws.com"
ports = [443]
[[egress.places]]
name = "vault"
host = "vault.example.org"
ports = [8200]
"""
ARN = "arn:aws:kms:eu-central-1:123456789012:key/1b7c7dd6-5f9c-4f0e-8f5b-6a1de45a7c2f"
AWS = f"""
[[keys.roots]]
driver = "aws"
name = "cloud"
place = "kms"
region = "eu-central-1"
key = "{ARN}"
credentials = "aws.json"
"""
TENANT = "0198c2f0-0000-7000-8000-0000000000aa"
HSM = '[keys.epochs]\ndriver = "pkcs11"\nmodule = "/usr/lib/hsm.so"\ntoken = "wk"\npin = "pin"\n'


def read(folder: Path, more: str) -> Settings:
    (folder / FILE_NAME).write_text(dump(MINIMAL).replace("[keys]\n", "") + PLACES + more)
    return load(folder)


def test_a_local_root_needs_nothing(tmp_path: Path) -> None:
    keys = read(tmp_path, "").keys
    assert keys.all_roots() == (LocalRoot(name="main", key="secrets/root.key"),)
    assert keys.epochs == LocalEpochs()
    assert "keys.epochs" not in dump(MINIMAL)


def test_what_is_dumped_of_every_driver_loads_the_same(tmp_path: Path) -> None:
    more = AWS + f'tenants = ["{TENANT}"]\nmoving = true\n' + HSM
    found = read(tmp_path, more)
    (tmp_path / FILE_NAME).write_text(dump(found))
    assert load(tmp_path) == found
    assert [one.driver for one in found.keys.all_roots()] == ["local", "aws"], "a tenant's root leaves the local one"
    assert found.keys.epochs.driver == "pkcs11"


def test_a_root_of_the_deployments_own_takes_the_local_ones_place(tmp_path: Path) -> None:
    found = read(tmp_path, '[keys]\nroot = "cloud"\n' + AWS)
    assert [type(one) for one in found.keys.all_roots()] == [AwsRoot]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (AWS, "root in"),
        ('[keys]\nroot = "cloud"\n' + AWS + "retired = true\n", "root in"),
        ('[keys]\nroot = "cloud"\n' + AWS + f'tenants = ["{TENANT}"]\n', "root in"),
        ('[keys]\nroot = "cloud"\n' + AWS + AWS, "named cloud"),
        ('[keys]\nroot = "cloud"\n' + AWS.replace('"kms"', '"elsewhere"'), "egress.places"),
        ('[keys]\nroot = "cloud"\n' + AWS.replace('credentials = "aws.json"', ""), "credentials"),
        ('[keys]\nroot = "cloud"\n' + AWS + 'role = "arn:aws:iam::123456789012:role/w"\n', "credentials"),
        (
            '[keys]\nroot = "cloud"\n'
            + AWS.replace('credentials = "aws.json"', 'role = "arn:aws:iam::123456789012:role/w"\ntoken = "t"'),
            "sts",
        ),
        (
            '[keys]\nroot = "cloud"\n'
            + AWS.replace(
                'credentials = "aws.json"', 'role = "arn:aws:iam::123456789012:role/w"\ntoken = "t"\nsts = "gone"'
            ),
            "sts",
        ),
        ('[keys]\nroot = "cloud"\n' + AWS.replace(ARN, "alias/hunter2"), "keys.roots"),
        ('[keys]\nroot = "cloud"\n' + AWS.replace('"aws.json"', '"/etc/hunter2"'), "keys.roots"),
        (AWS + f'tenants = ["{PLATFORM_TENANT}"]\n', "platform"),
        (AWS + f'tenants = ["{TENANT}"]\nmoving = true\nretired = true\n', "moving"),
        (
            AWS + f'tenants = ["{TENANT}"]\n' + AWS.replace('"cloud"', '"two"') + f'tenants = ["{TENANT}"]\n',
            "two roots",
        ),
        ('[[keys.roots]]\ndriver = "hunter2"\nname = "x"\n', "keys.roots"),
        ('[[keys.roots]]\ndriver = "local"\nname = "x"\nhunter2 = 1\n', "keys"),
        ('[keys.epochs]\ndriver = "aws"\nplace = "nowhere"\nregion = "eu"\ncredentials = "c"\n', "egress.places"),
        ("[keys]\nepoch_kept_days = -1\n", "epoch_kept_days"),
        ("[keys]\nrotate_days = 0\n", "rotate_days"),
    ],
)
def test_what_does_not_hold_together_is_named_and_not_shown(tmp_path: Path, more: str, named: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        read(tmp_path, more)
    assert named in refused.value.message
    assert "hunter2" not in refused.value.message.replace("keys.roots[].hunter2", "")
