"""A buffer for what is secret is overwritten when the work is done, and when it failed."""

from __future__ import annotations

import pytest

from wellkeep.base.secrets import wiped


def test_a_buffer_is_overwritten_when_the_work_is_done() -> None:
    with wiped(8) as buffer:
        buffer[:] = b"12345678"
        view = memoryview(buffer)
    assert bytes(view) == bytes(8)
    assert buffer == bytes(8)


def fail(held: list[bytearray]) -> None:
    with wiped(8) as buffer:
        buffer.extend(b"more than it had")
        held.append(buffer)
        raise ZeroDivisionError


def test_a_buffer_is_overwritten_when_the_work_failed() -> None:
    held: list[bytearray] = []
    with pytest.raises(ZeroDivisionError):
        fail(held)
    assert held == [bytearray(24)]
