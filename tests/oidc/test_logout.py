"""A provider ends the sessions that began there (Back-Channel Logout 1.0), and nobody in its name does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from oidc.conftest import Scene
from oidc.hostile import CLIENT, key, signed
from wellkeep.base.ids import uuid7

EVENT: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}


def token(scene: Scene, *, kind: str = "logout+jwt", by: str = "one", **changes: Any) -> str:
    now = int(scene.clock.seconds())
    told = {"iss": scene.idp.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": uuid7().hex}
    claims = {**told, "events": EVENT, "sid": "there-1", **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return signed(kept, by=key(by), typ=kind)


async def send(scene: Scene, *tokens: str) -> int:
    async with scene.client() as client:
        content = urlencode([("logout_token", one) for one in tokens])
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await client.post("/v1/sign-in/st-elsewhere/keycloak/logout", content=content, headers=headers)
    return answer.status_code


async def stand(scene: Scene) -> int:
    return len(await scene.rows("SELECT FROM access.session WHERE ended_at IS NULL"))


async def test_a_logout_ends_that_session_or_all_of_that_person_and_counts_once(scene: Scene) -> None:
    async with scene.client() as one, scene.client() as two:
        await scene.whole(one)
        scene.idp.claims["sid"] = "there-2"
        await scene.whole(two)
        told = token(scene)
        assert await send(scene, told) == 204
        assert await stand(scene) == 1
        assert (await one.get("/v1/session")).status_code == 401
        assert (await two.get("/v1/session")).status_code == 200
        assert await send(scene, told) == 400, "replayed"
        everything = token(scene, sid=None, sub=scene.idp.sub)
        assert await send(scene, everything) == 204
        assert await stand(scene) == 0
        await scene.whole(two)
        assert await send(scene, everything) == 400, "a token that was taken ends no later session"
        assert await stand(scene) == 1
        assert await send(scene, token(scene, sid="nobody's")) == 204
        assert await send(scene, token(scene, sid=None, sub="nobody")) == 204
        assert await stand(scene) == 1


async def test_what_is_no_logout_token_of_the_providers_ends_nothing(scene: Scene) -> None:
    async with scene.client() as client:
        await scene.whole(client)
    now = int(scene.clock.seconds())
    forged = {
        "a nonce": token(scene, nonce="x"),
        "no event": token(scene, events=None),
        "another event": token(scene, events={"x": {}}),
        "nobody": token(scene, sid=None),
        "no id": token(scene, jti=None),
        "another audience": token(scene, aud="x"),
        "another issuer": token(scene, iss="https://evil.example.org"),
        "no end": token(scene, exp=None),
        "over": token(scene, exp=now - 100),
        "old": token(scene, iat=now - 1_000),
        "another type": token(scene, kind="at+jwt"),
        "somebody else's key": token(scene, by="evil"),
        "rubbish": "x.y.z",
    }
    for how, one in forged.items():
        assert await send(scene, one) == 400, how
    assert await send(scene, token(scene), token(scene)) == 400, "two of them"
    assert await send(scene) == 400
    assert await stand(scene) == 1


async def test_a_logout_takes_the_ticket_of_who_has_not_shown_the_second_factor_yet(scene: Scene) -> None:
    async with scene.client() as client:
        await scene.whole(client)
        async with scene.opened.database.connect() as connection:
            await connection.execute(
                "INSERT INTO access.factor (tenant_id, id, person_id, kind, name, sealed, created_at, confirmed_at)"
                " SELECT tenant_id, gen_random_uuid(), id, 'totp', 'app', decode(repeat('00', 64), 'hex'),"
                " clock_timestamp(), clock_timestamp() FROM access.person"
            )
        asked = await scene.whole(client)
        assert asked.status_code == 200
        assert asked.json()["factors"] == ["totp", "recovery_code"]
        assert await send(scene, token(scene)) == 204
        assert await scene.rows("SELECT FROM access.ticket") == []


async def test_no_stranger_who_floods_the_sign_in_loses_a_logout(scene: Scene) -> None:
    async with scene.client() as client, scene.client() as stranger:
        await scene.whole(client)
        assert await scene.rows("SELECT FROM access.throttle WHERE failures > 0") == [], "right tries count for nothing"
        await scene.begin(stranger)
        await scene.rows("UPDATE access.throttle SET failures = 1000, until = clock_timestamp() + interval '1 minute'")
        assert (await stranger.get("/v1/sign-in/st-elsewhere/keycloak")).status_code == 429
        assert await send(scene, token(scene)) == 204
        assert await stand(scene) == 0


async def happening(scene: Scene, happens: Callable[[], Awaitable[object]], patch: pytest.MonkeyPatch) -> list[bool]:
    """Let something happen between the provider's word and what comes of it here."""
    accounts, done = scene.opened.single_sign_on.sign_in._accounts, list[bool]()
    person = accounts.person

    async def finding(*told: Any, **more: Any) -> UUID:
        found = await person(*told, **more)
        if not done:
            done.append(True)
            await happens()
        return found

    patch.setattr(accounts, "person", finding)
    return done


@pytest.mark.parametrize("names", ["its session", "its subject"])
@pytest.mark.parametrize("factor", [False, True])
@pytest.mark.parametrize("known", [False, True])
async def test_a_logout_while_somebody_comes_back_ends_that_sign_in(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, names: str, *, factor: bool, known: bool
) -> None:
    if known:
        async with scene.client() as client:
            scene.idp.claims["sid"] = "there-0"
            await scene.whole(client)
            scene.idp.claims["sid"] = "there-1"
    told = token(scene) if names == "its session" else token(scene, sid=None, sub=scene.idp.sub)

    async def happens() -> None:
        if factor:
            await scene.rows(
                "INSERT INTO access.factor (tenant_id, id, person_id, kind, name, sealed, created_at, confirmed_at) "
                "SELECT p.tenant_id, $1, p.id, 'totp', 'app', $2, now(), now() FROM access.person AS p",
                *(uuid7(), bytes(80)),
            )
        assert await send(scene, told) == 204

    done = await happening(scene, happens, monkeypatch)
    async with scene.client() as client:
        answer = await scene.whole(client)
        assert (done, answer.status_code) == ([True], 401), answer.text
        assert not await scene.rows("SELECT FROM access.ticket")
        assert await stand(scene) == (1 if known and names == "its session" else 0)
        assert await send(scene, told) == 400, "replayed"
        if not factor:
            assert (await scene.whole(client)).status_code == 303, "the next sign-in is another"


async def test_a_logout_of_a_session_that_waits_for_its_second_factor_ends_it(scene: Scene) -> None:
    async with scene.client() as client:
        await scene.whole(client)
        await scene.rows(
            "INSERT INTO access.factor (tenant_id, id, person_id, kind, name, sealed, created_at, confirmed_at) "
            "SELECT p.tenant_id, $1, p.id, 'totp', 'app', $2, now(), now() FROM access.person AS p",
            *(uuid7(), bytes(80)),
        )
        scene.idp.claims["sid"] = "there-2"
        assert (await scene.whole(client)).json()["factors"] == ["totp", "recovery_code"]
        assert await send(scene, token(scene, sid="there-2")) == 204
        assert not await scene.rows("SELECT FROM access.ticket")
        assert await stand(scene) == 1, "and the other one goes on"
