"""The role file: whatever is misspelt or too wide stops the start; what is loaded is on record."""

from __future__ import annotations

from importlib.resources import files

import pytest

from database import Database
from gate.trial import House, house
from wellkeep.access import roles
from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission

RAW = files("wellkeep.definitions").joinpath("roles.toml").read_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"record:read"', b'"record:raed"'),
        (b'["administrative"]', b'["adminstrative"]'),
        (b'default_purpose = "TREAT"', b'default_purpose = "HPAYMT"'),
        (b"across = [", b'across = ["record:read", '),
        (b"purpose_demanded = [", b'purpose_demanded = ["apikey:read", '),
        (b"[platform]", b"[platfrom]"),
        (b"[phi]", b"[phi"),
        (b"# Roles", b"\xff# Roles"),
    ],
)
def test_a_file_that_does_not_hold_together_stops_the_start(old: bytes, new: bytes) -> None:
    assert old in RAW
    with pytest.raises(Misconfigured):
        roles.parse(RAW.replace(old, new))


def test_the_matrix_has_every_cell() -> None:
    loaded = roles.load()
    cells = roles.matrix(loaded)
    assert len(cells) == len(loaded.roles) * len(Permission)
    billing = next(cell for cell in cells if (cell.role, cell.permission) == ("billing", Permission.RECORD_READ))
    assert billing.allowed
    assert "clinical" not in billing.groups
    assert billing.purposes == ("HOPERAT", "HPAYMT")


async def test_loading_is_on_record_with_the_digest(database: Database) -> None:
    async with house(database) as home:
        await _announce(home)


async def _announce(home: House) -> None:
    loaded = roles.load()
    event_id = await roles.announce(home.gate, loaded)
    event = (await home.events(PLATFORM_TENANT))[-1]
    assert event["id"] == str(event_id)
    assert (event["action"], event["digest"]) == ("definitions.loaded", loaded.digest.hex())
