"""Promise: an administrator runs a tenant's people by the pages alone, and nobody can change themselves there."""

from __future__ import annotations

from playwright.sync_api import Browser

from deployments import Deployment
from pages.conftest import TENANT
from pages.looking import Member, Window, invalid, window


def test_somebody_is_invited_given_a_role_disabled_and_let_in_again(
    seen: Window, served: Deployment, chromium: Browser
) -> None:
    page = seen.page
    ada = Member.invited(served, "administrator", tenant=TENANT, name="Ada Doe")
    seen.enter(ada)
    seen.open("/console/people")
    page.fill("[name=name]", "Kim Roe")
    page.fill("[name=email]", "kim@example.org")
    page.check("[name=roles][value=clinician]")
    page.click("form[data-act='POST /v1/users'] button")
    page.wait_for_selector("#invited:not([hidden])")
    seen.look("an invitation")
    kim = Member("kim@example.org", page.inner_text("#invited [data-slot=link]"), TENANT)
    with window(chromium, served) as other:
        other.join(kim)
        other.sign_in(kim)
        assert other.path == "/console"
        seen.open("/console/people")
        seen.press("tbody th a:text-is('Kim Roe')")
        assert page.inner_text("h1") == "Kim Roe"
        seen.look("a person")
        page.select_option("[name=role]", "auditor")
        seen.press("form[data-act$='/roles'] button")
        assert page.locator("section[aria-labelledby=roles] tbody tr").count() == 2
        seen.press("form[data-act$='/disable'] button")
        assert "disabled" in page.inner_text("main")
        seen.look("a disabled person")
        other.open("/console")
        assert "/sign-in" in str(other.page.get_attribute("main form", "action")), "at once"
    seen.press("form[data-act$='/enable'] button")
    page.check("[name=factors]")
    page.click("form[data-act$='/reset'] button")
    page.wait_for_selector("#link:not([hidden])")
    assert "/invitation#" in page.inner_text("#link [data-slot=link]")
    seen.open("/console/people")
    seen.press("tbody th a:text-is('Ada Doe')")
    assert page.locator("main form").count() == 0, "oneself is for others to change"
    assert invalid(seen.documents) == ""
