"""Purposes of use, with the codes of HL7 v3 PurposeOfUse (and BTG, break the glass)."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """Why PHI is looked at."""

    TREATMENT = "TREAT"
    PAYMENT = "HPAYMT"
    OPERATIONS = "HOPERAT"
    RESEARCH = "HRESCH"
    PATIENT_REQUEST = "PATRQT"
    EMERGENCY_TREATMENT = "ETREAT"
    BREAK_GLASS = "BTG"
    PUBLIC_HEALTH = "PUBHLTH"
    SYSTEM_ADMINISTRATION = "SYSADMIN"
