"""Fixtures of the pages' tests: a deployment that is served, and real Chromium to look at it with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from deployments import Deployment, deployment
from node_packages import missing
from pages.looking import LOCK, Member, Window, window

TENANT = "st-elsewhere"
CHROMIUM = "/usr/bin/chromium"
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Chromium, Debian's own."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip("Chromium is not installed (scripts/system-packages)")
    reason = missing(LOCK)
    if reason is not None:
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_QUIET))
        yield started
        started.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Deployment]:
    """Serve a deployment with one tenant."""
    with deployment(serve=()) as made:
        assert made.wk("tenant", "create", TENANT).code == 0
        yield made


@pytest.fixture
def seen(chromium: Browser, served: Deployment) -> Iterator[Window]:
    """Open a window of its own; at its end nothing was complained of."""
    with window(chromium, served) as opened:
        yield opened
        assert opened.complaints == []


@pytest.fixture
def robin(served: Deployment) -> Member:
    """Invite a privacy officer."""
    return Member.invited(served, "privacy_officer", tenant=TENANT)
