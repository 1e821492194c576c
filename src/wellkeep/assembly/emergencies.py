"""What is done past the usual limits, in one place: stepping into an account, and breaking a glass."""

from __future__ import annotations

from dataclasses import dataclass

from wellkeep.access.break_glass import BreakGlass
from wellkeep.access.glass_reviews import GlassReviews
from wellkeep.access.impersonation import Impersonations
from wellkeep.access.impersonation_permits import ImpersonationPermits
from wellkeep.access.words import Words
from wellkeep.assembly.emergency_patient import EmergencyPatients
from wellkeep.keys.reasons import Reasons
from wellkeep.vault.context import Context


@dataclass(frozen=True, slots=True)
class Emergencies:
    """The services of impersonation and break-glass."""

    impersonations: Impersonations
    permits: ImpersonationPermits
    glass: BreakGlass
    reviews: GlassReviews
    patients: EmergencyPatients


def open_emergencies(context: Context, *, reasons: Reasons) -> Emergencies:
    """Return the services over the vault's `context`; `reasons` seals what people say."""
    words = Words(reasons=reasons, findings=context.findings)
    return Emergencies(
        impersonations=Impersonations(gate=context.gate, words=words),
        permits=ImpersonationPermits(gate=context.gate),
        glass=BreakGlass(gate=context.gate, words=words, findings=context.findings),
        reviews=GlassReviews(gate=context.gate, words=words),
        patients=EmergencyPatients(context),
    )
