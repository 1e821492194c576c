"""Fixtures of the sinks: a certificate for the receivers, and who is told of what egress refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from egress.conftest import certificates, noted  # noqa: F401 -- fixtures
from egress.outside import Certificates


@pytest.fixture(scope="session")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of the same name, by an authority that nobody here trusts."""
    return Certificates.make(Path(tmp_path_factory.mktemp("others")))
