"""Each tenant's indexes are measured by their counts alone, and one that is skewed is a finding of that tenant's."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from assembly.conftest import Installed
from deployments import command
from wellkeep.access.operators import this_operator
from wellkeep.assembly.index_leaks import leaks
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.ids import uuid7
from wellkeep.db.provision import connected
from wellkeep.db.queue import Interrupted, QueuedJob
from wellkeep.findings.grammar import Kind
from wellkeep.gate.acts import Caller
from wellkeep.jobs.index_leaks import LEAK, PERIODIC, IndexLeaks
from wellkeep.vault.declaration import CollectionSpec, FieldSpec
from wellkeep.vault.index_leak import Verdict

JOB: QueuedJob = None  # type: ignore[assignment]  # what is done does not follow from the job
_FILL = """
INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
SELECT $1, $2, $3, set_byte(substring(sha256(int4send(n % $5)) FOR 17), 0, $6), slot, slot
FROM (SELECT n, gen_random_uuid() AS slot FROM generate_series(1, $4) AS n) AS made
"""
_FOUND = "SELECT tenant_id, severity, detail FROM findings.finding WHERE kind = $1"


async def made(runtime: Runtime, name: str) -> tuple[UUID, int, dict[str, int]]:
    """Make a tenant with a collection of three fields; return its id, the collection's number and the fields'."""
    tenant = await runtime.tenants.create(this_operator(), name=name)
    issued = await runtime.api_keys.create(this_operator(), tenant=tenant, name="k", roles=("administrator",))
    principal = await runtime.authenticator.authenticate(f"Bearer {issued.key.reveal()}", request=uuid7())
    fields = (
        FieldSpec(name="ward_like", type="string", field_class="phi", index="exact"),
        FieldSpec(name="mrn", type="string", field_class="pii", index="unique"),
        FieldSpec(name="label", type="string", field_class="plain", index="exact"),
        FieldSpec(name="note", type="text", field_class="phi"),
    )
    spec = CollectionSpec(name="visits", subject="none", fields=fields)
    collection = await runtime.collections.create(Caller(principal, None, uuid7()), spec)
    return tenant, collection.id, {one.name: one.id for one in collection.definition.fields}


async def fill(
    installed: Installed, tenant: UUID, collection: int, field: int, *, rows: int, values: int, epoch: int = 1
) -> None:
    """Give an index rows past the application, as many records would."""
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        await connection.execute(_FILL, tenant, collection, field, rows, values, epoch)


async def found(installed: Installed, tenant: UUID) -> list[str]:
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        rows = await connection.fetch(_FOUND, Kind.INDEX_SKEW.value)
    return [row["detail"] for row in rows if row["tenant_id"] == tenant]


async def test_an_index_that_came_to_have_few_values_is_found(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        tenant, collection, fields = await made(runtime, "skewed")
        other, elsewhere, others = await made(runtime, "even")
        await fill(installed, tenant, collection, fields["ward_like"], rows=1_200, values=7)
        await fill(installed, tenant, collection, fields["mrn"], rows=1_200, values=1_200)
        await fill(installed, tenant, collection, fields["label"], rows=1_200, values=2)
        await fill(installed, other, elsewhere, others["ward_like"], rows=3_000, values=1_000)
        told = {(one.tenant, one.field): one.leak async for one in leaks(runtime.core, [tenant, other])}
        assert set(told) == {(of, name) for of in (tenant, other) for name in ("ward_like", "mrn")}, "no plain field"
        assert told[tenant, "ward_like"].verdict is Verdict.FEW_VALUES
        assert (told[tenant, "ward_like"].entries, told[tenant, "ward_like"].distinct) == (1_200, 7)
        assert told[tenant, "mrn"].verdict is Verdict.OK
        assert told[other, "ward_like"].verdict is Verdict.OK
        assert told[other, "mrn"].verdict is Verdict.FEW_RECORDS
        await runtime.findings.flush()
        assert len(await found(installed, tenant)) == 1
        assert not await found(installed, other)
        assert [one async for one in leaks(runtime.core, [tenant], collection="elsewhere")] == []


async def test_while_two_epochs_live_each_value_counts_once(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        tenant, collection, fields = await made(runtime, "rolling")
        await fill(installed, tenant, collection, fields["ward_like"], rows=2_000, values=40)
        await fill(installed, tenant, collection, fields["ward_like"], rows=500, values=40, epoch=2)
        (leak,) = [one.leak async for one in leaks(runtime.core, [tenant]) if one.field == "ward_like"]
    assert (leak.entries, leak.distinct) == (2_000, 40)


async def test_a_server_looks_once_a_week_and_stops_when_told(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        tenant, collection, fields = await made(runtime, "weekly")
        await fill(installed, tenant, collection, fields["ward_like"], rows=1_500, values=3)
        handlers = IndexLeaks(runtime.core).handlers()
        assert handlers.keys() == {one.kind for one in PERIODIC}
        with pytest.raises(Interrupted):
            await handlers[LEAK](JOB, lambda: True)
        await handlers[LEAK](JOB, lambda: False)
        await runtime.findings.flush()
        assert len(await found(installed, tenant)) == 1


async def test_the_command_shows_counts_alone_and_fails_past_a_limit(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        name = f"told-{uuid4().hex[:8]}"
        tenant, collection, fields = await made(runtime, name)
        await fill(installed, tenant, collection, fields["mrn"], rows=1_500, values=1_500)
    said = command("index", "leak", "--tenant", name, "--json", home=installed.home.path)
    assert said.code == 0, said.all
    (mrn,) = [one for one in said.json() if one["field"] == "mrn"]
    assert set(mrn) == {"tenant", "collection", "field", "index", "leak"}
    assert mrn["leak"]["entries"] == 1_500
    await fill(installed, tenant, collection, fields["ward_like"], rows=1_100, values=2)
    said = command("index", "leak", "--tenant", name, "--collection", "visits", home=installed.home.path)
    assert (said.code, "few-values" in said.out) == (1, True)
    assert command("index", "leak", "-t", name, "-c", "nowhere", home=installed.home.path).code == 1
    assert command("index", "leak", "-t", "nobody", home=installed.home.path).code == 1
