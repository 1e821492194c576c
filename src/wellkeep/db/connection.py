"""The driver's connection, under one name for the whole house.

Rule: rooms name this type and never import the driver for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    """A connection of our own, or one that a pool lent."""
else:
    # The driver's classes take no parameter at run time; only its stubs do.
    Connection: TypeAlias = asyncpg.Connection

Record: TypeAlias = asyncpg.Record
"""A row."""
