"""Promise: the platform's people run a deployment by the pages of the administration listener, and see no patient."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from deployments import Deployment
from pages.conftest import TENANT
from pages.looking import Member, Window, invalid, window

PLATFORM = "platform"
PAGES = ("/sign-in", "/console", "/console/tenants", "/console/apikeys", "/console/keys", "/console/settings")


@pytest.fixture(scope="module")
def inside(chromium: Browser, served: Deployment) -> Iterator[Window]:
    """Sign an administrator of the platform in, once for all."""
    with window(chromium, served, administration=True) as seen:
        ola = Member.invited(served, "administrator", tenant=PLATFORM, name="Ola Roe")
        with window(chromium, served) as other:
            other.join(ola)
        seen.sign_in(ola)
        seen.add_app(ola)
        yield seen


@pytest.mark.parametrize("path", [*PAGES, "/console/settings/doctor", "/console/account"])
def test_each_page_is_read_by_everybody(inside: Window, path: str) -> None:
    inside.complaints.clear()
    inside.documents.clear()
    inside.open(path)
    inside.look(path)
    assert inside.page.locator("h1").inner_text()
    assert invalid(inside.documents) == ""
    assert inside.complaints == []


def test_a_tenant_is_made_and_closed(inside: Window) -> None:
    inside.open("/console/tenants")
    inside.page.fill("[name=name]", "northside")
    inside.press("form[data-act='POST /v1/tenants'] button")
    inside.press("tbody th a:text-is('northside')")
    inside.look("a tenant")
    inside.press("form[data-act$='/close'] button")
    assert "closed" in inside.page.inner_text("main")
    assert inside.page.locator("form[data-act$='/close']").count() == 0
    assert invalid(inside.documents) == ""


def test_a_customers_administrator_makes_a_key_that_the_platform_can_revoke_and_not_make(
    inside: Window, chromium: Browser, served: Deployment
) -> None:
    public = served.home.settings().listen.public
    with window(chromium, served, administration=True) as theirs, httpx.Client(verify=False) as client:  # noqa: S501
        theirs.enter(Member.invited(served, "administrator", tenant=TENANT))
        page = theirs.page
        theirs.open("/console/apikeys")
        page.fill("[name=name]", "front-desk")
        page.check("[name=roles][value=auditor]")
        page.fill("[name=networks]", "127.0.0.0/8\n::1/128")
        page.click("form[data-act$='/apikeys'] button")
        page.wait_for_selector("#issued:not([hidden])")
        theirs.look("a key")
        key = page.inner_text("#issued [data-slot=key]")
        asked, bearer = f"https://{public}/v1/ledger/checkpoint", {"Authorization": f"Bearer {key}"}
        assert client.get(asked, headers=bearer).status_code == 200
        theirs.press("#issued a")
        assert key not in page.content(), "it is shown once"
        inside.open("/console/tenants")
        inside.press(f"tbody th a:text-is('{TENANT}')")
        assert inside.page.locator("form[data-act$='/apikeys']").count() == 0
        inside.press("tr:has-text('front-desk') form[data-act^='DELETE'] button")
        assert "revoked" in inside.page.inner_text("tr:has-text('front-desk')")
        assert client.get(asked, headers=bearer).status_code == 401
        assert invalid(theirs.documents) == ""


def test_a_rotation_is_begun_and_seen_to_its_end(inside: Window) -> None:
    page = inside.page
    inside.open("/console/keys")
    page.select_option("[name=tier]", "epoch")
    inside.press("form[data-act='POST /v1/keys/rotations'] button")
    inside.look("under way")
    page.wait_for_selector("section[aria-labelledby=ended] tbody tr")
    inside.look("ended")
    assert page.locator("section[aria-labelledby=running]").count() == 0
    assert "done" in page.inner_text("section[aria-labelledby=ended] tbody tr")
    assert page.locator("section[aria-labelledby=epochs] tbody tr").count() == 2


def test_a_customers_administrator_has_their_own_keys_there_and_nothing_of_the_platforms(
    chromium: Browser, served: Deployment
) -> None:
    with window(chromium, served, administration=True) as seen:
        seen.enter(Member.invited(served, "administrator", tenant=TENANT))
        seen.open("/console/apikeys")
        assert seen.page.inner_text("h1") == "API keys"
        offered = seen.page.locator("nav[aria-label=Main] a").all_inner_texts()
        assert offered == ["Now", "API keys", "Keys", "Account"]
        seen.open("/console/keys")
        assert seen.page.locator("section[aria-labelledby=all] tbody tr").count() > 3
        for closed in ("/console/tenants", "/console/settings", "/console/settings/doctor"):
            seen.open(closed)
            assert seen.page.title() == "Your role does not permit this · wellkeep"
