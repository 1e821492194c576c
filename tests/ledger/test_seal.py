"""A seal holds under the key that it names, for the log that it was made for, and for nothing else."""

from __future__ import annotations

from wellkeep.base.secrets import Secret
from wellkeep.ledger.seal import Seal, SealKey

KEY, OTHER = SealKey("one", Secret(b"1" * 32)), SealKey("two", Secret(b"2" * 32))
LOG = "a.test/ledger/root"
LEAF, ROOT = b"l" * 32, b"r" * 32
SEAL = Seal(7, KEY.key_id, LEAF, ROOT, KEY.mac(origin=LOG, size=7, leaf=LEAF, root=ROOT))


def test_a_seal_holds_under_its_key_for_its_log() -> None:
    assert SEAL.holds(origin=LOG, keys={"one": KEY, "two": OTHER})
    assert not SEAL.holds(origin="b.test/ledger/root", keys={"one": KEY})
    for changed in (SEAL._replace(size=8), SEAL._replace(leaf=ROOT), SEAL._replace(root=LEAF)):
        assert not changed.holds(origin=LOG, keys={"one": KEY})


def test_a_key_that_we_do_not_have_or_another_one_holds_nothing() -> None:
    assert not SEAL.holds(origin=LOG, keys={})
    assert not SEAL.holds(origin=LOG, keys={"one": SealKey("one", Secret(b"2" * 32)), "two": OTHER})
