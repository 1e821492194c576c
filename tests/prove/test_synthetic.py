"""Synthetic people: the same from the same seed, whole in their references, and never mistaken for real ones."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any

from wellkeep.prove.synthetic import SyntheticPatients


def everything(seed: int, count: int) -> list[dict[str, Any]]:
    made = SyntheticPatients(seed=seed, count=count)
    return list(chain(made.patients(), made.encounters(), made.observations()))


def test_the_same_seed_gives_the_same_people_and_another_seed_others() -> None:
    assert json.dumps(everything(7, 20)) == json.dumps(everything(7, 20))
    assert json.dumps(everything(7, 20)) != json.dumps(everything(8, 20))


def test_each_reference_points_at_a_resource_that_came_before() -> None:
    known: set[str] = set()
    for resource in everything(7, 30):
        for name in ("subject", "encounter"):
            if name in resource:
                assert resource[name]["reference"] in known
        known.add(f"{resource['resourceType']}/{resource['id']}")
    assert len(known) == len(everything(7, 30))


def test_nobody_can_be_real() -> None:
    numbers = set()
    for patient in SyntheticPatients(seed=7, count=200).patients():
        text = json.dumps(patient)
        ssn = re.search(r'"(999-\d\d-\d{4})"', text)
        assert ssn
        numbers.add(ssn[1])
        assert re.search(r'"\(\d{3}\) 555-01\d\d"', text)
        assert "HTEST" in text
    assert len(numbers) == 200
