"""What is known of the ledger apart from its database: keys, what this host remembers and verified, what anchors hold.

Rule: whatever was seen of a log before binds it: the log must still have that root at that size. It is read before the
state that is verified, for the ledger goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.merkle import Frontier
from wellkeep.crypto.notes import split
from wellkeep.ledger.accounts import accounted
from wellkeep.ledger.anchors.gathering import AnchoredNote
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, parse
from wellkeep.ledger.growth import Claim
from wellkeep.ledger.report import Bad, State, What
from wellkeep.ledger.seal import SealKey, log_of, origin
from wellkeep.ledger.splice import Head
from wellkeep.ledger.told import Span

NO_HOST: Final = "localhost"
"""Named where a ledger has no head left that says its name: what stands outside of it is missed all the same."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the ledger apart from the database: keys, what this host remembers, what anchors hold.

    Without `signers` no signature is checked. `verified` are logs as they were found to hold before: the walk goes on
    from there, and a log that is not a continuation of that is bad.
    """

    keys: Mapping[str, SealKey]
    signers: Sequence[CheckpointSigner] | None = None
    remembered: Mapping[str, Checkpoint] = field(default_factory=dict)
    anchored: Sequence[AnchoredNote] = ()
    verified: Mapping[str, State] = field(default_factory=dict)


def claims_on(
    heads: Sequence[Head], known: Known, *, tenant: UUID | None, lost: Sequence[Span] = ()
) -> tuple[dict[str, list[Claim]], list[Bad]]:
    """Return what is known of each log by its origin, and the logs that are known of and not there.

    What was `lost` on record is left out: another history may stand outside than the one that is here.
    """
    claims: dict[str, list[Claim]] = {head.origin: [] for head in heads}
    sizes = {head.origin: head.size for head in heads}
    bad = {}
    for name, claim in _known(known, heads):
        if tenant is not None and log_of(name)[0] != tenant:
            continue
        if accounted(log_of(name), claim, lost):
            continue
        if name not in claims:
            bad[name] = Bad(name, 0, claim.what)
        elif claim.root or claim.size > sizes[name]:
            claims[name].append(claim)
    return claims, list(bad.values())


def _known(known: Known, heads: Iterable[Head]) -> Iterator[tuple[str, Claim]]:
    for name, checkpoint in known.remembered.items():
        yield name, Claim(checkpoint.size, checkpoint.root, What.REMEMBERED)
    for name, state in known.verified.items():
        root = Frontier(size=state.size, hashes=state.frontier).root()
        yield name, Claim(state.size, root, What.REMEMBERED)
    host = next((head.origin.partition("/ledger/")[0] for head in heads), NO_HOST)
    for one in known.anchored:
        if one.note is not None:
            found = parse(split(one.note)[0])
            yield found.origin, Claim(found.size, found.root, What.ANCHOR)
        else:
            yield origin(host, PLATFORM_TENANT, one.epoch), Claim(one.size, b"", What.ANCHOR)
