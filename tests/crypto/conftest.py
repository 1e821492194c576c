"""The soak runs only where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect this room's soak tests unless `-m` names them."""
    if "soak" in config.option.markexpr:
        return
    kept = [item for item in items if not (item.path.is_relative_to(HERE) and item.get_closest_marker("soak"))]
    if len(kept) != len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
