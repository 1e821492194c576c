"""`wellkeep prove` on the package as it is: every claim with a probe holds, and programs can read the answer.

What wellkeep stands on is another matter: whether this machine's disks are encrypted is not the package's to say, and a
deployment without a key service has its root key in a file.
"""

from __future__ import annotations

import pytest

from prove.controlled import controls, copied
from wellkeep.prove.claims import load_claims
from wellkeep.prove.registry import PROBES

STANDS_ON_THE_MACHINE = {"rest.volumes", "rest.tenant_keys"}


@pytest.mark.timeout(1300)
def test_every_claim_with_a_probe_holds() -> None:
    """One run of all probes: exit 0, no claim failed or unknown, nothing on stdout but the evidence."""
    with copied() as copy:
        ended = copy.prove(copy.init())
    steps = [(claim, step) for claim, one in ended.evidence().items() for step in one["steps"] if not step["held"]]
    assert not [(claim, step) for claim, step in steps if step["ours"] or claim not in STANDS_ON_THE_MACHINE]
    assert ended.code == 0, ended.err
    states = {claim: one["state"] for claim, one in ended.evidence().items()}
    assert states.keys() == PROBES.keys()
    on_machine = {states.pop(claim) for claim in STANDS_ON_THE_MACHINE}
    assert on_machine <= {"proven", "not met here"}
    assert set(states.values()) <= {"proven", "partial"}, states
    assert all((states[claim] == "partial") == bool(ended.evidence()[claim]["missing"]) for claim in states)
    assert "warning" not in ended.err


def test_each_probe_is_for_a_claim_and_has_a_negative_control() -> None:
    assert PROBES.keys() <= load_claims().keys()
    assert {control.claim for control in controls() if not control.soak} == PROBES.keys()


def test_each_control_still_fits_the_source() -> None:
    """`old` stands exactly once: a control that no longer applies would control nothing."""
    for control in controls():
        text = control.source.read_text("utf-8")
        assert text.count(control.old) == 1, control.id
