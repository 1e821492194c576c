"""The journeys' server: one deployment a module, as the fault tests make it."""

from __future__ import annotations

from faults.conftest import deployed, template

__all__ = ["deployed", "template"]
