"""Promise: from wherever one is, a few letters lead anywhere one may go, and what was typed stays in no address."""

from __future__ import annotations

from playwright.sync_api import Request

from deployments import Deployment
from pages.conftest import TENANT
from pages.looking import Member, Window


def test_letters_lead_to_pages_people_and_claims(seen: Window, served: Deployment, robin: Member) -> None:
    page = seen.page
    sent: list[Request] = []
    Member.invited(served, "coach", tenant=TENANT, name="Zelda Quist")
    seen.enter(robin)
    page.on("request", lambda one: sent.append(one))  # noqa: PLW0108 -- a built-in method takes no mark of theirs
    seen.open("/console")
    page.keyboard.press("/")
    page.keyboard.type("quist")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.inner_text("h1") == "Zelda Quist"
    page.fill("#go", "patient")
    page.press("#go", "Enter")
    page.wait_for_selector("#hits a")
    seen.look("hits")
    assert all(href.startswith("/trust/claims/") for href in hrefs(seen))
    page.keyboard.press("Escape")
    assert page.is_hidden("#hits")
    page.fill("#go", "Mustermann, Erika")
    page.press("#go", "Enter")
    page.wait_for_selector("#hits .alert:not([hidden])")
    seen.look("nothing")
    assert hrefs(seen) == []
    assert all("mustermann" not in one.url.lower() and "quist" not in one.url.lower() for one in sent)


def test_an_id_leads_to_whatever_may_say_what_it_is(seen: Window, robin: Member) -> None:
    seen.enter(robin)
    seen.open("/console/ledger")
    entry = str(seen.page.get_attribute("main tbody th a", "href")).rpartition("/")[2]
    seen.page.fill("#go", entry)
    seen.page.press("#go", "Enter")
    seen.page.wait_for_selector("#hits a")
    seen.press("#hits a")
    assert seen.path == f"/console/ledger/{entry}"


def hrefs(seen: Window) -> list[str]:
    return [str(one.get_attribute("href")) for one in seen.page.locator("#hits a").all()]
