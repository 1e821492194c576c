"""A shared cache keeps what RFC 9111 lets it keep, and nothing else."""

from __future__ import annotations

import httpx
import pytest

from wellkeep.prove.shared_cache import SharedCache


def answer(status: int = 200, *, signed: bool = False, **headers: str) -> httpx.Response:
    request = httpx.Request("GET", "https://localhost/", headers={"Authorization": "Bearer x"} if signed else {})
    return httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()}, request=request)


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        (answer(), True),
        (answer(404), True),
        (answer(500), False),
        (answer(500, Cache_Control="max-age=5"), True),
        (answer(500, Expires="Thu, 01 Jan 2099 00:00:00 GMT"), True),
        (answer(Cache_Control="no-store"), False),
        (answer(Cache_Control="private, max-age=60"), False),
        (answer(Cache_Control="No-Store, max-age=60"), False),
        (answer(signed=True), False),
        (answer(signed=True, Cache_Control="max-age=60"), False),
        (answer(signed=True, Cache_Control="public"), True),
        (answer(signed=True, Cache_Control="s-maxage=60"), True),
    ],
)
def test_what_it_keeps(offered: httpx.Response, kept: bool) -> None:  # noqa: FBT001
    assert SharedCache.may_keep(offered) is kept


def test_it_counts() -> None:
    cache = SharedCache()
    for one in (answer(), answer(Cache_Control="no-store")):
        cache.offer(one)
    assert (cache.offered, cache.kept) == (2, 1)
