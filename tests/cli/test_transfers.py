"""`wellkeep import` and `export` as processes: told plainly, stopped and resumed, whole or not at all."""

from __future__ import annotations

import gzip
import json
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deployments import WELLKEEP, Deployment, environment

PATIENTS = b"".join(
    json.dumps({"resourceType": "Patient", "id": f"p{n}", "birthDate": "1984-02-29"}).encode() + b"\n"
    for n in range(1, 6)
)
NOTES = {
    "name": "notes",
    "subject": "none",
    "fields": [
        {"name": "title", "type": "string", "class": "phi", "index": "exact", "normaliser": "text"},
        {"name": "pages", "type": "integer", "class": "plain"},
    ],
}
MANY = 20_000


@pytest.fixture(scope="module")
def vault(served: Deployment, key: str) -> Deployment:
    """Declare the collections that are filled."""
    assert served.wk("collections", "template", "patients", "--create", key=key).code == 0
    with served.client(key) as client:
        for name in ("notes", "many", "others"):
            assert client.post("/v1/collections", json=NOTES | {"name": name}).status_code == 201
    return served


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Write five patients as FHIR NDJSON, gzipped."""
    file = tmp_path / "Patient.ndjson.gz"
    file.write_bytes(gzip.compress(PATIENTS, mtime=0))
    return file


def note(number: int, **fields: object) -> bytes:
    """Return one line of notes."""
    return json.dumps({"external_id": f"n{number}", "fields": {"title": f"Note {number}", **fields}}).encode() + b"\n"


def test_an_import_is_told_once_and_never_run_twice_unasked(
    vault: Deployment, key: str, patients: Path, tmp_path: Path
) -> None:
    first = vault.wk("import", patients, "-c", "patients", key=key, cwd=tmp_path)
    assert (first.code, "5 created, 0 updated, 0 unchanged, 0 failed" in first.out) == (0, True)
    second = vault.wk("import", patients, "-c", "patients", key=key, cwd=tmp_path)
    assert second.code == 0
    assert "was imported before" in second.out
    assert "nothing was done" in second.out
    assert "--again" in second.out
    again = vault.wk("import", patients, "-c", "patients", "--again", "--json", key=key, cwd=tmp_path).json()
    assert (again["state"], again["unchanged"], again["created"], again["repeated"]) == ("done", 5, 0, False)
    third = vault.wk("import", patients, "-c", "patients", "--again", "--json", key=key, cwd=tmp_path).json()
    assert third["unchanged"] == 5
    assert third["id"] != again["id"]
    assert third["digest"] == again["digest"]
    assert list(tmp_path.iterdir()) == [patients], "nothing failed, so no file of errors"


def test_an_export_is_the_source_and_its_owner_s_alone(
    vault: Deployment, key: str, patients: Path, tmp_path: Path
) -> None:
    assert vault.wk("import", patients, "-c", "patients", key=key, cwd=tmp_path).code == 0
    target = tmp_path / "out.ndjson"
    done = vault.wk("export", "-c", "patients", "-o", target, "--format", "fhir", "--json", key=key)
    assert (done.code, done.json()["done"], done.json()["bytes"]) == (0, 5, len(PATIENTS))
    assert sorted(target.read_bytes().splitlines()) == sorted(PATIENTS.splitlines())
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {patients.name, target.name}
    before = target.read_bytes()
    refused = vault.wk("export", "-c", "patients", "-o", target, key=key)
    assert (refused.code, "exists" in refused.err, target.read_bytes()) == (1, True, before)


def test_lines_that_fail_are_listed_without_a_value(vault: Deployment, key: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.ndjson"
    file.write_bytes(note(1) + note(2, pages="Xk9CanaryZq") + b"{broken\n" + note(3, unheard_of="Xk9CanaryZq"))
    done = vault.wk("import", file, "-c", "notes", key=key, cwd=tmp_path)
    assert (done.code, "1 created, 0 updated, 0 unchanged, 3 failed" in done.all) == (1, True)
    listed = [json.loads(line) for line in (tmp_path / "notes.ndjson.errors.ndjson").read_text().splitlines()]
    assert [sorted(one) for one in listed] == [["code", "line", "path"]] * 3
    assert [one["line"] for one in listed] == [2, 3, 4]
    assert "line 2: fields.pages: wrong-type" in done.err.replace("/", ".").replace(": .", ": ")
    assert "Canary" not in done.all + (tmp_path / "notes.ndjson.errors.ndjson").read_text()
    elsewhere = tmp_path / "elsewhere.ndjson"
    chosen = vault.wk("import", file, "-c", "notes", "--errors", elsewhere, key=key, cwd=tmp_path)
    assert (chosen.code, "imported before" in chosen.out) == (1, True)
    assert len(elsewhere.read_text().splitlines()) == 3


def test_a_csv_with_a_map_of_its_columns(vault: Deployment, key: str, tmp_path: Path) -> None:
    file, mapping = tmp_path / "notes.csv", tmp_path / "map.toml"
    file.write_text('Number,Heading,Length\n1,"Über\nzwei Zeilen",3\n2,Zwei,4\n', encoding="utf-8")
    mapping.write_text('Number = "@external_id"\nHeading = "title"\nLength = "pages"\n')
    done = vault.wk("import", file, "-c", "others", "--map", mapping, "--json", key=key, cwd=tmp_path).json()
    assert (done["state"], done["created"], done["failed"]) == ("done", 2, 0)
    mapping.write_text("[nested]\nNumber = 1\n")
    refused = vault.wk("import", file, "-c", "others", "--map", mapping, key=key, cwd=tmp_path)
    assert (refused.code, "column = field" in refused.err) == (1, True)
    unmapped = vault.wk("import", file, "-c", "others", key=key, cwd=tmp_path)
    assert (unmapped.code, "unknown-column" in unmapped.err) == (1, True)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "empty.ndjson", "is empty"),
        (gzip.compress(PATIENTS, mtime=0)[:-12], "cut.ndjson.gz", "failed"),
        (b"\x1f\x8bXk9CanaryZq", "no.ndjson.gz", "not a whole gzip"),
    ],
    ids=["empty", "cut", "no-gzip"],
)
def test_a_file_that_is_none(vault: Deployment, key: str, tmp_path: Path, content: bytes, name: str, said: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    refused = vault.wk("import", file, "-c", "patients", key=key, cwd=tmp_path)
    assert (refused.code, said in refused.err, "Canary" in refused.all) == (1, True, False), refused.all


def test_what_is_refused_says_how_to_go_on(vault: Deployment, key: str, patients: Path, tmp_path: Path) -> None:
    def refused(*arguments: str | Path, key: str | None) -> tuple[int, str]:
        said = vault.wk(*arguments, key=key, cwd=tmp_path)
        assert "Canary" not in said.all
        return said.code, said.err

    code, said = refused("import", patients, "-c", "patients", key=None)
    assert (code, "WELLKEEP_API_KEY" in said, "apikey create" in said) == (1, True, True)
    code, said = refused("import", patients, "-c", "patients", key="wk_test_Xk9CanaryZq")
    assert (code, "HTTP 401" in said) == (1, True)
    code, said = refused("import", patients, "-c", "patients", key="Xk9CanaryZq\n")
    assert (code, "holds no API key" in said) == (1, True)
    code, said = refused("import", patients, "-c", "nowhere", key=key)
    assert (code, "collections template" in said) == (1, True)
    code, said = refused("import", tmp_path / "absent.ndjson", "-c", "patients", key=key)
    assert code == 2
    code, said = refused("export", "-c", "patients", "-o", tmp_path / "o", "--url", "http://127.0.0.1:1", key=key)
    assert (code, "never sent in clear" in said) == (2, True)
    code, said = refused("export", "-c", "patients", "-o", tmp_path / "o", "--url", vault.url, key=key)
    assert (code, "no certificate that is trusted" in said) == (1, True)
    code, said = refused("export", "-c", "patients", "-o", tmp_path / "no" / "o", key=key)
    assert (code, "no directory" in said) == (2, True)
    code, said = refused("export", "-c", "nowhere", "-o", tmp_path / "o", key=key)
    assert (code, "HTTP 404" in said) == (1, True)
    assert list(tmp_path.iterdir()) == [patients]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Write a file that takes the server a few seconds."""
    file = tmp_path / "many.ndjson"
    file.write_bytes(b"".join(note(number, pages=number) for number in range(MANY)))
    return file


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let our programs be interrupted, also where these tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_stopped_with_ctrl_c_and_resumed(vault: Deployment, key: str, many: Path, tmp_path: Path) -> None:
    arguments = ["import", str(many), "-c", "many"]
    process = subprocess.Popen(  # noqa: S603 -- our own program
        [*WELLKEEP, *arguments],
        env=environment(vault.path, key=key),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for_progress(vault, key)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "It is stopped" in said
    assert "same command again" in said
    assert "Traceback" not in said
    between = _count(vault, key)
    time.sleep(1.5)
    assert _count(vault, key) == between, "the server has stopped as it was asked"
    resumed = vault.wk(*arguments, key=key, cwd=tmp_path)
    assert (resumed.code, f"{MANY:,} created, 0 updated, 0 unchanged, 0 failed" in resumed.out) == (0, True)
    assert "It goes on behind line" in resumed.err


def _wait_for_progress(vault: Deployment, key: str) -> None:
    """Come back as soon as the first note is there: a quick machine has imported all of them two seconds later."""
    end = time.monotonic() + 60
    with vault.client(key) as client:
        while not _is_there(client, 1):
            assert time.monotonic() < end, "no record arrived"
            time.sleep(0.02)


def _count(vault: Deployment, key: str) -> int:
    """Return how many notes are there, up to one page's limit, then by the last one's number."""
    with vault.client(key) as client:
        newest = 0
        for number in (1, 500, 2_500, 5_000, 10_000, MANY - 1):
            if _is_there(client, number):
                newest = number
        return newest


def _is_there(client: httpx.Client, number: int) -> bool:
    answer = client.post("/v1/collections/many/records/search", json={"where": {"title": f"Note {number}"}})
    return bool(answer.json()["records"])


def test_a_server_that_is_away(vault: Deployment, key: str, tmp_path: Path) -> None:
    """Nothing listens at a port that was free a moment ago."""
    refused = vault.wk("export", "-c", "notes", "-o", tmp_path / "o", "--url", "https://127.0.0.1:9", key=key)
    assert (refused.code, "wellkeep serve" in refused.err) == (1, True)
