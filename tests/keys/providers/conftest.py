"""Fixtures of the key services: servers and tokens that cost seconds to make, one a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from anchors.moto import Moto, moto_server
from keys.providers import drivers
from keys.providers.drivers import Driver
from keys.providers.softhsm import SoftHsm, soft_hsm


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    with moto_server() as running:
        yield running


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    return soft_hsm(tmp_path_factory.mktemp("hsm"), "wellkeep")


@pytest.fixture
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    """Open the driver that the test is parametrised with."""
    async with AsyncExitStack() as stack:
        if request.param == "local":
            yield drivers.local(tmp_path)
        elif request.param == "aws-moto":
            yield await stack.enter_async_context(drivers.aws_moto(request.getfixturevalue("moto")))
        elif request.param == "pkcs11":
            yield await stack.enter_async_context(drivers.pkcs11(request.getfixturevalue("hsm")))
        else:
            opened = {"aws": drivers.aws_fake, "transit": drivers.transit}[request.param]
            yield await stack.enter_async_context(opened(tmp_path))
