"""The first run, as a person takes it: from an empty folder to the first green proof and the console's first page."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pyotp
import pytest
from playwright.sync_api import Browser, Page

from database import scratch_home
from deployments import START_SECONDS, WELLKEEP, command, environment
from pages.looking import PASSWORD, PHONE, WIDE, invalid, violations
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home

LINK = re.compile(r"http://127\.0\.0\.1:[0-9]+/#[A-Za-z0-9_-]{43}")


class Setup:
    """`wellkeep setup` as a process, started as often as it takes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.out = home.with_name("setup.out")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it, and return the address that it prints."""
        with self.out.open("wb") as stream:
            self.process = subprocess.Popen(  # noqa: S603 -- our own program
                [*WELLKEEP, "setup", str(self.home), "--claim", "rest.fields"],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        began = time.monotonic()
        while (found := LINK.search(self.out.read_text())) is None:
            assert self.process.poll() is None, self.out.read_text()
            assert time.monotonic() - began < START_SECONDS
            time.sleep(0.05)
        return found[0]

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)
        home = Home(self.home)
        if home.settings_file.exists():
            Database(home, home.settings()).stop()


@pytest.fixture
def begun() -> Iterator[Setup]:
    folder = scratch_home()
    made = Setup(folder / "home")
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_from_an_empty_folder_to_the_console(chromium: Browser, begun: Setup) -> None:
    """Killed after each of the first steps, it goes on where it was; what it shows once is in no file."""
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(START_SECONDS * 1000)
    page.goto(begun.start())
    press(page, "Make it", "h1:has-text('Recovery shares')")
    begun.kill()
    page.goto(begun.start())
    page.wait_for_selector("li code")
    shares = page.locator("li code").all_inner_texts()
    assert [len(one.split()) for one in shares] == [33, 33, 33]
    page.fill("[name=share]", shares[0].replace(" ", "  ") + "x")
    press(page, "They are kept", "none of the shares")
    page.fill("[name=share]", shares[1])
    press(page, "They are kept", "The first administrator")
    begun.kill()
    page.goto(begun.start())
    for name, value in (("tenant", "st-elsewhere"), ("name", "Robin Doe"), ("email", "robin@example.org")):
        page.fill(f"[name={name}]", value)
    page.fill("[name=password]", PASSWORD)
    press(page, "Go on", "h1:has-text('second factor')")
    begun.kill()
    page.goto(begun.start())
    page.fill("[name=password]", PASSWORD)
    press(page, "Go on", "Show this code")
    secret = page.inner_text("#secret")
    page.fill("[name=code]", pyotp.TOTP(secret).now())
    press(page, "It works", "An identity provider")
    press(page, "Skip", "h1:has-text('The first proof')")
    press(page, "Prove it", "h1:has-text('What was seen')")
    assert "rest.fields" in page.inner_text("main ul.panel")
    press(page, "Serve it", "It is yours")
    console = page.get_attribute("text=The console", "href")
    assert console is not None
    serves(page, console, begun)
    assert page.inner_text("h1") == "Sign in"
    for file in begun.home.rglob("*"):
        if file.is_file() and "postgres" not in file.parts:
            with suppress(UnicodeDecodeError):
                text = file.read_text()
                assert not [one for one in (*shares, secret, PASSWORD) if one in text], file
    assert not [one for one in (*shares, secret, PASSWORD) if one in begun.out.read_text()]
    assert not (begun.home / "setup.json").exists()
    again = command("setup", begun.home)
    assert again.code == 1
    assert "is set up already" in again.err
    context.close()


def press(page: Page, button: str, then: str) -> None:
    look(page)
    page.click(f"button:has-text('{button}')")
    page.wait_for_selector(then if "(" in then else f"text={then}")


def look(page: Page) -> None:
    """See that axe finds nothing, nothing is cut on a phone, and the markup is valid."""
    for scheme, size in (("light", WIDE), ("dark", PHONE)):
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        page.set_viewport_size(size)
        assert violations(page, page.context.new_cdp_session(page)) == [], page.inner_text("h1")
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), page.inner_text("h1")
    served = page.request.get(page.url, headers={"Sec-Fetch-Site": "same-origin"}).text()
    assert invalid({page.inner_text("h1"): served}) == ""


def serves(page: Page, address: str, begun: Setup) -> None:
    """Open what is served in a moment."""
    began = time.monotonic()
    while True:
        with suppress(Exception):
            page.goto(address)
            return
        assert begun.process is not None
        assert begun.process.poll() is None, begun.out.read_text()
        assert time.monotonic() - began < START_SECONDS, begun.out.read_text()
        time.sleep(0.2)


def test_who_gets_nothing(begun: Setup) -> None:
    """Nobody without the secret, no second browser with it, no other name, no other origin's page."""
    base, _, secret = begun.start().partition("#")
    origin = base.rstrip("/")
    with httpx.Client(base_url=base, trust_env=False) as first, httpx.Client(base_url=base, trust_env=False) as other:
        assert "One-time secret" in first.get("/").text
        assert first.get("/progress").status_code == 403
        ours, form = {"Origin": origin}, {"secret": secret}
        assert first.post("/open", data=form).status_code == 403
        assert first.post("/open", data=form, headers={"Origin": "https://evil.example"}).status_code == 403
        assert first.post("/open", data=form, headers=ours | {"Sec-Fetch-Site": "same-site"}).status_code == 403
        assert first.post("/open", data={"secret": "x" + secret[1:]}, headers=ours).status_code == 403
        assert first.get("/", headers={"Host": "evil.example"}).status_code == 403
        assert first.get("/", headers={"Host": origin.replace("http://127.0.0.1", "localhost")}).status_code == 403
        opened = first.post("/open", data=form, headers=ours)
        assert opened.status_code == 303
        assert "HttpOnly; SameSite=Strict" in opened.headers["set-cookie"]
        assert "A deployment of your own" in first.get("/").text
        assert other.post("/open", data=form, headers=ours).status_code == 403
        assert other.post("/begin", data={}, headers=ours).status_code == 403
        assert "A deployment of your own" not in other.get("/").text
        assert first.post("/begin", data={}, headers={"Origin": "http://127.0.0.1:1"}).status_code == 403
    assert not (begun.home / "wellkeep.toml").exists()


def test_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    said = command("setup", tmp_path)
    assert said.code == 1
    assert "is not empty" in said.err
