"""Fixtures of the command line's tests: one deployment a module, served, with a tenant and its keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments import Deployment, deployment

TENANT = "st-elsewhere"


@pytest.fixture(scope="module")
def served() -> Iterator[Deployment]:
    """Serve a deployment with one tenant."""
    with deployment(serve=()) as made:
        assert made.wk("tenant", "create", TENANT).code == 0
        yield made


@pytest.fixture(scope="module")
def key(served: Deployment) -> str:
    """Make a key that imports and exports and makes collections."""
    return served.key(TENANT, "integration", "administrator")
