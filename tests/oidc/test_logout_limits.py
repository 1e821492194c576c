"""A provider sends a logout once, so nobody else's requests may use up what it is allowed."""

from __future__ import annotations

import pytest

from oidc.conftest import Scene
from oidc.test_logout import send, stand, token
from wellkeep.base.limit_settings import LimitSettings


async def test_no_stranger_at_the_same_address_as_the_provider_uses_its_limit_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clinic's own provider is behind the address that its people have, and whoever sits among them."""
    async with scene.client() as client, scene.client() as stranger:
        await scene.whole(client)
        monkeypatch.setattr(scene.opened.limits, "_settings", LimitSettings(address_requests=10))
        told = [(await stranger.get("/v1/sign-in/st-elsewhere/nobody")).status_code for _ in range(30)]
        assert told[-1] == 429
        assert await send(scene, token(scene)) == 204
        assert await stand(scene) == 0
        assert [await send(scene, "x.y.z") for _ in range(30)][-1] == 429, "it has one of its own"
