"""The main job on real input: every patient of the sample data goes in, comes back byte for byte, and is found.

Through the command line and the API alone, as a customer does it. `make check` takes all patients and the first lines
of what refers to them; `make soak` takes all 124,612 lines and reads each one back twice, from an export and page by
page.
"""

from __future__ import annotations

import asyncio
import csv
import functools
import gzip
import logging
import re
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from deployments import Deployment, deployment
from wellkeep.assembly.database import Database
from wellkeep.assembly.pinning import pinned
from wellkeep.assembly.runtime import open_runtime
from wellkeep.vault.templates import template

pytestmark = pytest.mark.samples

SOURCES = {
    "patients": "Patient",
    "organisations": "Organization",
    "practitioners": "Practitioner",
    "encounters": "Encounter",
    "conditions": "Condition",
    "observations": "Observation",
    "immunisations": "Immunization",
    "medications": "MedicationRequest",
    "allergies": "AllergyIntolerance",
}
PATIENTS = 615
LINES = 124_612
SLICE = 500
PAGE = 200
told = logging.getLogger(__name__).info
TENANT = "sample-clinic"
AT_ONCE = 8
COLUMNS = {"line": "address_line", "zip": "postal_code"}
"""Where patients.csv calls a field otherwise."""


class Journey:
    """One tenant with the sample data, and what should be in it."""

    def __init__(self, served: Deployment, folder: Path, samples: Path, *, most: int | None) -> None:
        assert served.wk("tenant", "create", TENANT).code == 0
        self.served = served
        self.folder = folder
        self.samples = samples
        self.key = served.key(TENANT, "integration", "administrator")
        self.files: dict[str, Path] = {}
        self.lines: dict[str, list[bytes]] = {}
        for collection, resource in SOURCES.items():
            self._prepare(collection, samples / "synthea-r4" / f"{resource}.ndjson.gz", most)

    def _prepare(self, collection: str, source: Path, most: int | None) -> None:
        """Take a source as it is, or the first lines of it (of the patients: all)."""
        with gzip.open(source) as stream:
            lines = [line.rstrip(b"\n") for line in stream]
        self.files[collection] = source
        if most is not None and collection != "patients" and len(lines) > most:
            lines = lines[:most]
            self.files[collection] = self.folder / source.name
            self.files[collection].write_bytes(gzip.compress(b"\n".join(lines) + b"\n", 1))
        self.lines[collection] = lines

    async def create_collections(self) -> None:
        """Make the collections from the templates."""
        async with self.client() as client:
            for collection in SOURCES:
                made = await client.post("/v1/collections", json=template(collection).definition())
                assert made.status_code == httpx.codes.CREATED, made.text

    def bring_in(self, collection: str, *options: str) -> dict[str, Any]:
        """Import a file with the command line."""
        arguments: tuple[str | Path, ...] = (
            "import",
            self.files[collection],
            "--collection",
            collection,
            *options,
            "--json",
        )
        said = self.served.wk(*arguments, key=self.key, cwd=self.folder)
        assert said.code == 0, said.all
        status: dict[str, Any] = said.json()
        return status

    def take_out(self, collection: str) -> tuple[dict[str, Any], list[bytes]]:
        """Export a collection as FHIR with the command line."""
        target = self.folder / f"{collection}-{time.monotonic_ns()}.ndjson"
        said = self.served.wk("export", "-c", collection, "-o", target, "--format", "fhir", "--json", key=self.key)
        assert said.code == 0, said.err
        found = target.read_bytes().splitlines()
        target.unlink()
        return said.json(), found

    def client(self) -> httpx.AsyncClient:
        """Return a client of the API."""
        return httpx.AsyncClient(
            base_url=self.served.url,
            headers={"Authorization": f"Bearer {self.key}"},
            verify=pinned(self.served.home.resolve("secrets/tls.crt")),
            timeout=300,
            trust_env=False,
        )

    def people(self) -> list[dict[str, str]]:
        """Return patients.csv."""
        with (self.samples / "synthea-r4" / "patients.csv").open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))


async def test_everything_goes_in_comes_back_and_is_found(samples: Path, tmp_path: Path) -> None:
    """Every patient; of what refers to them some, each read back by one of the two ways."""
    exported = ("patients", "observations")
    with deployment(serve=()) as served:
        journey = Journey(served, tmp_path, samples, most=SLICE)
        await _whole_journey(journey, forms=1, exported=exported, paged=tuple(SOURCES), again=exported)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_all_lines_go_in_come_back_and_are_found(samples: Path, tmp_path: Path) -> None:
    """All 124,612 lines, each read back both ways, each patient searched in every form."""
    everything = tuple(SOURCES)
    with deployment(serve=()) as served:
        journey = Journey(served, tmp_path, samples, most=None)
        assert sum(map(len, journey.lines.values())) == LINES
        await _whole_journey(journey, forms=3, exported=everything, paged=everything, again=everything)


async def _whole_journey(
    journey: Journey, *, forms: int, exported: Iterable[str], paged: Iterable[str], again: Iterable[str]
) -> None:
    await journey.create_collections()
    digests = {collection: await asyncio.to_thread(_in, journey, collection) for collection in SOURCES}
    for collection in exported:
        await asyncio.to_thread(_out, journey, collection, digests[collection])
    async with journey.client() as client:
        records = {collection: await _pages(client, collection) for collection in paged}
        for collection, found in records.items():
            assert Counter(map(_raw, found)) == Counter(journey.lines[collection]), f"{collection} by pages"
        _equals_the_table(journey, records["patients"])
        await _everybody_is_found(client, journey.people(), forms=forms)
    for collection in again:
        await asyncio.to_thread(_again_changes_nothing, journey, collection, digests[collection])
    await _the_record_holds(journey)


def _in(journey: Journey, collection: str) -> str:
    """Import a collection and return its digest."""
    lines = len(journey.lines[collection])
    began = time.monotonic()
    status = journey.bring_in(collection)
    told(f"{collection}: {lines:,} lines in, {time.monotonic() - began:.1f} s")
    counts = {name: status[name] for name in ("state", "lines", "created", "updated", "unchanged", "failed")}
    wanted = {"state": "done", "lines": lines, "created": lines, "updated": 0, "unchanged": 0, "failed": 0}
    assert counts == wanted, collection
    return str(status["digest"])


def _out(journey: Journey, collection: str, digest: str) -> None:
    """Export a collection and compare it with its source."""
    began = time.monotonic()
    status, found = journey.take_out(collection)
    told(f"{collection}: {len(found):,} lines out, {time.monotonic() - began:.1f} s")
    assert Counter(found) == Counter(journey.lines[collection]), f"{collection} byte for byte"
    assert (status["done"], status["digest"]) == (len(found), digest), collection


def _again_changes_nothing(journey: Journey, collection: str, digest: str) -> None:
    lines = len(journey.lines[collection])
    status = journey.bring_in(collection, "--again")
    counts = {name: status[name] for name in ("created", "updated", "unchanged", "failed")}
    assert counts == {"created": 0, "updated": 0, "unchanged": lines, "failed": 0}, collection
    assert status["digest"] == digest, collection


class _Page(msgspec.Struct):
    records: list[dict[str, Any]]
    cursor: str | None = None


class _RawFields(msgspec.Struct):
    id: UUID
    subject: UUID | None
    fields: dict[str, msgspec.Raw]
    withheld: list[str]


class _RawPage(msgspec.Struct):
    records: list[_RawFields]
    cursor: str | None = None


async def _pages(client: httpx.AsyncClient, collection: str) -> list[_RawFields]:
    """Return all records of a collection, page by page, their JSON untouched."""
    found: list[_RawFields] = []
    asked: dict[str, Any] = {"limit": PAGE}
    while True:
        answer = await client.post(f"/v1/collections/{collection}/records/search", json=asked)
        assert answer.status_code == httpx.codes.OK, answer.text
        page = msgspec.json.decode(answer.content, type=_RawPage)
        found += page.records
        if page.cursor is None:
            return found
        asked["cursor"] = page.cursor


def _raw(record: _RawFields) -> bytes:
    assert not record.withheld
    return bytes(record.fields["resource"])


def _equals_the_table(journey: Journey, records: Sequence[_RawFields]) -> None:
    """Compare each value of patients.csv with the field of the API."""
    by_id = {msgspec.json.decode(_raw(record))["id"]: record for record in records}
    people = journey.people()
    assert len(people) == len(by_id) == PATIENTS
    for person in people:
        fields = by_id[person["id"]].fields
        for column, value in person.items():
            if column == "id":
                continue
            held = fields.get(COLUMNS.get(column, column))
            assert (msgspec.json.decode(held, type=str) if held is not None else "") == value, (person["id"], column)


async def _everybody_is_found(client: httpx.AsyncClient, people: Sequence[dict[str, str]], *, forms: int) -> None:
    """Search each person by SSN, phone and names, each in `forms` of the ways that people write them."""
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for person in people:
        wanted["ssn", _digits(person["ssn"])].add(person["mrn"])
        wanted["phone", _digits(person["phone"])].add(person["mrn"])
    ways: dict[str, Sequence[Callable[[str], str]]] = {
        "ssn": (str, _digits, lambda text: text.replace("-", " ")),
        "phone": (str, lambda text: "({}) {}-{}".format(*text.split("-")), lambda text: f"+1{_digits(text)}"),
        "family": (str, _bare, str.upper),
        "given": (str, _bare, str.lower),
    }
    searches: list[Callable[[], Awaitable[None]]] = []
    for place, person in enumerate(people):
        for field, all_ways in ways.items():
            for turn in range(forms):
                way = all_ways[(place + turn) % len(all_ways)]
                searches.append(functools.partial(_search, client, person, field, way, wanted))
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(search: Callable[[], Awaitable[None]]) -> None:
        async with turns:
            await search()

    await asyncio.gather(*map(in_turn, searches))


async def _search(
    client: httpx.AsyncClient,
    person: dict[str, str],
    field: str,
    way: Callable[[str], str],
    wanted: dict[tuple[str, str], set[str]],
) -> None:
    if not person[field]:
        return
    where = {field: way(person[field])}
    if field in {"family", "given"}:
        where["birth_date"] = person["birth_date"]  # a name alone may be many people's
    asked = {"where": where, "fields": ["mrn", field], "limit": PAGE}
    answer = await client.post("/v1/collections/patients/records/search", json=asked)
    assert answer.status_code == httpx.codes.OK, answer.text
    page = msgspec.json.decode(answer.content, type=_Page)
    found = {record["fields"]["mrn"] for record in page.records}
    exactly = wanted.get((field, _digits(person[field])))
    if exactly is None:
        assert person["mrn"] in found, (person["id"], field)
        assert all(_begins(record["fields"][field], where[field]) for record in page.records)
    else:
        assert found == exactly, (person["id"], field)


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _bare(text: str) -> str:
    """Return `text` without accents, as somebody without the keys for them types it."""
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def _begins(held: str, asked: str) -> bool:
    """Say whether `asked` is what `held` begins with, accents, case and punctuation aside."""
    folded = [re.sub(r"[\W_]+", " ", _bare(text.replace("'", "")).casefold()) for text in (held, asked)]
    return all(any(word.startswith(part) for word in folded[0].split()) for part in folded[1].split())


async def _the_record_holds(journey: Journey) -> None:
    """Verify the ledger with the command line, and replay the records against it."""
    said = await asyncio.to_thread(journey.served.wk, "ledger", "verify", "--json")
    assert (said.code, said.json()["holds"], said.json()["bad"]) == (0, True, []), said.all
    home = journey.served.home
    settings = home.settings()
    database = Database(home, settings)
    await asyncio.to_thread(database.start)
    async with open_runtime(home, settings, database) as runtime:
        tenant = next(one.id for one in await _tenants(runtime) if one.name == TENANT)
        replayed = await runtime.replay.run(tenant)
    assert (replayed.ok, replayed.differing) == (True, 0)
    assert replayed.states >= sum(map(len, journey.lines.values()))
    # Every batch of 500 lines has its entry, and each names its records.
    assert replayed.entries >= sum(-(-len(lines) // 500) for lines in journey.lines.values())


async def _tenants(runtime: Any) -> list[Any]:
    from wellkeep.access.operators import this_operator  # noqa: PLC0415

    found: list[Any] = await runtime.tenants.list(this_operator())
    return found
