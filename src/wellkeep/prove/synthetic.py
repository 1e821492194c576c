"""Synthetic patients as FHIR R4 resources, from a seed: the same seed gives the same people, on every machine.

They look like people and are none: each Social Security number begins with 999, which was never issued; each telephone
number lies in 555-01xx, which is kept for fiction; each resource carries the HL7 tag HTEST.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from faker import Faker

Resource = dict[str, object]

_TEST_TAG = {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}]}
_LOCALES = ("en_US", "es_MX", "fr_FR", "de_DE", "pl_PL")
_EPOCH = datetime(2024, 1, 1, 8, tzinfo=UTC)
_VISITS = (
    ("185349003", "Encounter for check up (procedure)"),
    ("185345009", "Encounter for symptom (procedure)"),
    ("390906007", "Follow-up encounter (procedure)"),
)
_MEASURES = (
    ("8302-2", "Body Height", "cm", 150.0, 200.0),
    ("29463-7", "Body Weight", "kg", 45.0, 120.0),
    ("8867-4", "Heart rate", "/min", 55.0, 100.0),
    ("2339-0", "Glucose", "mg/dL", 70.0, 180.0),
    ("4548-4", "Hemoglobin A1c", "%", 4.5, 11.0),
)


class SyntheticPatients:
    """`count` patients, each with encounters and observations, in an order in which references resolve."""

    def __init__(self, *, seed: int, count: int) -> None:
        """Prepare `count` people from `seed`; nothing is kept in memory but the generator's state."""
        self._seed = seed
        self._count = count

    def patients(self) -> Iterator[Resource]:
        """Yield Patient resources."""
        fakers = [Faker(locale) for locale in _LOCALES]
        for number in range(self._count):
            chance = self._chance("patient", number)
            faker = fakers[number % len(fakers)]
            faker.seed_instance(self._seed * 1_000_003 + number)
            yield _patient(self._id("patient", number), number, chance, faker)

    def encounters(self) -> Iterator[Resource]:
        """Yield one to three Encounter resources a patient."""
        for number in range(self._count):
            for visit in range(self._visits(number)):
                chance = self._chance("encounter", number, visit)
                start = _EPOCH + timedelta(days=chance.randrange(700), minutes=chance.randrange(540))
                code, display = chance.choice(_VISITS)
                yield {
                    "resourceType": "Encounter",
                    "id": str(self._id("encounter", number, visit)),
                    "meta": _TEST_TAG,
                    "status": "finished",
                    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
                    "type": [_concept("http://snomed.info/sct", code, display)],
                    "subject": {"reference": f"Patient/{self._id('patient', number)}"},
                    "period": {"start": start.isoformat(), "end": (start + timedelta(minutes=25)).isoformat()},
                }

    def observations(self) -> Iterator[Resource]:
        """Yield five Observation resources an encounter."""
        for number in range(self._count):
            for visit in range(self._visits(number)):
                for position, measure in enumerate(_MEASURES):
                    chance = self._chance("observation", number, visit, position)
                    yield {
                        "resourceType": "Observation",
                        "id": str(self._id("observation", number, visit, position)),
                        "meta": _TEST_TAG,
                        "status": "final",
                        "code": _concept("http://loinc.org", measure[0], measure[1]),
                        "subject": {"reference": f"Patient/{self._id('patient', number)}"},
                        "encounter": {"reference": f"Encounter/{self._id('encounter', number, visit)}"},
                        "effectiveDateTime": (_EPOCH + timedelta(days=chance.randrange(700))).isoformat(),
                        "valueQuantity": {
                            "value": round(chance.uniform(measure[3], measure[4]), 1),
                            "unit": measure[2],
                            "system": "http://unitsofmeasure.org",
                            "code": measure[2],
                        },
                    }

    def _visits(self, number: int) -> int:
        return self._chance("visits", number).randint(1, 3)

    def _chance(self, *place: object) -> random.Random:
        return random.Random(f"{self._seed}/{place}")  # noqa: S311 -- made-up people, not keys

    def _id(self, *place: object) -> UUID:
        return UUID(int=self._chance("id", *place).getrandbits(128), version=4)


def _patient(made_id: UUID, number: int, chance: random.Random, faker: Faker) -> Resource:
    gender = chance.choice(("female", "male"))
    given = faker.first_name_female() if gender == "female" else faker.first_name_male()
    born = date(1930, 1, 1) + timedelta(days=chance.randrange(33_000))
    return {
        "resourceType": "Patient",
        "id": str(made_id),
        "meta": _TEST_TAG,
        "identifier": [
            _identifier("MR", "http://hospital.example.org", f"MRN-{100_000 + number}"),
            _identifier("SS", "http://hl7.org/fhir/sid/us-ssn", f"999-{10 + number // 9000:02}-{1000 + number % 9000}"),
        ],
        "name": [{"use": "official", "family": faker.last_name(), "given": [given]}],
        "telecom": [
            {"system": "phone", "value": f"({chance.randint(201, 989)}) 555-01{number % 100:02}", "use": "home"},
            {"system": "email", "value": f"patient{number}@example.org"},
        ],
        "gender": gender,
        "birthDate": born.isoformat(),
        "address": [
            {
                "line": [faker.street_address()],
                "city": faker.city(),
                "state": "Massachusetts",
                "postalCode": f"{chance.randint(1001, 2791):05}",
                "country": "US",
            }
        ],
    }


def _identifier(kind: str, system: str, value: str) -> Resource:
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind}
    return {"type": {"coding": [coding]}, "system": system, "value": value}


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}
