"""Fixtures of the sinks: a certificate for the receivers, and who is told of what egress refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from egress.outside import Certificates, Noted


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture(scope="session")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of the same name, by an authority that nobody here trusts."""
    return Certificates.make(Path(tmp_path_factory.mktemp("others")))


@pytest.fixture
def noted() -> Noted:
    return Noted()
