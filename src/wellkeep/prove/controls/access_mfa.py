"""access.mfa: an administrator without a second factor reaches nothing but setting one up; everybody may have one.

The administrator is a person who was invited, set a password and signed in with it over the API, as anybody does. What
they then try is every operation that both listeners document.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any, Final

import httpx

from wellkeep.prove.deployment import Deployment, Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.people import Browser, Member, code, member
from wellkeep.prove.probe import Probe
from wellkeep.prove.requests import Place, Request, requests
from wellkeep.prove.sample import PEOPLE
from wellkeep.prove.stage import Stage
from wellkeep.prove.world import World

_CODE: Final = "second-factor-required"
_SEARCH: Final = f"/v1/collections/{PEOPLE}/records/search"


async def run(world: World, notes: Notes) -> None:
    """Try everything as an administrator with a password alone, then with a second factor; then as a clinician."""
    live = await world.live()
    async with member(live, "administrator") as somebody, Browser(live) as browser:
        signed = await browser.sign_in(somebody)
        if not signed.is_success:
            raise Unseen(f"the probe's administrator could not sign in (HTTP {signed.status_code})")
        await _nothing_else(live, notes, browser)
        await _with_factor(notes, browser, somebody)
        await _anew(live, notes, somebody)
    await _clinician(live, notes)


async def _nothing_else(live: Stage, notes: Notes, browser: Browser) -> None:
    text = tomllib.loads(resources.files("wellkeep.definitions").joinpath("roles.toml").read_text("utf-8"))
    enrolling = set(text["people"]["enrolling"])
    place = Place.nowhere(record=str(live.a.id), subject=str(live.a.id), tenant=live.a.id)
    through, told, tried = [], 0, 0
    for request in requests(place):
        if request.permission not in enrolling:
            answer = await browser.send(**_of(live, request))
            tried += 1
            told += _type(answer) == _CODE
            through += [request.operation] if answer.status_code != httpx.codes.FORBIDDEN else []
    notes.check(
        f"signed in as an administrator with a password alone, and tried {tried} operations",
        held=told > tried // 2 and not through,
        seen=f"each refused, {told} times with: set up a second factor first (else it is the platform's to do)"
        if not through
        else f"answered: {', '.join(through[:5])}",
    )


async def _with_factor(notes: Notes, browser: Browser, somebody: Member) -> None:
    shown = await browser.enrol(somebody)
    users = await browser.send("GET", "/v1/users")
    step = await browser.send("GET", "/v1/session")
    held = shown.is_success and users.is_success and bool(step.json().get("second_factor"))
    notes.check(
        "set up an authenticator app, and tried again",
        held=held,
        seen="let in, in a session with a new id" if held else f"HTTP {shown.status_code}, then {users.status_code}",
    )


async def _anew(live: Stage, notes: Notes, somebody: Member) -> None:
    """Sign in again: the password alone is a ticket and no session, and a code is good once."""
    if somebody.app is None:
        raise Unseen("the probe's administrator has no authenticator app")
    async with Browser(live) as browser:
        asked = await browser.sign_in(somebody)
        ticket = asked.json().get("ticket")
        before = await browser.send("GET", "/v1/account")
        used = await browser.send("POST", "/v1/session/factor", json={"ticket": ticket, "code": somebody.shown})
        right = {"ticket": ticket, "code": code(live, somebody.app, ahead=1)}
        taken = await browser.send("POST", "/v1/session/factor", json=right)
        after = await browser.send("GET", "/v1/users")
    refused = before.status_code == httpx.codes.UNAUTHORIZED and not used.is_success
    notes.check(
        "signed in again: with the password alone, with a code that was shown before, with the next one",
        held=bool(ticket) and refused and taken.is_success and after.is_success,
        seen="only the last opened a session"
        if refused and taken.is_success
        else f"HTTP {before.status_code}, {used.status_code}, {taken.status_code}",
    )


async def _clinician(live: Stage, notes: Notes) -> None:
    async with member(live, "clinician") as somebody, Browser(live) as browser:
        await browser.sign_in(somebody)
        without = await browser.send("POST", _SEARCH, json={"where": {"family": "Nobody"}})
        enrolled = await browser.enrol(somebody)
        with_one = await browser.send("POST", _SEARCH, json={"where": {"family": "Nobody"}})
    held = enrolled.is_success and with_one.is_success
    notes.check(
        "set one up as a clinician, of whom the tenant does not demand it",
        held=held and without.is_success,
        seen="taken" if held else f"HTTP {without.status_code}, {enrolled.status_code}, {with_one.status_code}",
    )


def _of(live: Deployment, request: Request) -> dict[str, Any]:
    """Return how a request is sent, to the listener that it is for."""
    base = live.admin_url if request.admin else live.public_url
    return request.arguments | {"url": f"{base}{request.arguments['url']}"}


def _type(answer: httpx.Response) -> str:
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return ""
    return str(answer.json().get("type", "")).rpartition("/")[2]


PROBE = Probe(claim="access.mfa", where=Where.LIVE, run=run)
