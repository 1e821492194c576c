"""The log: what the list allows, in the shape that it allows, and nothing anybody sent."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from api.stack import logged
from wellkeep.api import logs
from wellkeep.base.errors import Internal
from wellkeep.base.ids import uuid7

CANARY = "Xk9 Canary Zq"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Write the log into memory."""
    with logged() as stream:
        yield stream


def lines(written: io.StringIO) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in written.getvalue().splitlines()]


def test_a_field_that_is_not_on_the_list_is_dropped_and_counted(written: io.StringIO) -> None:
    request = uuid7()
    logs.log.info("request.failed", request=request, patient=CANARY, code=CANARY, tenant=CANARY, status=CANARY)
    (line,) = lines(written)
    assert (line["event"], line["request"], line["dropped"]) == ("request.failed", str(request), 4)
    assert "Canary" not in written.getvalue()


def test_of_an_exception_the_type_and_our_frames_are_kept(written: io.StringIO) -> None:
    secret = CANARY
    try:
        logs.describe(secret)  # type: ignore[arg-type]  # the fault is the point
    except AttributeError as fault:
        logs.log.error("request.failed", error=fault)
    (line,) = lines(written)
    error = line["error"]
    assert isinstance(error, dict)
    assert error["type"] == "AttributeError"
    assert all(frame.startswith("wellkeep.") for frame in error["frames"])
    assert "Canary" not in written.getvalue()


def test_lines_of_libraries_are_reduced_to_their_name(written: io.StringIO) -> None:
    logging.getLogger("asyncpg").warning("failing row contains (%s)", CANARY)
    logging.getLogger("uvicorn.error").error("boom", exc_info=Internal(CANARY))
    assert [line.get("logger") for line in lines(written)] == ["asyncpg", "uvicorn.error"]
    assert "Canary" not in written.getvalue()


class FullDisk(io.StringIO):
    """A stream whose disk is full for now."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_line_that_cant_be_written_is_counted_and_stops_nobody() -> None:
    """Whoever logs goes on: a ledger writer that died of a full disk under the log would end all access for good."""
    with logged() as stream:
        disk = FullDisk()
        logs.configure(stream=disk)
        logs.log.error("request.failed")
        ledger = structlog.get_logger("wellkeep.ledger")
        ledger.error("ledger.append_failed", kind="DatabaseUnavailable")
        disk.full = False
        logs.log.error("request.failed")
        logs.log.error("request.failed")
        assert not stream.getvalue()
    assert [(line["event"], line.get("lost")) for line in lines(disk)] == [
        ("request.failed", None),
        ("log.lost", 2),
        ("request.failed", None),
    ]
