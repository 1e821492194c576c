"""Fixtures of anchors: servers that cost seconds to start, one a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anchors.authority import Authority
from anchors.moto import Moto, moto_server
from egress.conftest import certificates, noted  # noqa: F401 -- fixtures


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    with moto_server() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("stamping") / "authority")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority of the same names and other keys."""
    return Authority.make(tmp_path_factory.mktemp("stamping") / "stranger")
