"""Two workers, one person's first sign-in, at once; and who signs in by a password past the provider."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from access.test_sign_in import browser, sign_in, step_back, with_app, with_password
from api.stack import entries
from oidc.conftest import Scene


@pytest.mark.parametrize("email", [None, "robin@example.org"])
async def test_two_workers_make_one_account_of_one_person(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, email: str | None
) -> None:
    """Both have looked, and found nobody, before either makes the account; each over a connection of its own."""
    if email is not None:
        scene.idp.claims |= {"email": email, "email_verified": True}
    accounts, both = scene.opened.single_sign_on.sign_in._accounts, asyncio.Barrier(2)
    known, looked = accounts.known, list[UUID | None]()

    async def finding(tenant: UUID, digest: bytes) -> UUID | None:
        found = await known(tenant, digest)
        looked.append(found)
        if len(looked) <= 2:
            await both.wait()
        return found

    monkeypatch.setattr(accounts, "known", finding)
    async with scene.client() as one, scene.client() as two:
        answers = await asyncio.gather(scene.whole(one), scene.whole(two))
        assert [answer.status_code for answer in answers] == [303, 303], [answer.text for answer in answers]
        people = {(await client.get("/v1/session")).json()["person"] for client in (one, two)}
    assert looked[:2] == [None, None]
    assert len(people) == 1
    assert len(await scene.rows("SELECT FROM access.person")) == 1
    assert len(await scene.rows("SELECT FROM access.identity")) == 1
    done = [entry["action"] for entry in await entries(scene.opened, scene.tenant) if entry["outcome"] == "done"]
    assert (done.count("user.joined"), done.count("session.started")) == (1, 2)


async def local(scene: Scene) -> list[Any]:
    await scene.opened.findings.flush()
    return await scene.rows("SELECT detail FROM findings.finding WHERE kind = 'auth.local'")


async def test_a_password_past_the_provider_is_told_of_once_it_signed_somebody_in(scene: Scene) -> None:
    who = await with_password(scene.opened, scene.tenant, "coach")
    async with scene.client() as client:
        assert (await sign_in(client, password="another thing altogether")).status_code == 401
        assert not await local(scene)
        headers = browser(await sign_in(client))
        assert [row["detail"] for row in await local(scene)] == [f'{{"person": "{who}"}}']
        assert (await client.get("/v1/session", headers=headers)).status_code == 200


async def test_a_right_password_without_the_factor_is_no_sign_in_past_the_provider(scene: Scene) -> None:
    await with_password(scene.opened, scene.tenant, "coach")
    async with scene.client() as client:
        _, app = await with_app(scene.opened, client)
        await scene.rows("DELETE FROM findings.finding")
        await step_back(scene.opened)
        for how in ("at once", "with a ticket"):
            asked = await sign_in(client, **({"code": "000000"} if how == "at once" else {}))
            assert asked.status_code == (401 if how == "at once" else 200)
            assert not await local(scene), how
        body = {"ticket": asked.json()["ticket"], "code": app.now()}
        assert (await client.post("/v1/session/factor", json=body)).status_code == 200
        assert len(await local(scene)) == 1


async def test_who_comes_by_the_provider_is_no_sign_in_past_it(scene: Scene) -> None:
    async with scene.client() as client:
        assert (await scene.whole(client)).status_code == 303
    assert not await local(scene)
