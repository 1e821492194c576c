"""Promise: whoever was invited gets in by the pages alone, with whatever second factor they have."""

from __future__ import annotations

from pages.looking import Member, Window, invalid

_AUTHENTICATOR = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def test_from_the_invitation_to_the_ledger_with_an_app(seen: Window, robin: Member) -> None:
    page = seen.page
    page.goto(seen.base + "/invitation#" + robin.link.partition("#")[2])
    seen.look("invitation")
    assert page.evaluate("location.hash") == "", "the link stays in no history"
    page.fill("[name=password]", "short")
    page.click("main button")
    page.wait_for_selector("main form .alert:not([hidden])")
    seen.look("a password that is too short")
    seen.join(robin)
    seen.look("joined")
    seen.sign_in(robin, back="/console/ledger")
    assert seen.path == "/console/ledger"
    assert "second factor" in page.inner_text("main")
    seen.look("no second factor yet")
    seen.add_app(robin)
    seen.look("account")
    seen.press("nav form button")
    assert seen.path == "/sign-in"
    seen.sign_in(robin, back="/console/ledger")
    assert (seen.path, page.title()) == ("/console/ledger", "Ledger · wellkeep")
    assert page.locator("main tbody tr").count() > 3
    assert invalid(seen.documents) == ""


def test_what_is_shown_wrongly_is_said_and_asked_again(seen: Window, robin: Member) -> None:
    page = seen.page
    seen.enter(robin)
    seen.press("nav form button")
    page.fill("[name=tenant]", robin.tenant)
    page.fill("[name=email]", robin.email)
    page.fill("[name=password]", "wrong wrong wrong")
    seen.press("main form button")
    seen.look("a wrong password")
    assert page.input_value("[name=email]") == robin.email
    assert page.input_value("[name=password]") == ""
    page.fill("[name=password]", "seven violet otters juggle maps")
    seen.press("main form button")
    seen.look("the second factor")
    page.fill("[name=code]", "000000")
    seen.press("main form button")
    seen.look("a wrong code")
    page.fill("[name=code]", robin.code())
    seen.press("main form button")
    assert seen.path == "/console"
    assert invalid(seen.documents) == ""


def test_a_passkey_lets_in_and_steps_up(seen: Window, robin: Member) -> None:
    page = seen.page
    devtools = seen.devtools()
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": _AUTHENTICATOR})
    seen.enter(robin)
    seen.press("button[data-passkey=add]")
    assert page.locator("section[aria-labelledby=factors] tbody tr").count() == 2
    seen.press("nav form button")
    seen.open("/console/ledger")
    seen.press("button[data-passkey=sign-in]")
    assert seen.path == "/console/ledger", "a passkey is both factors"
    seen.press("nav form button")
    seen.open("/console")
    page.fill("[name=tenant]", robin.tenant)
    page.fill("[name=email]", robin.email)
    page.fill("[name=password]", "seven violet otters juggle maps")
    seen.press("main form button")
    seen.press("button[data-passkey=factor]")
    assert seen.path == "/console"
