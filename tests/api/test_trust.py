"""Promise: the trust page shows what was tried and entered, and no hand at the database makes it greener."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from api.stack import Stack, entries
from wellkeep.api.headers import SECURITY
from wellkeep.assembly.publishing import LOGO_BYTES
from wellkeep.base.errors import Forbidden
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.trust_settings import TrustSettings
from wellkeep.db.provision import connected
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Caller
from wellkeep.prove.claims import load_claims
from wellkeep.prove.documents import read, written
from wellkeep.prove.evidence import Evidence, Step, Where
from wellkeep.prove.registry import PROBES
from wellkeep.web.rendering import static

CLAIM = "rest.fields"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def seen(opened: Stack, *held: bool | None, claim: str = CLAIM, ago: timedelta = timedelta()) -> str:
    """Return the document of a trial whose steps ended like this."""
    steps = tuple(Step(f"tried {place}", "seen", held=one) for place, one in enumerate(held or (True,)))
    return written(Evidence(claim, Where.LIVE, opened.publishing.clock.now() - ago, 0.5, steps, None))


async def keep(opened: Stack, document: str, claim: str = CLAIM) -> UUID:
    state = read(document).state.name.lower()
    return await opened.publishing.trials.keep(opened.operator, claim, document, state=state, steps=1)


def publish(opened: Stack, **settings: Any) -> None:
    """Publish under other settings, and forget what was read."""
    opened.publishing.settings = msgspec.convert(settings, TrustSettings)
    opened.publishing._shown = None


async def show(opened: Stack, claim: str = CLAIM) -> dict[str, Any]:
    """Return a claim as the JSON twin shows it now."""
    opened.publishing._shown = None
    async with opened.client() as anybody:
        answer = await anybody.get("/trust.json")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = {one["id"]: one for one in answer.json()["claims"]}[claim]
    return shown


async def test_what_was_tried_is_shown_with_its_entry(opened: Stack) -> None:
    assert (await show(opened))["state"] == "unknown"
    document = seen(opened, True, True)
    event = await keep(opened, document)
    shown = await show(opened)
    assert (shown["state"], shown["doubt"], shown["event"]) == ("proven", None, str(event))
    assert [step["held"] for step in shown["steps"]] == [True, True]
    assert shown["days"][-1] == "proven"
    assert set(shown["days"][:-1]) == {None}
    (entry,) = [one for one in await entries(opened, PLATFORM_TENANT) if one["action"] == "prove.run"]
    assert entry["digest"] == hashlib.sha256(document.encode()).hexdigest()
    assert entry["resource"] == {"type": "claim", "id": CLAIM}
    assert shown["entry"][1] == len(await entries(opened, PLATFORM_TENANT)) - 1


async def test_the_newest_trial_counts_and_the_day_remembers_the_worst(opened: Stack) -> None:
    for held, state in ((True, "proven"), (False, "failed"), (True, "proven")):
        await keep(opened, seen(opened, held))
        assert (await show(opened))["state"] == state
    assert (await show(opened))["days"][-1] == "failed"


async def test_late_evidence_is_unknown_and_a_failure_stays_one(opened: Stack) -> None:
    await keep(opened, seen(opened, True, ago=timedelta(hours=25)))
    late = await show(opened)
    assert (late["state"], late["doubt"]) == ("unknown", "Its newest evidence is older than a day.")
    await keep(opened, seen(opened, False, ago=timedelta(hours=25)))
    assert (await show(opened))["state"] == "failed"


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE wk.evidence SET document = replace(document, '\"held\":false', '\"held\":true')",
        "UPDATE wk.evidence SET document = replace(document, '\"failed\"', '\"proven\"')",
        "DELETE FROM wk.evidence",
        "UPDATE wk.evidence SET id = gen_random_uuid()",
        "UPDATE wk.evidence SET claim = 'rest.bound'",
    ],
    ids=["a step turned", "the state turned", "the row dropped", "another event's", "another claim's"],
)
async def test_a_hand_at_the_database_makes_nothing_greener(opened: Stack, attack: str) -> None:
    await keep(opened, seen(opened, True))
    await keep(opened, seen(opened, True, claim="rest.bound"), "rest.bound")
    await keep(opened, seen(opened, False))
    assert (await show(opened))["state"] == "failed"
    async with connected(opened.database.superuser) as connection:
        await connection.execute(f"{attack} WHERE document LIKE '%\"held\":false%'")
    shown = await show(opened)
    assert shown["state"] == "failed", "the entry says so"
    assert shown["doubt"] == "What was kept of its newest trial is not what the ledger holds of it."
    assert shown["days"][-1] == "failed"
    assert shown["steps"] == []
    assert (await show(opened, "rest.bound"))["state"] == "proven", "and what was left alone is believed"


async def test_nothing_is_proven_while_the_ledgers_guards_are_altered(opened: Stack) -> None:
    await keep(opened, seen(opened, True))
    await keep(opened, seen(opened, False, claim="rest.bound"), "rest.bound")
    key = finding_key(Kind.SCHEMA_CHANGED)
    await opened.findings.report(
        PLATFORM_TENANT, kind=Kind.SCHEMA_CHANGED, severity=Severity.CRITICAL, key=key, detail={"count": 1}
    )
    shown = await show(opened)
    assert (shown["state"], shown["doubt"][:22]) == ("unknown", "What guards the ledger")
    assert (await show(opened, "rest.bound"))["state"] == "failed"
    await opened.findings.settle(PLATFORM_TENANT, keys=[key])
    assert (await show(opened))["state"] == "proven"


async def test_the_program_itself_can_take_nothing_back(opened: Stack) -> None:
    await keep(opened, seen(opened, False))
    for attempt in ("UPDATE wk.evidence SET document = '{}'", "DELETE FROM wk.evidence", "TRUNCATE wk.evidence"):
        async with opened.database.entered(PLATFORM_TENANT) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(attempt)


async def test_evidence_of_no_entry_is_shown_nowhere(opened: Stack) -> None:
    async with opened.database.entered(PLATFORM_TENANT) as connection:
        await connection.execute(
            "INSERT INTO wk.evidence VALUES ($1, $2, $3, $4)", PLATFORM_TENANT, uuid7(), CLAIM, seen(opened, True)
        )
    shown = await show(opened)
    assert (shown["state"], shown["doubt"]) == ("unknown", "It was not tried here yet.")


async def test_nobody_of_a_customer_keeps_evidence(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    stranger = Principal(
        type=ActorType.API_KEY, id=str(uuid7()), tenant=tenant, roles=("integration",), method=AuthMethod.API_KEY
    )
    with pytest.raises(Forbidden):
        await opened.publishing.trials.keep(
            Caller(stranger, None, uuid7()), CLAIM, seen(opened), state="proven", steps=1
        )
    assert (await show(opened))["state"] == "unknown"


async def test_page_and_twin_say_the_same_and_run_nothing(opened: Stack) -> None:
    await keep(opened, seen(opened, True))
    await keep(opened, seen(opened, False, claim="rest.bound"), "rest.bound")
    publish(opened)
    async with opened.client() as anybody:
        page, twin = await anybody.get("/trust"), (await anybody.get("/trust.json")).json()
        one = await anybody.get(f"/trust/claims/{CLAIM}")
        style = await anybody.get("/trust/style.css")
    for answer in (page, one):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self';")
        assert "unsafe" not in policy
        assert "<script" not in answer.text
    assert style.headers["content-type"].startswith("text/css")
    assert twin["counts"]["proven"] == twin["counts"]["failed"] == 1
    assert twin["counts"]["unknown"] == len(load_claims()) - 2
    assert [one["id"] for one in twin["claims"]] == re.findall(r'href="/trust/claims/([a-z_.]+)"', page.text)
    assert "1 of 65 claims does not hold" in page.text
    silent = {one["id"] for one in twin["claims"] if one["doubt"] == "No probe tries this sentence yet."}
    assert silent == load_claims().keys() - PROBES.keys()


async def test_the_checkpoint_is_signed_and_grows(opened: Stack) -> None:
    async def covers(size: int) -> dict[str, str]:
        """Return the checkpoint that is shown once it covers so many entries."""
        async with opened.client() as anybody, asyncio.timeout(60):
            while True:
                opened.publishing._shown = None
                told: dict[str, str] | None = (await anybody.get("/trust.json")).json()["checkpoint"]
                if told is not None and int(told["note"].splitlines()[1]) >= size:
                    return told
                await asyncio.sleep(0.05)

    await keep(opened, seen(opened))
    first = await covers(len(await entries(opened, PLATFORM_TENANT)))
    await keep(opened, seen(opened))
    second = await covers(len(await entries(opened, PLATFORM_TENANT)))
    assert first["note"] != second["note"]
    assert first["vkey"] == second["vkey"]


async def test_what_is_not_published_is_not_there(opened: Stack) -> None:
    await keep(opened, seen(opened))
    publish(opened, claims=["ledger", "access.mfa"], name="Example <b>Health</b>")
    async with opened.client() as anybody:
        twin = (await anybody.get("/trust.json")).json()
        hidden = await anybody.get(f"/trust/claims/{CLAIM}")
        page = await anybody.get("/trust")
    told = [one["id"] for one in twin["claims"]]
    assert told == [one for one in load_claims() if one.startswith("ledger.") or one == "access.mfa"]
    assert twin["hidden"] == len(load_claims()) - len(told)
    assert hidden.status_code == 404
    assert CLAIM not in page.text
    assert "Example &lt;b&gt;Health&lt;/b&gt;" in page.text


@pytest.mark.parametrize("claim", ["rest.nothing", "rest", "rest.fields%00", "%3Cscript%3E", "a" * 200])
async def test_a_claim_that_is_none_is_not_found(opened: Stack, claim: str) -> None:
    async with opened.client() as anybody:
        answer = await anybody.get(f"/trust/claims/{claim}")
    assert answer.status_code in (400, 404)
    assert "script" not in answer.text


async def test_strangers_do_not_load_the_database(opened: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    since: Callable[[datetime], Any] = opened.publishing.trials.since

    async def counted(begin: datetime) -> Any:
        nonlocal asked
        asked += 1
        return await since(begin)

    monkeypatch.setattr(opened.publishing.trials, "since", counted)
    publish(opened)
    async with opened.client() as anybody:
        for path in ("/trust", "/trust.json", f"/trust/claims/{CLAIM}", "/trust"):
            assert (await anybody.get(path)).status_code == 200
    assert asked == 1


async def test_security_txt_names_whom_to_tell(opened: Stack) -> None:
    async with opened.client() as anybody:
        assert (await anybody.get("/.well-known/security.txt")).status_code == 404
        publish(
            opened,
            contacts=["mailto:security@health.example", "https://health.example/report"],
            policy="https://health.example/policy",
            encryption="https://health.example/key.asc",
            languages=["en", "de"],
        )
        answer = await anybody.get("/.well-known/security.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    fields = [line.split(": ", 1) for line in answer.text.splitlines()]
    assert [value for name, value in fields if name == "Contact"] == [
        "mailto:security@health.example",
        "https://health.example/report",
    ]
    told = dict(fields)
    assert told["Policy"] == "https://health.example/policy"
    assert told["Encryption"] == "https://health.example/key.asc"
    assert told["Preferred-Languages"] == "en, de"
    assert [name for name, _ in fields].count("Expires") == 1
    until = datetime.fromisoformat(told["Expires"]) - opened.publishing.clock.now()
    assert timedelta(days=80) < until < timedelta(days=365), "RFC 9116, 2.5.5: less than a year"


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (SVG, "image/svg+xml"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "image/png"),
        (b"<html><script>alert(1)</script>", None),
        (SVG + bytes(LOGO_BYTES), None),
        (b"", None),
        (b"a pipe", None),
        (None, None),
    ],
    ids=["svg", "png", "a page", "too large", "empty", "a pipe that nobody writes into", "gone"],
)
async def test_a_logo_is_a_picture_and_runs_nothing(
    opened: Stack, tmp_path: Path, body: bytes | None, media: str | None
) -> None:
    opened.publishing._logo = tmp_path / "logo"
    if body == b"a pipe":
        os.mkfifo(tmp_path / "logo")
    elif body is not None:
        (tmp_path / "logo").write_bytes(body)
    async with opened.client() as anybody:
        answer = await anybody.get("/trust/logo")
    shown = (static("logo.svg"), "image/svg+xml") if media is None else (body, media)
    assert (answer.content, answer.headers["content-type"]) == shown
    assert answer.headers.get_list("content-security-policy") == [dict(SECURITY)[b"content-security-policy"].decode()]


async def test_administration_has_no_trust_page(opened: Stack) -> None:
    async with opened.client(listener="admin") as anybody:
        answers: list[httpx.Response] = [await anybody.get(path) for path in ("/trust", "/trust.json", "/trust/logo")]
    assert {answer.status_code for answer in answers} == {404}
