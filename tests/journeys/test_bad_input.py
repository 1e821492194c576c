"""What does not fit is refused by its place and never repeated; what fits comes back byte for byte."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from faults.deployed import RECORDS, Deployed

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "Xk9CanaryZq"
PAGES: dict[str, Any] = {
    "name": "pages",
    "subject": "none",
    "fields": [
        {"name": "title", "type": "string", "class": "pii", "index": "exact"},
        {"name": "body", "type": "text", "class": "phi"},
        {"name": "source", "type": "json", "class": "phi"},
        {"name": "count", "type": "integer", "class": "phi"},
        {"name": "amount", "type": "decimal", "class": "phi"},
        {"name": "born", "type": "date", "class": "phi"},
        {"name": "seen", "type": "datetime", "class": "phi"},
        {"name": "alive", "type": "boolean", "class": "phi"},
        {"name": "mood", "type": "string", "class": "plain", "enum": ["good", "bad"]},
    ],
}
PAGE_RECORDS = "/v1/collections/pages/records"
TEXTS = {
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627\u202c \u200f\u200e",
    "composed and combining": "\u00e9 e\u0301 \u1e9b\u0323 q\u0307\u0323 \u0e01\u0e33 \ud55c \u1112\u1161\u11ab",
    "joined emoji": "\U0001f469\U0001f3fd\u200d\u2695\ufe0f \U0001f1fa\U0001f1f8",
    "beyond the first plane": "\U00020000\U0010ffff\U0001d11e",
    "separators and controls": "a\tb\r\nc\u2028d\u2029e\u0085f\x1b[31m\x7f",
    "not quite characters": "\ufeff\ufffe\uffff\ufdd0\ufffd",
    "much combining": "Z" + "\u0341\u0362" * 200,
    "quotes": "'; DROP TABLE vault.record; -- \\ \" ${x} {{7*7}} <script>%00%0a\\u0000",
    "spaces kept": "  \u3000 leading and trailing \u00a0 ",
}
MALFORMED: dict[str, bytes] = {
    "no json": CANARY.encode(),
    "cut off": b'{"fields": {"title": "' + CANARY.encode(),
    "two values": b'{"fields": {}} {"fields": {}}',
    "trailing comma": b'{"fields": {"title": "' + CANARY.encode() + b'",}}',
    "a key twice": b'{"fields": {"title": "a", "title": "' + CANARY.encode() + b'"}}',
    "NaN": b'{"fields": {"count": NaN}}',
    "byte order mark": b'\xef\xbb\xbf{"fields": {}}',
    "UTF-16": '{"fields": {}}'.encode("utf-16"),
    "no UTF-8": b'{"fields": {"title": "\xff\xfe"}}',
    "surrogate in UTF-8": b'{"fields": {"title": "\xed\xa0\x80"}}',
    "lone surrogate": b'{"fields": {"title": "\\ud800' + CANARY.encode() + b'"}}',
    "lone surrogate in a json field": b'{"fields": {"source": {"a": "\\udfff"}}}',
    "NUL escaped": b'{"fields": {"title": "' + CANARY.encode() + b'\\u0000"}}',
    "NUL escaped in a json field": b'{"fields": {"source": ["\\u0000"]}}',
    "NUL bare": b'{"fields": {"title": "a\x00b"}}',
    "too deep": b'{"fields": {"source": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
    "an integer beyond 2^53": b'{"fields": {"count": 9007199254740993}}',
    "an integer beyond 2^64": b'{"fields": {"count": 1' + b"0" * 400 + b"}}",
    "an array": b"[]",
    "null": b"null",
    "nothing": b"",
}
WRONG: dict[str, Any] = {
    "an undeclared field": {CANARY: CANARY},
    "a number for a text": {"title": 7},
    "a list for a text": {"body": [CANARY]},
    "a text for a number": {"count": CANARY},
    "a float for an integer": {"count": 1.5},
    "true for an integer": {"count": True},
    "a number for a boolean": {"alive": 1},
    "no such day": {"born": "2023-02-30"},
    "no leap year": {"born": "1900-02-29"},
    "another notation": {"born": "30.02.2023"},
    "no such hour": {"seen": "2023-02-28T25:00:00Z"},
    "no zone": {"seen": "2023-02-28T12:00:00"},
    "no member": {"mood": CANARY},
    "an infinite decimal": {"amount": "Infinity"},
    "a comma": {"amount": "1,5"},
    "too long": {"title": CANARY * 200},
}


@pytest.fixture(scope="module")
def written(deployed: Deployed) -> list[Path]:
    """Return where the deployment writes: its log, and PostgreSQL's."""
    return [deployed.home.log, deployed.postgresql.data / "log"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(deployed: Deployed) -> httpx.AsyncClient:
    """Make the collections and return a client of the first tenant."""
    made = await deployed.client("administrator").post("/v1/collections", json=PAGES)
    assert made.status_code == 201, made.text
    return deployed.client()


def refused(answer: httpx.Response, status: int, what: str) -> None:
    """Check a refusal: a problem document that repeats nothing."""
    assert answer.status_code == status, (what, answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json", what
    assert CANARY not in answer.text, what
    assert all(CANARY not in value for value in answer.headers.values()), what


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_is_no_json_of_ours(pages: httpx.AsyncClient, what: str) -> None:
    headers = {"Content-Type": "application/json"}
    for method, where in (("POST", PAGE_RECORDS), ("PUT", f"{PAGE_RECORDS}/by-external-id/x")):
        refused(await pages.request(method, where, content=MALFORMED[what], headers=headers), 422, what)
    listed = MALFORMED[what].replace(b'{"fields"', b'{"records": [{"fields"', 1) + b"]}"
    refused(await pages.post(f"{PAGE_RECORDS}/batch", content=listed, headers=headers), 422, what)


@pytest.mark.parametrize("what", WRONG)
async def test_what_does_not_fit_its_field(pages: httpx.AsyncClient, what: str) -> None:
    fields = WRONG[what]
    answer = await pages.post(PAGE_RECORDS, json={"fields": fields})
    refused(answer, 422, what)
    (place,) = answer.json()["errors"]
    assert place["path"].startswith("/fields/"), place
    made = await pages.post(PAGE_RECORDS, json={"fields": {"title": "before"}})
    where = f"{PAGE_RECORDS}/{made.json()['id']}"
    refused(await pages.patch(where, json={"fields": fields}, headers={"If-Match": '"1"'}), 422, what)
    assert (await pages.get(where)).json()["fields"] == {"title": "before"}


@pytest.mark.parametrize("what", TEXTS)
async def test_every_character_comes_back_as_it_went_in(pages: httpx.AsyncClient, what: str) -> None:
    """Neither normalised nor trimmed nor escaped otherwise: a json field byte for byte, spaces and escapes included."""
    text = TEXTS[what]
    source = json.dumps({"b": text, "a": [text, {text: 1.50}]}, ensure_ascii=len(text) % 2 == 0, indent=3)
    fields = json.dumps({"title": text, "body": text * 3, "count": 2**53 - 1, "amount": "-0.10"}, ensure_ascii=False)
    body = f'{{"fields": {fields[:-1]}, "source": {source}}}}}'.encode()
    made = await pages.post(PAGE_RECORDS, content=body, headers={"Content-Type": "application/json"})
    assert made.status_code == 201, made.text
    read = await pages.get(f"{PAGE_RECORDS}/{made.json()['id']}")
    assert source.encode() in read.content
    shown = read.json()["fields"]
    assert (shown["title"], shown["body"]) == (text, text * 3)
    assert shown["count"] == 2**53 - 1
    assert b'"amount":-0.10' in read.content, "a decimal keeps its digits"
    found = await pages.post(f"{PAGE_RECORDS}/search", json={"where": {"title": text}, "limit": 200})
    assert made.json()["id"] in {one["id"] for one in found.json()["records"]}, found.text


async def test_a_thousand_fields_and_no_more(deployed: Deployed, pages: httpx.AsyncClient) -> None:
    administrator = deployed.client("administrator")
    fields = [{"name": f"f{number}", "type": "string", "class": "phi"} for number in range(1000)]
    made = await administrator.post("/v1/collections", json={"name": "wide", "subject": "none", "fields": fields})
    assert made.status_code == 201, made.text
    values = {f"f{number}": f"value {number} é" for number in range(1000)}
    record = await pages.post("/v1/collections/wide/records", json={"fields": values})
    assert record.status_code == 201, record.text
    where = f"/v1/collections/wide/records/{record.json()['id']}"
    assert (await pages.get(where)).json()["fields"] == values
    change = await pages.patch(where, json={"fields": {"f999": None, "f0": "new"}}, headers={"If-Match": '"1"'})
    assert change.status_code == 200, change.text
    now = {name: value for name, value in values.items() if name != "f999"} | {"f0": "new"}
    assert (await pages.get(where)).json()["fields"] == now
    more = [*fields, {"name": "f1000", "type": "string", "class": "phi"}]
    wider = await administrator.post("/v1/collections", json={"name": "wider", "subject": "none", "fields": more})
    refused(wider, 422, "1,001 fields")


async def test_another_tenants_ids_are_nobodys(deployed: Deployed) -> None:
    """404, to the letter as for what nobody has, whatever is asked about."""
    theirs = deployed.client(tenant=deployed.b)
    mine, officer = deployed.client(), deployed.client("privacy_officer")
    record = (await theirs.post(RECORDS, json={"fields": {"code": CANARY}})).json()
    their_import = (await theirs.post("/v1/imports", json={"collection": "people", "format": "ndjson"})).json()
    my_subject = (await mine.post("/v1/subjects")).json()["id"]
    nobodys = "0198c0de-0000-7000-8000-000000000001"
    match = {"If-Match": '"1"'}

    async def ask(record_id: str, subject: str, import_id: str) -> list[httpx.Response]:
        where = f"{RECORDS}/{record_id}"
        return [
            await mine.get(where),
            await mine.get(where, params={"revision": "1"}),
            await mine.patch(where, json={"fields": {"visits": 1}}, headers=match),
            await mine.delete(where, headers=match),
            await mine.get(f"/v1/subjects/{subject}"),
            await officer.post(f"/v1/subjects/{subject}/merge", json={"into": my_subject}),
            await officer.post(f"/v1/subjects/{my_subject}/merge", json={"into": subject}),
            await mine.get(f"/v1/imports/{import_id}"),
            await mine.post(f"/v1/imports/{import_id}/start"),
            await mine.put(
                f"/v1/imports/{import_id}/parts/0", content=b"x", headers={"Content-Type": "application/octet-stream"}
            ),
            await mine.get(f"/v1/imports/{import_id}/errors"),
            await mine.get(f"/v1/exports/{import_id}/content"),
        ]

    foreign = await ask(record["id"], record["subject"], their_import["id"])
    unknown = await ask(nobodys, nobodys, nobodys)
    for one, other in zip(foreign, unknown, strict=True):
        refused(one, 404, str(one.request.url.path))
        assert one.json() | {"request_id": ""} == other.json() | {"request_id": ""}
    nothing = await mine.post(f"{RECORDS}/search", json={"where": {"code": CANARY}})
    assert nothing.json()["records"] == []
    assert (await theirs.get(f"{RECORDS}/{record['id']}")).json()["revision"] == 1


async def test_a_cursor_that_was_tampered_with(deployed: Deployed) -> None:
    mine, theirs = deployed.client(), deployed.client(tenant=deployed.b)
    for client in (mine, theirs):
        for _ in range(3):
            await client.post(RECORDS, json={"fields": {"code": "same"}})
    query: dict[str, Any] = {"where": {"code": "same"}, "limit": 1}
    cursor = (await mine.post(f"{RECORDS}/search", json=query)).json()["cursor"]
    foreign = (await theirs.post(f"{RECORDS}/search", json=query)).json()["cursor"]
    chance = random.Random(7)  # noqa: S311  # which character is bent
    bent = [cursor[:-1], cursor + "A", cursor + "=", cursor.swapcase(), foreign, "", "A" * 80, CANARY, cursor * 2, "é"]
    for _ in range(20):
        place = chance.randrange(len(cursor))
        other = chance.choice([letter for letter in "Ab9-_" if letter != cursor[place]])
        bent.append(cursor[:place] + other + cursor[place + 1 :])
    for one in bent:
        refused(await mine.post(f"{RECORDS}/search", json={**query, "cursor": one}), 422, one)
    elsewhere = {"where": {"code": "other"}, "limit": 1, "cursor": cursor}
    refused(await mine.post(f"{RECORDS}/search", json=elsewhere), 422, "another query")
    ledger = await deployed.client("privacy_officer").get("/v1/ledger/entries", params={"cursor": cursor})
    refused(ledger, 422, "another list")
    assert (await mine.post(f"{RECORDS}/search", json={**query, "cursor": cursor})).status_code == 200


class Wire:
    """A bare TLS connection, for what no client library would send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer; the status is 0 where the connection was closed."""
        try:
            head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return 0, {}, b""
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body


@asynccontextmanager
async def wire(deployed: Deployed) -> AsyncIterator[Wire]:
    """Connect to the public listener."""
    settings = deployed.home.settings()
    trust = ssl.create_default_context(cafile=str(deployed.home.resolve(settings.tls.certificate)))
    host, _, port = settings.listen.public.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=trust, server_hostname="localhost")
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def post(deployed: Deployed, *lines: str, path: str = PAGE_RECORDS) -> bytes:
    """Return the head of a POST by a known caller."""
    key = deployed.a.keys["integration"]
    known = (f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}")
    return "\r\n".join((*known, "Content-Type: application/json", *lines, "", "")).encode()


GOOD = b'{"fields": {"title": "after"}}'


async def test_a_body_of_ten_megabytes_and_the_connection_after_it(
    deployed: Deployed, pages: httpx.AsyncClient
) -> None:
    """413 wherever it is told; a kept connection then either answers the next request rightly or is closed."""
    big = b'{"fields": {"body": "' + b"x" * 10_485_760 + b'"}}'
    for where in (PAGE_RECORDS, f"{PAGE_RECORDS}/search", f"{PAGE_RECORDS}/batch", "/v1/imports"):
        answer = await pages.post(where, content=big, headers={"Content-Type": "application/json"})
        refused(answer, 413, where)
        assert (await pages.post(PAGE_RECORDS, json={"fields": {"title": "after"}})).status_code == 201
    async with wire(deployed) as bare:
        await bare.send(post(deployed, f"Content-Length: {len(big)}"), big)
        status, headers, _ = await bare.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert await bare.reader.read() == b""


async def test_a_chunked_body_without_a_length(deployed: Deployed) -> None:
    async with wire(deployed) as bare:
        pieces = [b"%x\r\n%s\r\n" % (1, GOOD[n : n + 1]) for n in range(len(GOOD))]
        await bare.send(post(deployed, "Transfer-Encoding: chunked"), *pieces, b"0\r\n\r\n")
        assert (await bare.answer())[0] == 201
        await bare.send(post(deployed, f"Content-Length: {len(GOOD)}"), GOOD)
        assert (await bare.answer())[0] == 201
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        await bare.send(post(deployed, "Transfer-Encoding: chunked"), *([chunk] * 160), b"0\r\n\r\n")
        status, headers, _ = await bare.answer()
        assert (status, headers["connection"]) == (413, "close")
    for broken in (b"zz\r\nx\r\n", b"-1\r\nx\r\n", b"ffffffffffffffffff\r\nx\r\n"):
        async with wire(deployed) as bare:
            await bare.send(post(deployed, "Transfer-Encoding: chunked"), broken)
            assert (await bare.answer())[0] in {0, 400}, broken


async def test_a_length_that_lies(deployed: Deployed) -> None:
    """Too short: the rest is no second request. Too long: nothing is stored of what never arrived."""
    stored = "SELECT count(*) AS count FROM vault.record WHERE tenant_id = $1"
    before = (await deployed.fetch(stored, deployed.a.id))[0]["count"]
    hidden = b"GET /v1/collections HTTP/1.1\r\nHost: x\r\n\r\n"
    async with wire(deployed) as bare:
        await bare.send(post(deployed, "Content-Length: 5"), GOOD)
        assert (await bare.answer())[0] in {400, 422}
        assert (await bare.answer())[0] in {0, 400}
    for lines in (("Content-Length: 30", "Transfer-Encoding: chunked"), ("Content-Length: 30", "Content-Length: 5")):
        async with wire(deployed) as bare:
            await bare.send(post(deployed, *lines), GOOD, hidden)
            assert (await bare.answer())[0] == 400, lines
            assert (await bare.answer())[0] == 0, lines
    for promised in ("-1", "+30", "30 ", "0x1e", "1e1", "99999999999999999999"):
        async with wire(deployed) as bare:
            await bare.send(post(deployed, f"Content-Length: {promised}"), GOOD)
            status, _, body = await bare.answer()
            assert status in {0, 400, 413} or (status == 201 and promised.strip() == "30"), promised
            assert CANARY.encode() not in body
    async with wire(deployed) as bare:
        await bare.send(post(deployed, "Content-Length: 4000"), GOOD)
    async with wire(deployed) as bare:
        await bare.send(post(deployed, f"Content-Length: {len(GOOD)}"), GOOD)
        assert (await bare.answer())[0] == 201
    after = (await deployed.fetch(stored, deployed.a.id))[0]["count"]
    assert after - before in {1, 2}


async def test_headers_that_carry_something_else(deployed: Deployed, pages: httpx.AsyncClient) -> None:
    for name, value in (
        ("Idempotency-Key", f"{CANARY} with a space"),
        ("Idempotency-Key", "k" * 300),
        ("X-Purpose-Of-Use", CANARY),
        ("If-Match", f'W/"{CANARY}"'),
        ("Content-Type", f"text/{CANARY}"),
        ("Content-Encoding", "gzip"),
    ):
        answer = await pages.patch(
            f"{PAGE_RECORDS}/0198c0de-0000-7000-8000-000000000001",
            json={"fields": {}},
            headers={"If-Match": '"1"', name: value},
        )
        refused(answer, answer.status_code, name)
        assert answer.status_code in {400, 415, 422}, (name, answer.text)


async def test_nothing_of_it_was_written_down(deployed: Deployed, written: list[Path]) -> None:
    """Neither our log nor PostgreSQL's holds a word of all that was refused above."""
    files = [path for folder in written for path in folder.rglob("*") if path.is_file()]
    assert any(path.stat().st_size for path in files)
    for path in files:
        assert CANARY not in path.read_text(errors="replace"), path.name
        assert "Traceback" not in path.read_text(errors="replace"), path.name
    found = "SELECT key FROM findings.finding WHERE key <> 'operator.unrecorded:wk_admin'"
    assert not await deployed.fetch(found), "and that we look past wellkeep here is rightly found"
