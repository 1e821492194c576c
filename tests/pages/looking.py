"""What a person does at a page, and what is looked for on each: axe, valid markup, no complaint of the browser."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

import pyotp
from playwright.sync_api import Browser, CDPSession, ConsoleMessage, Page, Response, ViewportSize

from deployments import Deployment
from node_packages import modules

LOCK = Path(__file__).with_name("tools.lock")
PASSWORD = "seven violet otters juggle maps"
WIDE, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=320, height=640)
_AXE = modules(LOCK) / "axe-core" / "axe.min.js"
_VALIDATE = modules(LOCK) / "html-validate" / "bin" / "html-validate.mjs"
_RUN_AXE = """
axe.run(document, {resultTypes: ["violations"]}).then(
  (found) => JSON.stringify(found.violations.map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 160))])))
"""
_SECONDS = 60
_STEP = 30
_EXPECTED = "Failed to load resource: the server responded with a status of 4"
"""A refusal is an answer, and the browser says so of each."""
_numbers = count(1)


@dataclass
class Member:
    """A person of a tenant, with the link of their invitation."""

    email: str
    link: str
    tenant: str
    app: pyotp.TOTP | None = None
    last: int = 0

    @classmethod
    def invited(cls, served: Deployment, *roles: str, tenant: str, name: str = "Robin Doe") -> Member:
        """Invite somebody new."""
        email = f"robin.{next(_numbers)}@example.org"
        chosen = [part for role in roles for part in ("--role", role)]
        made = served.wk("user", "create", email, "--tenant", tenant, "--name", name, *chosen, "--json")
        assert made.code == 0, made.err
        return cls(email, made.json()["link"], tenant)

    def code(self) -> str:
        """Return a code that was not shown before, and that holds for half a minute at least; may wait as long."""
        assert self.app is not None
        while True:
            now = int(time.time()) // _STEP
            step = next((one for one in (now, now + 1) if one > self.last), None)
            if step is not None:
                self.last = step
                return self.app.at(step * _STEP)
            time.sleep(1)


@dataclass
class Window:
    """One browser window on a deployment, and what went wrong in it."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    documents: dict[str, str] = field(default_factory=dict)

    def open(self, path: str) -> None:
        """Go to a page of ours."""
        self.page.goto(self.base + path)

    @property
    def path(self) -> str:
        """Where the window is: path and query."""
        return self.page.url.removeprefix(self.base)

    def devtools(self) -> CDPSession:
        return self.page.context.new_cdp_session(self.page)

    def press(self, selector: str) -> None:
        """Press what leads to another page, and wait for it."""
        with self.page.expect_navigation():
            self.page.click(selector)

    def join(self, member: Member) -> None:
        """Take the link of an invitation."""
        self.page.goto(self.base + "/invitation#" + member.link.partition("#")[2])
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("main button")
        self.page.wait_for_selector("#joined:not([hidden])")

    def sign_in(self, member: Member, *, back: str = "/console") -> None:
        """Sign in, from a page that is asked for, with the second factor where there is one."""
        self.open(back)
        self.page.fill("[name=tenant]", member.tenant)
        self.page.fill("[name=email]", member.email)
        self.page.fill("[name=password]", PASSWORD)
        self.press("main form button")
        if member.app is not None:
            self.page.fill("[name=code]", member.code())
            self.press("main form button")

    def add_app(self, member: Member) -> None:
        """Set up an authenticator app on the account's page."""
        self.open("/console/account")
        self.page.click('form[data-act="POST /v1/account/totp"] button')
        self.page.wait_for_selector("#totp:not([hidden])")
        member.app = pyotp.TOTP(self.page.inner_text("[data-slot=secret]"))
        self.page.fill("#totp [name=code]", member.code())
        self.press("#totp button")

    def enter(self, member: Member) -> None:
        """Join, sign in and set up a second factor: from here on every page of one's roles is open."""
        self.join(member)
        self.sign_in(member)
        self.add_app(member)

    def look(self, name: str) -> None:
        """Look at the page as it is now, in both colours, wide and on a phone: axe finds nothing, nothing is cut."""
        assert self.complaints == [], (name, self.complaints)
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for scheme in schemes:
            self.page.emulate_media(color_scheme=scheme)
            for size in (WIDE, PHONE):
                self.page.set_viewport_size(size)
                found = violations(self.page, self.devtools())
                assert found == [], (name, scheme, size, found)
                wide = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
                assert not wide, (name, scheme, size)
        self.page.set_viewport_size(WIDE)


@contextmanager
def window(browser: Browser, served: Deployment, *, administration: bool = False) -> Iterator[Window]:
    """Open a window with a cookie jar of its own; whatever the browser complains of is kept."""
    listen = served.home.settings().listen
    port = (listen.admin if administration else listen.public).rpartition(":")[2]
    # What passkeys ask of an address is a name; and the deployment's certificate is a development's.
    context = browser.new_context(ignore_https_errors=True, viewport=WIDE)
    context.set_default_timeout(_SECONDS * 1000)
    page = context.new_page()
    opened = Window(page, f"https://localhost:{port}")
    page.on("console", lambda message: _heard(opened, message))
    page.on("pageerror", lambda error: opened.complaints.append(f"error: {error.message}"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.on("response", lambda response: _kept(opened, response))
    try:
        yield opened
    finally:
        context.close()


def _heard(opened: Window, message: ConsoleMessage) -> None:
    if message.type in {"error", "warning"} and not message.text.startswith(_EXPECTED):
        opened.complaints.append(f"{message.type}: {message.text}")


def _kept(opened: Window, response: Response) -> None:
    html = response.headers.get("content-type", "").startswith("text/html")
    if response.request.resource_type == "document" and html and response.url.startswith(opened.base):
        opened.documents[f"{response.status} {response.url}"] = response.text()


def violations(page: Page, devtools: CDPSession) -> list[object]:
    """Return what axe finds; it runs in a world of its own, since the page's policy lets no other script run."""
    del page
    frame = devtools.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
    world = devtools.send("Page.createIsolatedWorld", {"frameId": frame})["executionContextId"]
    devtools.send("Runtime.evaluate", {"expression": _AXE.read_text("utf-8"), "contextId": world})
    asked = {"expression": _RUN_AXE, "awaitPromise": True, "returnByValue": True, "contextId": world}
    found: list[object] = json.loads(devtools.send("Runtime.evaluate", asked)["result"]["value"])
    devtools.detach()
    return found


def invalid(documents: dict[str, str]) -> str:
    """Return what html-validate says of them; empty where nothing is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        named = {}
        for number, (name, text) in enumerate(documents.items()):
            path = Path(folder) / f"{number}.html"
            path.write_text(text, "utf-8")
            named[str(path)] = name
        config = Path(__file__).with_name("htmlvalidate.json")
        command = ["node", str(_VALIDATE), "--config", str(config), "--formatter", "json", *named]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 -- ours
    assert done.stdout, done.stderr
    lines = [
        f"{named[one['filePath']]}:{message['line']}: {message['ruleId']}: {message['message']}"
        for one in json.loads(done.stdout)
        for message in one["messages"]
    ]
    return "\n".join(lines)
