"""Ids, secrets and errors keep their promises."""

from __future__ import annotations

import pickle
from uuid import UUID

import pytest

from wellkeep.base import errors
from wellkeep.base.clock import SystemClock, iso
from wellkeep.base.ids import PLATFORM_TENANT, parse_uuid, uuid7
from wellkeep.base.secrets import Secret


def test_uuid7_has_version_variant_and_grows_with_time() -> None:
    made = [uuid7() for _ in range(1000)]
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}
    assert len(set(made)) == 1000
    stamps = [one.int >> 80 for one in made]
    assert stamps == sorted(stamps)
    assert abs(stamps[0] / 1000 - SystemClock().seconds()) < 5


@pytest.mark.parametrize("text", ["", "x", "{" + str(PLATFORM_TENANT) + "}", str(PLATFORM_TENANT).replace("-", "")])
def test_only_the_canonical_spelling_is_an_id(text: str) -> None:
    assert parse_uuid(text) is None
    assert parse_uuid(str(PLATFORM_TENANT)) == PLATFORM_TENANT


def test_a_secret_shows_in_no_formatting_and_is_not_pickled() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret!r} {secret} {secret:>20}"
    assert secret.matches("hunter2")
    assert not secret.matches("hunter3")
    assert Secret(b"k").matches(b"k")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_times_are_aware_and_written_with_six_digits() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is not None
    assert len(iso(clock.now())) == len("2026-01-01T00:00:00.000000Z")
    assert clock.monotonic() <= clock.monotonic()


def every_error() -> list[type[errors.WellkeepError]]:
    found = [errors.WellkeepError]
    for one in found:
        found += one.__subclasses__()
    return [one for one in found if one.__module__ == errors.__name__]


@pytest.mark.parametrize("error", every_error())
def test_each_error_has_a_code_a_status_and_a_message(error: type[errors.WellkeepError]) -> None:
    raised = error(resource=UUID(int=1))
    assert raised.message
    assert 400 <= raised.status < 600
    assert raised.code == raised.code.lower()
    assert raised.resource == UUID(int=1)
