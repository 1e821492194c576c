"""Promise: staff in an account and whoever broke a glass are seen at once, ended by a button, and asked why."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from deployments import Deployment
from pages.conftest import TENANT
from pages.looking import Member, Window, invalid, window
from pages.test_records import CHARTS, FAMILY

PLATFORM = "platform"
STEP_IN = """
async ([tenant, person]) => {
  const asked = { tenant, person, reason: "Ticket 4711, her import fails" };
  const told = await globalThis.wellkeep.send("POST", "/v1/impersonations", asked);
  return [told.ok, told.told.detail ?? ""];
}
"""


@pytest.fixture(scope="module")
def patient(served: Deployment) -> str:
    """Make a patient with a record; every role of treatment is bound to the care team."""
    with served.client(served.key(TENANT, "administrator")) as client:
        assert client.post("/v1/collections", json=CHARTS).status_code == 201
    with served.client(served.key(TENANT, "integration")) as client:
        subject: str = client.post("/v1/subjects").json()["id"]
        asked = {"subject": subject, "fields": {"family": FAMILY}}
        assert client.post("/v1/collections/charts/records", json=asked).status_code == 201
    return subject


def test_staff_who_step_in_are_seen_with_a_clock_and_ended_by_a_button(
    seen: Window, served: Deployment, chromium: Browser, patient: str
) -> None:
    page = seen.page
    seen.enter(Member.invited(served, "administrator", "privacy_officer", tenant=TENANT, name="Ada Doe"))
    seen.open("/console/access")
    seen.look("nobody is inside")
    kim = Member.invited(served, "clinician", tenant=TENANT, name="Kim Roe")
    with window(chromium, served) as other:
        other.enter(kim)
    users = served.wk("user", "list", "--tenant", TENANT, "--json").json()
    tenants = served.wk("tenant", "list", "--json").json()
    whose = next(one["id"] for one in tenants if one["name"] == TENANT)
    person = next(one["id"] for one in users if one["name"] == "Kim Roe")
    with window(chromium, served, administration=True) as staff:
        staff.enter(Member.invited(served, "support", tenant=PLATFORM, name="Sam Staff"))
        assert staff.page.evaluate(STEP_IN, [whose, person]) == [True, ""]
    seen.open("/console/access")
    clock = page.locator("section[aria-labelledby=live] time")
    minutes = int(clock.inner_text().partition(":")[0])
    assert 13 <= minutes <= 15
    assert "Ticket 4711, her import fails" in page.inner_text("section[aria-labelledby=live]")
    seen.look("somebody is inside")
    page.clock.install()
    seen.open("/console/access")
    page.clock.run_for(minutes * 60_000 - 61_000)
    assert re.fullmatch("[12]:[0-5][0-9]", clock.inner_text())
    page.clock.run_for(180_000)
    assert clock.inner_text() == "over"
    seen.open("/console/access")
    seen.press("form[data-act$='/end'] button")
    assert page.locator("section[aria-labelledby=live] tbody tr time").count() == 0
    page.click("summary:has-text('Earlier')")
    assert "Sam Staff" in page.inner_text("section[aria-labelledby=live] details")
    seen.look("earlier ones")
    assert invalid(seen.documents) == ""


def test_a_permit_is_given_and_taken_back(seen: Window, served: Deployment) -> None:
    page = seen.page
    seen.enter(Member.invited(served, "administrator", tenant=TENANT))
    seen.open("/console/access")
    page.click("summary:has-text('Permit it')")
    tomorrow = page.evaluate("new Date(Date.now() + 86400000).toISOString().slice(0, 16)")
    page.fill("[name=until]", tomorrow)
    seen.press("form[data-act='POST /v1/impersonation-permits'] button")
    assert "stands" in page.inner_text("section[aria-labelledby=permits]")
    seen.look("a permit")
    seen.press("form[data-act^='DELETE /v1/impersonation-permits'] button")
    assert "taken back" in page.inner_text("section[aria-labelledby=permits]")


def test_a_glass_is_broken_looked_through_and_reviewed_by_somebody_else(
    seen: Window, served: Deployment, chromium: Browser, patient: str
) -> None:
    page = seen.page
    seen.enter(Member.invited(served, "clinician", tenant=TENANT, name="Noor Haddad"))
    seen.open("/console/break-glass")
    seen.look("to break")
    page.fill("[name=subject]", patient)
    page.fill("[name=reason]", "Unconscious in the emergency room")
    page.click("form[data-act='POST /v1/break-glass'] button")
    page.wait_for_selector("#broken:not([hidden])")
    seen.look("broken")
    seen.press("#broken a.button")
    assert seen.path == f"/console/subjects/{patient}?purpose=BTG"
    seen.press("section[aria-labelledby=records] tbody th a")
    page.click("[data-reveal=family]")
    page.wait_for_selector(f"#v-family:text-is('{FAMILY}')")
    with window(chromium, served) as officer:
        officer.enter(Member.invited(served, "privacy_officer", tenant=TENANT))
        officer.open("/console")
        officer.press("section[aria-labelledby=glasses] tbody th a")
        told = officer.page.inner_text("main")
        assert "Noor Haddad" in told
        assert "Unconscious in the emergency room" in told
        officer.look("to review")
        officer.press("main a:text-is('Every access under it')")
        assert officer.page.locator("tbody tr").count() >= 2
        officer.page.go_back()
        officer.page.fill("[name=note]", "She was the only physician there")
        officer.press("form[data-act$='/review'] button")
        assert "She was the only physician there" in officer.page.inner_text("main")
        officer.look("reviewed")
        officer.open("/console/break-glass")
        assert "Noor Haddad" in officer.page.inner_text("section[aria-labelledby=reviewed]")
        officer.look("the queue")
        assert invalid(officer.documents) == ""
    assert invalid(seen.documents) == ""
