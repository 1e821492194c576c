"""Fixtures of the way out: a certificate for the place's name, and who is told of refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from egress.installed import installed
from egress.outside import Certificates, Noted
from wellkeep.assembly.home import Home


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with installed() as made:
        yield made
