"""Promise: a value is shown to who may see it, on purpose, by name in the ledger; a page by itself holds none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from deployments import Deployment
from pages.conftest import TENANT
from pages.looking import Member, Window, invalid, window

HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
CHARTS = {
    "name": "charts",
    "subject": "required",
    "fields": [
        {"name": "family", "type": "string", "class": "pii", "index": "exact"},
        {"name": "note", "type": "text", "class": "phi"},
        {"name": "balance", "type": "string", "class": "phi", "group": "financial"},
    ],
}
FAMILY, BALANCE = "Okonkwo-Fielding", "1,204.50 owed"


@dataclass(frozen=True)
class Held:
    """A record that is there, and whose."""

    record: str
    subject: str
    officer: str


@pytest.fixture(scope="module")
def held(served: Deployment) -> Held:
    """Make a collection, a patient and a record of two revisions."""
    administrator, program = served.key(TENANT, "administrator"), served.key(TENANT, "integration")
    with served.client(administrator) as client:
        assert client.post("/v1/collections", json=CHARTS).status_code == 201
    with served.client(program) as client:
        subject = client.post("/v1/subjects").json()["id"]
        fields = {"family": FAMILY, "note": "x", "balance": BALANCE}
        made = client.post("/v1/collections/charts/records", json={"subject": subject, "fields": fields}).json()
        where = f"/v1/collections/charts/records/{made['id']}"
        changed = client.patch(where, json={"fields": {"note": HOSTILE}}, headers={"If-Match": '"1"'})
        assert changed.status_code == 200, changed.text
    return Held(made["id"], subject, served.key(TENANT, "privacy_officer"))


@pytest.fixture(scope="module")
def inside(chromium: Browser, served: Deployment) -> Any:
    """Sign in somebody who sees everything and may erase."""
    with window(chromium, served) as opened:
        opened.enter(Member.invited(served, "privacy_officer", tenant=TENANT))
        yield opened


def entries(served: Deployment, held: Held, query: str) -> list[dict[str, Any]]:
    with served.client(held.officer) as client:
        found: httpx.Response = client.get(f"/v1/ledger/entries?{query}")
    return [one["event"] for one in found.json()["entries"]]


def test_every_page_is_masked_and_read_by_everybody(inside: Window, held: Held) -> None:
    inside.documents.clear()
    paths = (
        "/console/records",
        "/console/records/charts",
        f"/console/records/charts?subject={held.subject}&purpose=PATRQT",
        f"/console/records/charts/{held.record}",
        f"/console/records/charts/{held.record}?revision=1",
        f"/console/subjects/{held.subject}",
    )
    for path in paths:
        inside.open(path)
        inside.look(path)
        told = inside.page.content()
        assert not any(value in told for value in (FAMILY, BALANCE, "onerror")), path
    assert invalid(inside.documents) == ""


def test_a_field_is_shown_for_a_purpose_and_the_entry_says_which(
    inside: Window, held: Held, served: Deployment
) -> None:
    page = inside.page
    inside.open("/console/records")
    inside.press("h2 a:text-is('charts')")
    inside.press(f"tbody a:has-text('{held.record}')")
    page.select_option("#purpose", "PATRQT")
    page.click("[data-reveal=family]")
    page.wait_for_selector(f"#v-family:text-is('{FAMILY}')")
    inside.look("a value")
    assert page.inner_text("#v-balance") == "masked"
    assert FAMILY not in page.url
    newest = entries(served, held, f"action=record.read&subject={held.subject}&limit=1")[0]
    assert (newest["fields"], newest["purpose"]) == (["family"], "PATRQT")
    page.click("[data-reveal=family]")
    assert page.inner_text("#v-family") == "masked"
    page.click("[data-reveal=note]")
    page.wait_for_selector("#v-note:has-text('onerror')")
    assert page.title() != "run", "what somebody stored does not run"
    inside.press("section[aria-labelledby=history] a.tag")
    page.click("[data-reveal=note]")
    page.wait_for_selector("#v-note:text-is('x')")


def test_a_value_is_masked_again_by_itself(inside: Window, held: Held) -> None:
    page = inside.page
    page.clock.install()
    inside.open(f"/console/records/charts/{held.record}")
    page.click("[data-reveal=family]")
    page.wait_for_selector(f"#v-family:text-is('{FAMILY}')")
    page.clock.run_for(61_000)
    assert page.inner_text("#v-family") == "masked"


def test_a_role_is_shown_what_it_sees_and_no_more(chromium: Browser, served: Deployment, held: Held) -> None:
    with window(chromium, served) as seen:
        seen.enter(Member.invited(served, "coach", tenant=TENANT))
        seen.open(f"/console/records/charts/{held.record}")
        seen.page.click("[data-reveal=balance]")
        seen.page.wait_for_selector("#v-balance:text-is('not for your role')")
        seen.open(f"/console/subjects/{held.subject}")
        assert seen.page.locator("section[aria-labelledby=erase]").count() == 0
        assert invalid(seen.documents) == ""


def comes_to(inside: Window, path: str, heading: str) -> None:
    """Open a page until it is that one: a tenant's rule holds within five seconds everywhere."""
    for _ in range(100):
        inside.open(path)
        if inside.page.inner_text("h1") == heading:
            return
        inside.page.wait_for_timeout(200)
    raise AssertionError(heading)


def test_a_tenant_that_wants_a_purpose_is_asked_for_one(inside: Window, served: Deployment, held: Held) -> None:
    path = f"/console/records/charts/{held.record}"
    assert served.wk("tenant", "set", TENANT, "--purpose-required").code == 0
    try:
        comes_to(inside, path, "For what?")
        inside.look("for what")
        inside.page.select_option("#purpose", "PATRQT")
        inside.press("main button")
        assert inside.path == f"{path}?purpose=PATRQT"
        assert inside.page.inner_text("h1") == held.record
    finally:
        assert served.wk("tenant", "set", TENANT, "--no-purpose-required").code == 0
        comes_to(inside, path, held.record)


def test_what_is_not_there_and_what_is_no_id_is_not_found(inside: Window, held: Held) -> None:
    nobody = "0198c0de-0000-7000-8000-00000000dead"
    for path in (f"records/charts/{nobody}", "records/none", f"subjects/{nobody}", "records/charts/x", "subjects/x"):
        inside.open(f"/console/{path}")
        assert inside.page.title() == "There is nothing at this address · wellkeep", path


def test_a_patient_is_erased_and_the_certificate_stays(inside: Window, held: Held, served: Deployment) -> None:
    page = inside.page
    with served.client(served.key(TENANT, "integration")) as client:
        fields = {"subject": client.post("/v1/subjects").json()["id"], "fields": {"family": "Gone"}}
        made = client.post("/v1/collections/charts/records", json=fields).json()
    inside.open(f"/console/subjects/{made['subject']}")
    page.fill("[name=typed]", "another")
    page.click("section[aria-labelledby=erase] button")
    page.wait_for_selector("section[aria-labelledby=erase] .alert:not([hidden])")
    inside.look("not the id")
    page.fill("[name=typed]", made["subject"])
    inside.press("section[aria-labelledby=erase] button")
    assert page.inner_text("h1") == "Erased"
    inside.look("erased")
    inside.press("a.button")
    assert made["subject"] in page.inner_text("body")
    inside.open(f"/console/records/charts/{made['id']}")
    assert "Gone" not in page.content()
    assert invalid(inside.documents) == ""
