"""A wrapped key opens under its wrapping key and for its context alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.crypto import wrap
from wellkeep.crypto.errors import CryptoError, Malformed, WrongKey

KEK = wrap.WrapKey(bytes(range(32)))
SECRET = b"s" * 32
TENANT, SUBJECT, KID = b"T" * 16, b"S" * 16, b"K" * 16
CONTEXT = wrap.subject_key_context(tenant=TENANT, subject=SUBJECT, generation=1, kid=KID)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_wrap_and_unwrap(kek: bytes, secret: bytes, context: bytes) -> None:
    wrapped = wrap.WrapKey(kek).wrap(secret, context=context)
    assert len(wrapped) == wrap.WRAPPED_SIZE
    assert wrap.WrapKey(kek).unwrap(wrapped, context=context) == secret


def test_wraps_never_repeat() -> None:
    assert len({KEK.wrap(SECRET, context=CONTEXT) for _ in range(200)}) == 200


def test_another_key_or_context_is_refused() -> None:
    wrapped = KEK.wrap(SECRET, context=CONTEXT)
    others = [
        wrap.subject_key_context(tenant=b"t" * 16, subject=SUBJECT, generation=1, kid=KID),
        wrap.subject_key_context(tenant=TENANT, subject=b"s" * 16, generation=1, kid=KID),
        wrap.subject_key_context(tenant=TENANT, subject=SUBJECT, generation=2, kid=KID),
        wrap.subject_key_context(tenant=TENANT, subject=SUBJECT, generation=1, kid=b"k" * 16),
        b"",
    ]
    for context in others:
        with pytest.raises(WrongKey):
            KEK.unwrap(wrapped, context=context)
    with pytest.raises(WrongKey):
        wrap.WrapKey(b"x" * 32).unwrap(wrapped, context=CONTEXT)


def test_every_flipped_bit_and_every_length_is_refused() -> None:
    wrapped = KEK.wrap(SECRET, context=CONTEXT)
    touched = [
        bytes(b ^ (1 << bit if i == at else 0) for i, b in enumerate(wrapped)) for at in range(63) for bit in (0, 7)
    ]
    for wrong in touched + [wrapped[:n] for n in range(63)] + [wrapped + b"\x00"]:
        with pytest.raises(CryptoError):
            KEK.unwrap(wrong, context=CONTEXT)


def test_tenant_contexts_are_canonical_and_distinct() -> None:
    context = wrap.tenant_key_context(
        deployment=SUBJECT, environment="production", tenant=TENANT, purpose="WRAP", epoch=1
    )
    assert context == (
        b'{"deployment":"' + SUBJECT.hex().encode() + b'","environment":"production","epoch":1,"purpose":"WRAP",'
        b'"tenant":"' + TENANT.hex().encode() + b'"}'
    )


def test_contexts_of_the_wrong_width_are_refused() -> None:
    with pytest.raises(Malformed):
        KEK.wrap(b"short", context=CONTEXT)
    for ids in ({"tenant": b"short", "deployment": SUBJECT}, {"tenant": TENANT, "deployment": b"short"}):
        with pytest.raises(Malformed):
            wrap.tenant_key_context(environment="production", purpose="WRAP", epoch=1, **ids)
    for generation in (-1, 2**32):
        with pytest.raises(Malformed):
            wrap.subject_key_context(tenant=TENANT, subject=SUBJECT, generation=generation, kid=KID)
    for wrong in ({"tenant": b"t"}, {"subject": b"s"}, {"kid": b"k"}):
        parts = {"tenant": TENANT, "subject": SUBJECT, "kid": KID} | wrong
        with pytest.raises(Malformed):
            wrap.subject_key_context(generation=1, **parts)
