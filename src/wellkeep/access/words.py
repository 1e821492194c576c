"""What people say in their own words: why they stepped in, why a glass was broken, what a review found.

Rules: such a text may name a patient, so it is kept sealed, beside what it is about, and the entry holds its hash. It
says something: a few words at the least. One that does not open, or is not the one that was said, is shown to nobody
and noted as a finding; the rest of a list is shown all the same. The threat is a reason that is none, or was put there
afterwards.
"""

from __future__ import annotations

import unicodedata
from typing import Final
from uuid import UUID

from wellkeep.base.errors import FieldProblem, IntegrityBroken, Validation
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.keys.reasons import MOST_LETTERS, Reasons, SealedReason

FEWEST_WORDS: Final = 3
FEWEST_LETTERS: Final = 10
_UNSPOKEN: Final = frozenset({"Cc", "Cs"})
_TURNING: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Bidirectional controls: with them a text reads otherwise than it is."""


class Words:
    """Seals and opens what people say."""

    def __init__(self, *, reasons: Reasons, findings: Findings) -> None:
        """Seal with `reasons`; what does not open is told to `findings`."""
        self._reasons = reasons
        self._findings = findings

    def seal(self, text: str, *, tenant: UUID, about: UUID, place: str) -> SealedReason:
        """Return `text` sealed as said about a thing of `tenant`; Validation at `place` where it says nothing."""
        said = text.split()
        if len(said) < FEWEST_WORDS or sum(map(len, said)) < FEWEST_LETTERS:
            raise Validation("Say why, in a few words", fields=(FieldProblem(place, "too-short"),))
        if len(text.strip()) > MOST_LETTERS or any(_is_unspoken(one) for one in text):
            raise Validation("Say why, in a few words", fields=(FieldProblem(place, "malformed"),))
        return self._reasons.seal(text, tenant=tenant, event=about)

    def shown(self, sealed: bytes | None, *, digest: bytes | None, tenant: UUID, about: UUID) -> str | None:
        """Return what was said, or None where it was erased, or is not what was said."""
        if sealed is None or digest is None:
            return None
        try:
            return self._reasons.open(sealed, tenant=tenant, event=about, digest=digest)
        except IntegrityBroken:
            self._findings.note(
                tenant,
                kind=Kind.INTEGRITY_BROKEN,
                severity=Severity.HIGH,
                key=finding_key(Kind.INTEGRITY_BROKEN, "words", about),
                detail={"what": "words"},
            )
            return None


def _is_unspoken(letter: str) -> bool:
    """Say whether nobody says this: a control other than a new line, half a letter, or what turns the text around."""
    if letter == "\n":
        return False
    return unicodedata.category(letter) in _UNSPOKEN or unicodedata.bidirectional(letter) in _TURNING
