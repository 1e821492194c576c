"""Promise: what waits is on the first page of whoever may deal with it, without what was said, and with its button."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from access.emergency import WHY, Ward, Who, ward
from api.stack import stack
from database import Database
from wellkeep.access.approvals import Approvals, Needing
from wellkeep.base.clock import SystemClock
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act
from wellkeep.ledger.actions import Action

HTML = {"Accept": "text/html"}


@pytest.fixture
async def here(database: Database) -> AsyncIterator[Ward]:
    async with stack(database) as process:
        yield await ward(process)


async def first_page(here: Ward, who: Who) -> str:
    answer = await here.send(who, "GET", "/console", headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_staff_inside_are_shown_with_a_clock_and_a_way_to_end_it(here: Ward) -> None:
    officer = await here.signed_in("privacy_officer")
    assert "In whose account" not in await first_page(here, officer)
    impersonation, _ = await here.token(await here.staff(), (await here.signed_in("clinician")).person)
    page = await first_page(here, officer)
    assert f'data-act="POST /v1/impersonations/{impersonation}/end"' in page
    assert 'data-left="' in page
    assert (WHY in page, "impersonation.started" in page) == (False, True)
    assert (await here.send(officer, "POST", f"/v1/impersonations/{impersonation}/end")).status_code == 204
    assert impersonation not in await first_page(here, officer)


async def test_nobody_inside_somebody_elses_account_has_its_pages(here: Ward) -> None:
    _, token = await here.token(await here.staff(), (await here.signed_in("clinician", "privacy_officer")).person)
    for page in ("/console", "/console/account", "/console/ledger"):
        assert (await here.send(token, "GET", page, headers=HTML)).status_code == 403


async def test_broken_glass_waits_for_its_review_and_no_longer(here: Ward) -> None:
    officer, clinician = await here.signed_in("privacy_officer"), await here.signed_in("clinician")
    body = {"reason": WHY, "subject": str(here.subject())}
    broken = await here.send(clinician, "POST", "/v1/break-glass", json=body)
    assert broken.status_code == 201, broken.text
    page = await first_page(here, officer)
    assert (str(here.subject()) in page, WHY in page) == (True, False)
    assert str(here.subject()) not in await first_page(here, clinician)
    said = {"verdict": "justified", "note": "Confirmed with the head of the emergency room"}
    url = f"/v1/break-glass/{broken.json()['id']}/review"
    assert (await here.send(officer, "POST", url, json=said)).status_code == 200
    assert "nobody has reviewed" not in await first_page(here, officer)


async def test_an_approval_is_decided_where_it_is_shown_by_who_may(here: Ward) -> None:
    asker, reader = await here.signed_in("administrator"), await here.signed_in("coach")
    gate = here.process.gate
    act = Act(Permission.TENANT_ERASE, Action.APPROVAL_REQUESTED, "tenant", tenant=here.tenant)
    decision = await gate.decide(here.process.operator, act)
    approvals = Approvals(gate=gate, clock=SystemClock())
    wanted = await approvals.request(decision, Needing.TENANT_ERASE, target=str(here.tenant))
    page = await first_page(here, asker)
    assert f'data-act="POST /v1/approvals/{wanted}"' in page
    assert str(wanted) not in await first_page(here, reader)
