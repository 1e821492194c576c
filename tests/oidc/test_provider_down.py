"""A provider that is down is asked by one, now and then; when it is back that is noticed, and the finding closes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from oidc.conftest import Scene
from wellkeep.access import oidc_client
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity

DOCUMENT = "/.well-known/openid-configuration"
LINK = "/v1/sign-in/st-elsewhere/keycloak"
SPARED = 60.0
"""Longer than it is, so that no slow machine runs past it."""


@pytest.fixture(autouse=True)
def _spared_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_client, "SPARED", SPARED)


async def begun(scene: Scene, times: int) -> list[int]:
    """Follow the link so many times at once; returns the statuses."""

    async def once() -> int:
        async with scene.client() as client:
            return (await client.get(LINK)).status_code

    return await asyncio.gather(*(once() for _ in range(times)))


async def is_open(scene: Scene) -> list[bool]:
    await scene.opened.findings.flush()
    rows = await scene.rows("SELECT resolved_at FROM findings.finding WHERE kind = 'provider.unreachable'")
    return [row["resolved_at"] is None for row in rows]


def later(scene: Scene, seconds: float) -> None:
    scene.clock.by += timedelta(seconds=seconds)


async def test_many_who_come_at_once_ask_a_provider_once(scene: Scene) -> None:
    assert await begun(scene, 8) == [303] * 8
    assert scene.idp.asked == [DOCUMENT, "/jwks"]


@pytest.mark.parametrize("path", [DOCUMENT, "/jwks"])
async def test_one_asks_a_provider_that_is_down_and_the_others_are_told_at_once(scene: Scene, path: str) -> None:
    scene.idp.answers[path] = (500, b"")
    assert await begun(scene, 8) == [503] * 8
    assert scene.idp.asked.count(path) == 1
    assert await is_open(scene) == [True]
    assert await begun(scene, 3) == [503] * 3
    assert scene.idp.asked.count(path) == 1, "it is spared for a while"
    later(scene, SPARED + 1)
    assert await begun(scene, 8) == [503] * 8
    assert scene.idp.asked.count(path) == 2, "then one asks whether it is back"
    del scene.idp.answers[path]
    later(scene, SPARED + 1)
    assert await begun(scene, 8) == [303] * 8
    assert await is_open(scene) == [False]


async def test_a_token_address_that_is_out_of_reach_is_spared_like_the_rest(scene: Scene) -> None:
    async with scene.client() as client, scene.client() as other:
        back = [scene.idp.sign_in(await scene.begin(one)) for one in (client, other)]
        scene.idp.answers["/token"] = (200, b"x" * 300_000)
        assert (await scene.finish(client, back[0])).status_code == 503
        assert (await scene.finish(other, back[1])).status_code == 503
        assert scene.idp.asked.count("/token") == 1
        assert await is_open(scene) == [True]
        del scene.idp.answers["/token"]
        assert await begun(scene, 1) == [303], "what is known of it still sends people there"
        assert await is_open(scene) == [True], "which is no answer of the provider's"
        later(scene, SPARED + 1)
        assert (await scene.whole(client)).status_code == 303
        assert await is_open(scene) == [False]


async def test_a_code_that_the_provider_refuses_closes_nobody_out(scene: Scene) -> None:
    async with scene.client() as client:
        for _ in range(3):
            assert (await scene.whole(client, code="made-up")).status_code == 401
        assert (await scene.whole(client)).status_code == 303
    assert await is_open(scene) == []


async def test_who_changes_nothing_but_the_provider_is_heard_at_once(scene: Scene) -> None:
    """An administrator who tries it does not wait for what was found a moment ago."""
    scene.idp.answers[DOCUMENT] = (500, b"")
    assert await begun(scene, 1) == [503]
    del scene.idp.answers[DOCUMENT]
    await scene.opened.single_sign_on.providers.examine(scene.opened.operator, tenant=scene.tenant, provider=scene.id)
    assert await begun(scene, 1) == [303]


async def test_the_finding_of_another_process_is_closed_too(scene: Scene) -> None:
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 303
        key, detail = f"provider.unreachable:{scene.id}", {"provider": str(scene.id), "error": "status"}
        theirs = Findings(scene.opened.gate._pool)
        await theirs.report(
            scene.tenant, kind=Kind.PROVIDER_UNREACHABLE, severity=Severity.HIGH, key=key, detail=detail
        )
        assert await is_open(scene) == [True]
        later(scene, 61)
        assert (await scene.whole(client)).status_code == 303
    assert await is_open(scene) == [False]
