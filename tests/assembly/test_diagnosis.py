"""What the doctor says: everything that is wrong, nothing that is right, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import pytest

from assembly.conftest import Installed
from deployments import command
from wellkeep.assembly.diagnosis import diagnose
from wellkeep.assembly.tls import make_development_certificate
from wellkeep.assembly.verdict import Verdict
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.key_settings import EpochSettings, LocalEpochs, Pkcs11Epochs

ALWAYS_WRONG = {
    "The environment is named production",
    "The root key lies in a key management service",
    "No backup holds the keys of epochs",
    "The ledger is anchored outside this machine",
    "PostgreSQL is run, replicated and backed up on its own",
    "The TLS certificate is an authority's and lasts another month",
}
"""Of a fresh development deployment, whoever runs it."""


async def wrong(installed: Installed) -> dict[str, Verdict]:
    """Return what is wrong, by what was looked at."""
    found = await diagnose(installed.home, installed.settings, installed.database)
    assert all(one.mend for one in found if not one.fine), "what is wrong can be mended"
    return {one.what: one for one in found if not one.fine}


@contextmanager
def mode(installed: Installed, name: str, bits: int) -> Iterator[None]:
    """Give a path of the home another mode for a while."""
    path = installed.home.path / name
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


async def test_a_fresh_deployment_is_not_fit_for_production(installed: Installed) -> None:
    assert set(await wrong(installed)) >= ALWAYS_WRONG


async def test_a_key_that_others_can_read(installed: Installed) -> None:
    before = set(await wrong(installed))
    with mode(installed, "secrets/root.key", 0o644):
        new = {what: one for what, one in (await wrong(installed)).items() if what not in before}
    modes, opening = (one.mend for one in new.values())
    assert modes == f"chmod 600 {installed.home.secrets}/*.key"
    assert opening.endswith(f"Run: chmod 600 {installed.home.secrets}/root.key"), "a server would not start"


@pytest.mark.parametrize(
    "epochs", [LocalEpochs(), Pkcs11Epochs(module="/nowhere.so", token="t", pin="tls.key")], ids=["file", "place"]
)
async def test_epoch_keys_that_are_not_where_the_settings_say(installed: Installed, epochs: EpochSettings) -> None:
    file = installed.home.secrets / "epoch-1.key"
    before = set(await wrong(installed))
    aside = file.rename(file.with_suffix(".aside"))
    keys = msgspec.structs.replace(installed.settings.keys, epochs=epochs)
    changed = replace(installed, settings=msgspec.structs.replace(installed.settings, keys=keys))
    try:
        new = {what: one for what, one in (await wrong(changed)).items() if what not in before}
    finally:
        aside.rename(file)
    assert set(new) == {"The root key and the key of the current epoch open the deployment's keys"}
    assert set(await wrong(installed)) == before


async def test_a_root_key_that_is_not_there(installed: Installed) -> None:
    file = installed.home.secrets / "root.key"
    aside = file.rename(file.with_suffix(".aside"))
    try:
        found = (await wrong(installed))["The root key and the key of the current epoch open the deployment's keys"]
    finally:
        aside.rename(file)
    assert "There is no key file" in found.mend


@pytest.mark.parametrize("bits", [0o777, 0o713, 0o731])
async def test_a_home_that_others_can_change(installed: Installed, bits: int) -> None:
    with mode(installed, ".", bits):
        found = await wrong(installed)
        with pytest.raises(Misconfigured, match="chmod go-w"):
            installed.home.check()
        said = command("doctor", installed.home.path)
    assert f"chmod go-w {installed.home.path}" in found[f"Only this account reads {installed.home.secrets}"].mend
    assert (said.code, "chmod go-w" in said.all) == (1, True)


async def test_secrets_that_others_can_enter(installed: Installed) -> None:
    with mode(installed, "secrets", 0o755):
        found = await wrong(installed)
    assert f"chmod 700 {installed.home.secrets}" in found[f"Only this account reads {installed.home.secrets}"].mend


async def test_a_certificate_that_is_gone_or_one_s_own(installed: Installed) -> None:
    what = "The TLS certificate is an authority's and lasts another month"
    folder = installed.home.secrets
    kept = {name: (folder / name).rename(folder / f"{name}.kept") for name in ("tls.crt", "tls.key", "tls.ca.crt")}
    try:
        assert "no readable certificate" in (await wrong(installed))[what].mend
        (folder / "tls.crt").write_text("no certificate")
        assert "no readable certificate" in (await wrong(installed))[what].mend
        (folder / "tls.crt").unlink()
        make_development_certificate(
            certificate=folder / "tls.crt", key=folder / "tls.key", host="vault.example.org", clock=SystemClock()
        )
        (folder / "tls.ca.crt").unlink(missing_ok=True)
        assert what not in await wrong(installed)
    finally:
        for name, path in kept.items():
            path.replace(folder / name)


async def test_a_schema_that_is_not_the_program_s(installed: Installed) -> None:
    from wellkeep.db import migrate  # noqa: PLC0415
    from wellkeep.db.provision import connected  # noqa: PLC0415

    async with connected(installed.database.endpoint("wk_migrate")) as connection:
        await migrate.rollback(connection, steps=1)
        try:
            assert "wellkeep db migrate" in (await wrong(installed))["The schema is this program's"].mend
        finally:
            await migrate.migrate(connection)
    assert "The schema is this program's" not in await wrong(installed)
