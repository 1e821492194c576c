"""What a field is called tells most fields with few values, in whichever way it is written."""

from __future__ import annotations

import pytest

from wellkeep.vault.few_values import stands_for_few_values
from wellkeep.vault.templates import names, template


@pytest.mark.parametrize(
    "name",
    [
        "sex", "gender", "birth_sex", "birthsex", "patient_gender_code", "us_core_race", "us_core_ethnicity", "race_cd",
        "administrative_gender", "marital_status", "maritalstatus2", "language", "preferred_language_text", "is_smoker",
        "has_insurance", "mortality_risk", "severity", "admission_type", "discharge_disposition", "age", "us_state",
        "geschlecht", "sexe", "sexo", "etat_civil", "familienstand", "raca_cor", "genero", "geslacht", "plec",
        "blood_group_code", "vital_status", "hiv_status", "status_code_1", "verification_status",
    ],
)  # fmt: skip
def test_these_have_few_values(name: str) -> None:
    assert stands_for_few_values(name)


@pytest.mark.parametrize(
    "name",
    [
        "family", "given", "birth_date", "ssn", "mrn", "phone", "email", "postal_code", "city", "street", "encounter",
        "policy_number", "subscriber_id", "insurance_number", "statement", "hash", "isolate", "history", "code",
        "patient", "title", "essex", "landline", "region_number", "statement_code", "x1", "is",
    ],
)  # fmt: skip
def test_these_may_have_many(name: str) -> None:
    assert not stands_for_few_values(name)


def test_no_template_indexes_one_of_them() -> None:
    indexed = [field.name for name in names() for field in template(name).fields if field.index != "none"]
    assert indexed
    assert not [name for name in indexed if stands_for_few_values(name)]
