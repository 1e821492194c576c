"""Promise: a database that is put back to before an erasure erases again before it serves."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from assembly.conftest import Installed
from deployments import command
from vault.stack import NOTES, PATIENTS
from wellkeep.access.operators import operator, this_operator
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.errors import ApprovalNeeded, Conflict, Misconfigured, SubjectErased
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.provision import connected
from wellkeep.gate.acts import Caller
from wellkeep.vault.calls import NIL


def _copy(source: Path, target: Path) -> None:
    """Copy with owners and modes, as a backup of files does."""
    subprocess.run(["/bin/cp", "-a", str(source), str(target)], check=True)  # noqa: S603  # paths of ours


def caller(tenant: UUID, role: str) -> Caller:
    """Return a caller of the tenant."""
    principal = Principal(
        type=ActorType.API_KEY, id=str(uuid7()), tenant=tenant, roles=(role,), method=AuthMethod.API_KEY
    )
    return Caller(principal, None, uuid7())


@dataclass
class Scene:
    """A tenant with two patients, one of whom will be erased, and a second tenant that will be."""

    tenant: UUID
    gone: UUID
    record: UUID
    staying: UUID
    whole: UUID


async def live(runtime: Runtime) -> Scene:
    """Make the scene."""
    tenants = [
        await runtime.tenants.create(this_operator(), name=f"clinic-{uuid7().hex[-8:]}", kind="synthetic")
        for _ in range(2)
    ]
    for tenant in tenants:
        for spec in (PATIENTS, NOTES):
            await runtime.collections.create(caller(tenant, "administrator"), spec)
    first = await runtime.records.create(caller(tenants[0], "integration"), "patients", {"family": "Lovelace"})
    other = await runtime.records.create(caller(tenants[0], "integration"), "patients", {"family": "Byron"})
    await runtime.records.create(caller(tenants[1], "integration"), "patients", {"family": "Babbage"})
    assert first.subject is not None
    return Scene(tenants[0], first.subject, first.id, other.id, tenants[1])


async def erase_both(runtime: Runtime, scene: Scene) -> None:
    """Erase the patient and the tenant, as two people."""
    await runtime.erasing.subjects.erase(caller(scene.tenant, "privacy_officer"), scene.gone)
    ada, grace = (Caller(operator(name), None, uuid7()) for name in ("ada", "grace"))
    with pytest.raises(Conflict):
        await runtime.erasing.tenants.erase(ada, scene.whole)
    await runtime.tenants.close(ada, tenant=scene.whole)
    with pytest.raises(ApprovalNeeded) as waits:
        await runtime.erasing.tenants.erase(ada, scene.whole)
    assert waits.value.resource is not None
    await runtime.erasing.approvals.decide(grace, waits.value.resource, give=True)
    await runtime.erasing.tenants.erase(ada, scene.whole)
    await runtime.erasing.sweeper.all(scene.whole)
    certificate = await runtime.erasing.certificates.of_tenant(grace, scene.whole)
    assert certificate.swept
    assert certificate.covered["keys"] > 1


async def left(installed: Installed, tenant: UUID) -> dict[str, int]:
    """Return how many rows a tenant has in each table of vault and keys, past every policy."""
    found = {}
    async with connected(installed.database.endpoint("wk_migrate")) as connection:
        await connection.execute("SET ROLE wk_owner")
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
            "WHERE schemaname IN ('vault', 'keys') AND tablename NOT IN ('epoch', 'tombstone', 'signal', 'rotation')"
        )
        for row in tables:
            async with connection.transaction():
                await connection.execute(f"ALTER TABLE {row['name']} NO FORCE ROW LEVEL SECURITY")
                found[row["name"]] = await connection.fetchval(
                    f"SELECT count(*) FROM {row['name']} WHERE tenant_id = $1",  # noqa: S608 - from the catalogue
                    tenant,
                )
                await connection.execute(f"ALTER TABLE {row['name']} FORCE ROW LEVEL SECURITY")
    return {name: number for name, number in found.items() if number}


async def test_an_older_database_erases_again_before_it_serves(installed: Installed, tmp_path: Path) -> None:
    where = (installed.home, installed.settings, installed.database)
    async with open_runtime(*where) as runtime:
        assert runtime.erased_again == 0
        scene = await live(runtime)
    installed.database.stop()
    data = installed.home.path / "postgres"
    _copy(data, tmp_path / "backup")
    installed.database.start()
    async with open_runtime(*where) as runtime:
        await erase_both(runtime, scene)
        assert (await runtime.replay.run(scene.tenant)).ok
        file = runtime.erasing.tombstones
        assert {(one.tenant, one.subject) for one in file.load()} == {
            (scene.tenant, scene.gone),
            (scene.whole, NIL),
        }
    assert await left(installed, scene.whole) == {}
    installed.database.stop()
    shutil.rmtree(data)
    _copy(tmp_path / "backup", data)
    installed.database.start()
    assert await left(installed, scene.whole) != {}
    said = command("ledger", "accept-restore", "--reason", "the disk died", "--home", installed.home.path)
    assert said.code == 0, said.err
    async with open_runtime(*where) as runtime:
        officer = caller(scene.tenant, "privacy_officer")
        with pytest.raises(SubjectErased):
            await runtime.records.read(officer, "patients", scene.record)
        assert (await runtime.records.read(officer, "patients", scene.staying)).fields["family"] == "Byron"
        assert (await runtime.erasing.certificates.of_subject(officer, scene.gone)).again
        (whole,) = [one for one in await runtime.tenants.list(this_operator()) if one.id == scene.whole]
        assert whole.state == "closed"  # it was open in that backup, and its programs had keys that stand
        assert runtime.erased_again == 0  # by accept-restore itself, which opened the services once
        for tenant in await runtime.erasing.sweeper.unswept():
            await runtime.erasing.sweeper.all(tenant)
        assert (await runtime.replay.run(scene.tenant)).ok
    assert await left(installed, scene.whole) == {}


async def test_what_the_file_lacks_is_added_and_what_nobody_signed_stops_the_start(
    installed: Installed, tmp_path: Path
) -> None:
    where = (installed.home, installed.settings, installed.database)
    async with open_runtime(*where) as runtime:
        scene = await live(runtime)
        await runtime.erasing.subjects.erase(caller(scene.tenant, "privacy_officer"), scene.gone)
        file = runtime.erasing.tombstones.path
        kept = file.read_bytes()
        runtime.erasing.tombstones.note(runtime.erasing.tombstones.load())
        assert file.read_bytes() == kept
        file.write_bytes(b"")  # cut off before it was written: asking again writes it
        await runtime.erasing.subjects.erase(caller(scene.tenant, "privacy_officer"), scene.gone)
        assert kept.endswith(file.read_bytes())
        assert str(scene.gone).encode() in file.read_bytes()
    file.unlink()
    async with open_runtime(*where) as runtime:
        assert (scene.tenant, scene.gone) in {(one.tenant, one.subject) for one in runtime.erasing.tombstones.load()}
    victim = (await _first_patient(installed, scene)).encode()
    forged = kept.replace(str(scene.gone).encode(), victim)
    for broken in (kept + b"not a line of ours\n", forged):
        file.write_bytes(broken)
        with pytest.raises(Misconfigured):
            async with open_runtime(*where):
                pass
    file.write_bytes(kept + b"half a li")
    async with open_runtime(*where) as runtime:
        assert (await runtime.records.read(caller(scene.tenant, "privacy_officer"), "patients", scene.staying)).fields


async def _first_patient(installed: Installed, scene: Scene) -> str:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        view = await runtime.records.read(caller(scene.tenant, "privacy_officer"), "patients", scene.staying)
        return str(view.subject)
