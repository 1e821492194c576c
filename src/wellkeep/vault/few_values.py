"""Names that in health data stand for fields with few values, which are never indexed.

Rule: a name is taken apart into what it says (`patient_gender_code` says gender; `birthSex`, `birth_sex` and `birthsex`
say the same) and looked up: FHIR R4 and US Core elements, HL7 v2 and X12 names, and what people call the same things in
the languages of the countries where wellkeep is used. It can't know every name: a field with few values that is called
otherwise is found by its tags, once a week (`wellkeep index leak`).
"""

from __future__ import annotations

import re
from typing import Final

_BEFORE: Final = frozenset(
    {"patient", "person", "subject", "member", "client", "subscriber", "us", "core", "my", "the"}
)
_AFTER: Final = frozenset(
    {"code", "codes", "cd", "key", "value", "text", "display", "concept", "coding", "category", "type", "flag"}
)
_ASKS: Final = frozenset({"is", "has", "was", "had", "ist", "hat", "est"})
"""What a yes or no begins with."""

_ENGLISH: Final = """
abo, active, activity status, admission source, admission type, admit source, admit type, age, age band, age group,
administrative gender, administrative sex, alcohol, alcohol use, alive, birth month, birth order, birth sex, blood
group, blood type, citizen, citizenship, civil status, clinical status, consent, continent, country, coverage,
criticality, dead, death, deceased, disability, disability status, discharge disposition, disposition, education,
education level, employment, employment status, encounter class, encounter status, eligibility, ethnic group,
ethnicity, eye color, eye colour, financial class, gender, gender identity, gender marker, hair color, handedness,
hiv, hiv status, housing status, immigration status, income band, insurance, insurance class, insurance
interpretation, interpreter, interpreter needed, language, laterality, legal sex, living, living arrangement, living
will, marital, marital status, military status, month, mortality, mortality risk, multiple birth, nationality,
occupation class, organ donor, outcome, patient class, payer, payor, plan, preferred language, pregnancy status,
pregnant, primary language, priority, pronouns, province, race, record status, recorded sex, recreational drug use,
region, relationship, religion, rh, rh factor, rhesus, risk, risk class, risk group, risk level, season,
severity, sex, sex assigned at birth, sex at birth, sex for clinical use, sexual orientation, sexuality, smoker,
smoking, smoking status, spoken language, state, status, student status, substance use, tobacco,
tobacco use, triage, tribal affiliation, urgency, us state, vaccinated, verification status, veteran, veteran status,
vip, vital status, weekday, year of birth, birth year, yob, zip3
"""
_OTHERS: Final = """
alter, altersgruppe, anrede, bundesland, behinderung, blutgruppe, ethnie, familienstand, geburtsgeschlecht,
geburtsmonat, geschlecht, geschlechtsidentitaet, konfession, krankenkasse, land, landessprache, muttersprache,
nationalitaet, raucher, religionszugehoerigkeit, schwanger, sprache, staat, staatsangehoerigkeit, verstorben,
versicherungsart, zivilstand, age groupe, civilite, deces, decede, etat civil, fumeur, genre, groupe sanguin,
handicap, langue, langue maternelle, nationalite, orientation sexuelle, pays, pronom, sexe, situation familiale,
statut, statut marital, tranche age, ciudadania, discapacidad, edad, embarazada, estado, estado civil, etnia,
etnicidad, fallecido, fumador, genero, grupo sanguineo, idioma, identidad de genero, lengua, nacionalidad, orientacion
sexual, pais, raza, religiao, sexo, tipo sanguineo, falecido, idade, nacionalidade, raca, raca cor, situacao
conjugal, cittadinanza, deceduto, eta, fumatore, genere, gruppo sanguigno, lingua, nazionalita, orientamento sessuale,
paese, razza, sesso, stato civile, burgerlijke staat, geslacht, leeftijd, nationaliteit, overleden, taal, kjonn,
koen, civilstand, plec, stan cywilny, narodowosc, pohlavi, sukupuoli, pohlavie, cinsiyet, medeni hal
"""


def _compact(words: str) -> frozenset[str]:
    return frozenset("".join(one.split()) for one in words.replace("\n", " ").split(",") if one.strip())


_FEW: Final = _compact(_ENGLISH) | _compact(_OTHERS)
_WORDS: Final = re.compile(r"[a-z]+|[0-9]+")


def stands_for_few_values(name: str) -> bool:
    """Say whether a field of this name has few values, as far as its name tells."""
    words = _WORDS.findall(name.lower())
    if len(words) > 1 and words[0] in _ASKS:
        return True
    while words:
        if "".join(words) in _FEW:
            return True
        if words[-1] in _AFTER or words[-1].isdecimal():
            words = words[:-1]
        elif words[0] in _BEFORE:
            words = words[1:]
        else:
            return False
    return False
