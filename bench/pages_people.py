"""Who looks at the pages of the bench: one person with every role that reads, and one of the platform's, signed in.

Both are invited at the machine and come in as people do: by the link, a password and an authenticator app.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pyotp

from request_data import COLLECTION
from wellkeep.api import catalogue
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Listener, Route
from wellkeep.assembly.home import Home

_PASSWORD: Final = "nine amber kites over quiet hills"  # noqa: S105 -- nobody else knows this deployment
_ROLES: Final = ("administrator", "privacy_officer", "clinician", "auditor")
_STEP: Final = 30
_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Places:
    """What the addresses of pages are filled in with."""

    tenant: UUID
    subject: UUID
    record: UUID


@dataclass(frozen=True, slots=True)
class Signed:
    """Somebody who is signed in on a listener: their cookies, and every page that they may open."""

    name: Listener
    base: str
    cookies: dict[str, str]
    paths: list[str]


def signed_in(home: Path, places: Places) -> list[Signed]:
    """Sign both in, and return them with the pages of the listener that each is at."""
    at: tuple[tuple[Listener, str, str, tuple[str, ...]], ...] = (
        ("public", "API", _tenant_name(home, places.tenant), _ROLES),
        ("admin", "administration", "platform", ("administrator",)),
    )
    served = " ".join((home / "serve.log").read_text().split())
    found: list[Signed] = []
    for which, called, tenant, roles in at:
        port = re.search(rf"https://127\.0\.0\.1:(\d+) \({called}\)", served)
        assert port is not None
        base = f"https://localhost:{port[1]}"
        with httpx.Client(base_url=base, verify=False, timeout=_SECONDS) as client:  # noqa: S501 -- its own certificate
            _come_in(client, home, tenant, roles)
            given = {
                "tenant_id": str(places.tenant),
                "subject_id": str(places.subject),
                "record_id": str(places.record),
                "collection": COLLECTION,
                "claim": "rest.fields",
                "user_id": client.get("/v1/session").json()["person"],
            }
            if which == "public":
                newest = client.get("/v1/ledger/entries?limit=1").json()["entries"][0]
                given["event_id"] = newest["event"]["id"]
            found.append(Signed(which, base, dict(client.cookies), list(_paths(which, given))))
    return found


def _paths(listener: Listener, given: dict[str, str]) -> list[str]:
    """Return the address of every page of `listener` that can be filled in, in the order of the route table."""
    routes = catalogue.routes(listener, Metrics(catalogue.names()))
    return [_filled(one, given) for one in routes if _is_page(one) and _wanted(one) <= given.keys()]


def _is_page(route: Route) -> bool:
    mine = route.path.startswith(("/console", "/trust", "/sign-in", "/invitation"))
    return mine and route.method == "GET" and route.answer_media == "text/html"


def _wanted(route: Route) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", route.path))


def _filled(route: Route, given: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: given[match[1]], route.path)


def _come_in(client: httpx.Client, home: Path, tenant: str, roles: tuple[str, ...]) -> None:
    """Take an invitation, sign in, and set up a second factor."""
    email = f"bench-{time.time_ns()}@example.org"
    chosen = [part for role in roles for part in ("--role", role)]
    link = _command(home, "user", "create", email, "--tenant", tenant, "--name", "Bench", *chosen)["link"]
    _done(client.post("/v1/invitations/accept", json={"token": link.partition("#")[2], "password": _PASSWORD}))
    asked = {"tenant": tenant, "email": email, "password": _PASSWORD}
    token = _done(client.post("/v1/session", json=asked)).json()["csrf_token"]
    own = {"X-CSRF-Token": token, "Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    plan = _done(client.post("/v1/account/totp", json={"name": "bench"}, headers=own)).json()
    code = pyotp.TOTP(plan["secret"]).at(int(time.time()) // _STEP * _STEP)
    _done(client.post("/v1/account/totp/confirm", json={"id": plan["id"], "code": code}, headers=own))


def _done(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise SystemExit(f"{answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
    return answer


def _tenant_name(home: Path, tenant: UUID) -> str:
    listed: list[dict[str, Any]] = _command(home, "tenant", "list")
    return str(next(one["name"] for one in listed if one["id"] == str(tenant)))


def _command(home: Path, *words: str) -> Any:
    program = Path(sys.executable).with_name("wellkeep")
    asked = [str(program), *words, "--home", str(Home(home).path), "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 -- our own
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)
