"""Promise: everybody can read every page: in both colours, on a phone, by a screen reader, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from deployments import Deployment
from pages.conftest import TENANT
from pages.looking import WIDE, Member, Window, invalid, window

HOSTILE = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
OUTSIDE = (
    *("/trust", "/trust/claims/rest.fields", "/trust/claims/none", "/sign-in", "/invitation", "/console"),
    "/sign-in/provider?tenant=st-elsewhere&provider=keycloak",
)
INSIDE = (
    *("/console", "/console/ledger", "/console/people", "/console/account", "/console/design"),
    "/console/ledger?action=nonsense",
    *(
        "/console/ledger?since=2026-01-01T00:00&outcome=authorised",
        "/console/ledger/00000000-0000-7000-8000-000000000000",
    ),
)


@pytest.fixture(scope="module")
def inside(chromium: Browser, served: Deployment) -> Iterator[Window]:
    """Sign in once for all pages: somebody whose name is a script, with every role that reads."""
    member = Member.invited(served, "privacy_officer", "administrator", "auditor", tenant=TENANT, name=HOSTILE)
    with window(chromium, served) as opened:
        opened.enter(member)
        yield opened


def looked_at(seen: Window, path: str) -> None:
    seen.complaints.clear()
    seen.documents.clear()
    seen.open(path)
    seen.look(path)
    assert seen.page.title() != "run"
    # The answer to a reload that came before may be told of late.
    documents = {name: text for name, text in seen.documents.items() if name.endswith(" " + seen.base + path)}
    assert len(documents) == 1
    assert invalid(documents) == ""
    assert seen.complaints == []


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_page_for_everybody(seen: Window, path: str) -> None:
    looked_at(seen, path)


@pytest.mark.parametrize("path", INSIDE)
def test_a_page_for_who_is_signed_in(inside: Window, path: str) -> None:
    looked_at(inside, path)


def test_an_entry_with_its_proof(inside: Window) -> None:
    inside.open("/console/ledger")
    looked_at(inside, str(inside.page.get_attribute("main tbody th a", "href")))


def test_what_is_read_is_read_without_scripts(inside: Window, chromium: Browser) -> None:
    cookies = inside.page.context.cookies()
    context = chromium.new_context(ignore_https_errors=True, viewport=WIDE, java_script_enabled=False)
    context.add_cookies(cookies)  # type: ignore[arg-type]  # what one method gives the other takes
    page = context.new_page()
    for path in ("/console", "/console/ledger", "/console/account", "/trust"):
        page.goto(inside.base + path)
        assert page.locator("h1").inner_text()
        assert len(page.inner_text("main").split()) > 12, path
    context.close()
