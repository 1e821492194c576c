"""The pages in real Chromium: what each weighs on its first load, and how long a click takes to be painted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from pages_people import Signed

_CHROMIUM: Final = "/usr/bin/chromium"
_ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
_ROUNDS: Final = 5
_SHARE: Final = 0.95
_PAINTED: Final = """
() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(
  () => done(performance.timeOrigin + performance.now()))))
"""
_CLICKED: Final = """
() => addEventListener("click", () => { sessionStorage.clicked = performance.timeOrigin + performance.now(); }, true)
"""


def looked_at(listened: Sequence[Signed]) -> dict[str, float]:
    """Return `page_kb` and `interaction_ms` over all pages and clicks."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_ARGUMENTS))
        weights = [weight for one in listened for weight in _weights(browser, one)]
        clicks = sorted(ms for one in listened for ms in _clicks(browser, one))
        browser.close()
    for kilobytes, path in sorted(weights, reverse=True)[:3]:
        print(f"{kilobytes:8.1f} KB  {path}")
    worst = clicks[min(len(clicks) - 1, int(_SHARE * len(clicks)))]
    print(f"{len(clicks)} clicks, the median {clicks[len(clicks) // 2]:.0f} ms, 95 of 100 within {worst:.0f} ms")
    return {"page_kb": round(max(weights)[0], 1), "interaction_ms": round(worst, 1)}


@contextmanager
def _window(browser: Browser, one: Signed) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    context.add_cookies([{"name": name, "value": value, "url": one.base} for name, value in one.cookies.items()])
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.dismiss())
    try:
        yield page
    finally:
        context.close()


def _weights(browser: Browser, one: Signed) -> Iterator[tuple[float, str]]:
    """Yield what each page weighs with all that it loads, in KB (1,000 bytes) over the wire, in a new window."""
    for path in one.paths:
        with _window(browser, one) as page:
            received: list[float] = []
            _count(page.context.new_cdp_session(page), received)
            page.goto(one.base + path, wait_until="networkidle")
            yield sum(received) / 1000, f"{one.name} {path}"


def _count(devtools: CDPSession, received: list[float]) -> None:
    def finished(event: dict[str, Any]) -> None:
        received.append(event["encodedDataLength"])

    devtools.on("Network.loadingFinished", finished)
    devtools.send("Network.enable")


def _clicks(browser: Browser, one: Signed) -> Iterator[float]:
    """Yield the milliseconds from each click in the navigation to two frames after its page was there."""
    with _window(browser, one) as page:
        page.add_init_script(f"({_CLICKED})()")
        page.goto(one.base + "/console")
        for _ in range(_ROUNDS):
            for place in range(page.locator("nav[aria-label=Main] a").count()):
                with page.expect_navigation(wait_until="load"):
                    page.locator("nav[aria-label=Main] a").nth(place).click()
                painted = float(page.evaluate(_PAINTED))
                yield painted - float(page.evaluate("() => Number(sessionStorage.clicked)"))
