"""Signed notes and cosignatures: the examples of C2SP and Go verify, and nothing that is malformed or forged does."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.base.secrets import Secret
from wellkeep.crypto import notes
from wellkeep.crypto.errors import BadNote

SEED = Secret(bytes(range(32)))
OTHER = Secret(bytes(range(1, 33)))
NAME = "wellkeep.example/ledger/root"
TEXT = f"{NAME}\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SIGNER = notes.NoteSigner(name=NAME, seed=SEED)
VERIFIER = notes.NoteVerifier.from_vkey(SIGNER.vkey)
NOTE = SIGNER.sign(TEXT)
WITNESS = "witness.example/w1"
COSIGNED = NOTE + notes.cosign_v1(name=WITNESS, seed=OTHER, text=TEXT, timestamp=1_700_000_000)
WITNESS_PUBLIC = notes.NoteSigner(name=WITNESS, seed=OTHER).public
COSIGNER = notes.CosignatureVerifier(name=WITNESS, public=WITNESS_PUBLIC)

FOO = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
NEUMANN = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
EXAMPLES = {
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k": FOO,  # c2sp.org/signed-note
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW": NEUMANN,  # golang.org/x/mod/sumdb/note
}


def altered(name: str, raw: bytes) -> bytes:
    return f"— {name} {b64encode(raw).decode()}\n".encode()


def signature(note: bytes) -> bytes:
    return b64decode(note.split(b" ")[-1])


@pytest.mark.parametrize("vkey", EXAMPLES)
def test_the_examples_of_others_verify(vkey: str) -> None:
    note = EXAMPLES[vkey]
    verifier = notes.NoteVerifier.from_vkey(vkey)
    assert verifier.verify(note.encode()) == note[: note.index("\n\n") + 1]
    assert verifier.vkey == vkey == notes.vkey(verifier.name, verifier.public)


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=60), st.booleans())
def test_what_was_signed_verifies_and_gives_back_its_text(text: str, cosigned: bool) -> None:  # noqa: FBT001
    note = SIGNER.sign(text + "\n")
    if cosigned:
        note += notes.cosign_v1(name=WITNESS, seed=OTHER, text=text + "\n", timestamp=5)
        assert COSIGNER.verify(note) == 5
    assert VERIFIER.verify(note) == text + "\n"
    assert notes.split(note)[0] == text + "\n"


def test_a_text_may_hold_empty_lines_and_lines_that_look_like_signatures() -> None:
    text = "one\n\n\n" + NOTE.decode()
    assert VERIFIER.verify(SIGNER.sign(text)) == text


def test_lines_of_unknown_keys_are_passed_over_though_name_or_hash_is_known() -> None:
    raw = signature(NOTE)
    text = TEXT.encode() + b"\n"
    for line in (altered(NAME, b"\0\0\0\0" + raw[4:]), altered("other", raw), altered("other", b"12345")):
        assert VERIFIER.verify(NOTE + line) == TEXT
        assert VERIFIER.verify(text + line + altered(NAME, raw)) == TEXT
        with pytest.raises(BadNote, match="did not sign"):
            VERIFIER.verify(text + line)


def test_a_bad_signature_of_a_known_key_condemns_the_note_wherever_it_stands() -> None:
    raw = signature(NOTE)
    for bad in (raw[:-1], raw + b"\0", raw[:4] + bytes(64), raw[:-1] + bytes((raw[-1] ^ 1,)), raw[:5]):
        for note in (NOTE + altered(NAME, bad), TEXT.encode() + b"\n" + altered(NAME, bad) + altered(NAME, raw)):
            with pytest.raises(BadNote, match="does not verify"):
                VERIFIER.verify(note)
    with pytest.raises(BadNote, match="does not verify"):
        VERIFIER.verify(NOTE.replace(b"\n7\n", b"\n8\n"))


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        TEXT.encode() + b"\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE.replace(b"\n\n", b"\n"),
        NOTE.replace("— ".encode(), b"- "),
        NOTE.replace("— ".encode(), "—  ".encode()),
        NOTE.replace(b"wellkeep", b"well\rkeep"),
        NOTE.replace(b"wellkeep", b"well\tkeep"),
        NOTE.replace(b"wellkeep", b"well\0keep"),
        NOTE.replace(b"wellkeep", b"well\xffkeep"),
        NOTE.replace(b"wellkeep", b"well\xed\xa0\x80keep"),
        TEXT.encode() + b"\n" + altered("", b"12345"),
        TEXT.encode() + b"\n" + altered("a+b", b"12345"),
        TEXT.encode() + b"\n" + altered("a\u00a0b", b"12345"),
        TEXT.encode() + b"\n" + altered("a\u2028b", b"12345"),
        TEXT.encode() + b"\n" + altered("a", b"1234"),
        TEXT.encode() + b"\n" + altered("a", b""),
        NOTE.replace(b"=\n", b"\n"),
        NOTE[:-1] + b"=\n",
        NOTE[:-1] + b" \n",
        NOTE[:-1] + b"\xc3\xa9\n",
        TEXT.encode() + "\n— a MTIzNDV=\n".encode(),
        TEXT.encode() + "\n— a MTIzNDW=\n".encode() + "— a MTIzNDW\n".encode(),
        TEXT.encode() + "\n— a\n".encode(),
        TEXT.encode() + b"\n" + altered("a", b"12345") * 101,
        b"a" * 131_072 + NOTE,
    ],
)
def test_what_is_no_note_is_refused(note: bytes) -> None:
    with pytest.raises(BadNote):
        notes.split(note)
    with pytest.raises(BadNote):
        VERIFIER.verify(note)


def test_a_hundred_signatures_are_read() -> None:
    text, lines = notes.split(TEXT.encode() + b"\n" + altered("a", b"12345") * 100)
    assert text == TEXT
    assert lines == [notes.SignatureLine("a", b"1234", b"5")] * 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wellkeep",
        SIGNER.vkey + "=",
        SIGNER.vkey[:-1],
        SIGNER.vkey.replace("+", "-", 1),
        SIGNER.vkey.replace("wellkeep", "wellkept"),
        SIGNER.vkey.replace("wellkeep", "well keep"),
        SIGNER.vkey.replace(f"+{VERIFIER.key_hash.hex()}+", f"+{VERIFIER.key_hash.hex().upper()}+"),
        SIGNER.vkey.replace(f"+{VERIFIER.key_hash.hex()}+", "+00000000+"),
        SIGNER.vkey.replace(f"+{VERIFIER.key_hash.hex()}+", "++"),
        notes.vkey(NAME, SIGNER.public, algorithm=2),
        notes.vkey(NAME, SIGNER.public, algorithm=notes.COSIGNATURE_V1),
        f"{NAME}+{VERIFIER.key_hash.hex()}+{b64encode(bytes([1]) + SIGNER.public[:-1]).decode()}",
        f"{NAME}+{VERIFIER.key_hash.hex()}+",
        f"+{VERIFIER.key_hash.hex()}+{b64encode(bytes([1]) + SIGNER.public).decode()}",
    ],
)
def test_a_verifier_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        notes.NoteVerifier.from_vkey(text)


def test_a_cosignature_says_when_and_binds_the_text() -> None:
    assert COSIGNER.verify(COSIGNED) == 1_700_000_000
    assert VERIFIER.verify(COSIGNED) == TEXT
    assert notes.CosignatureVerifier.from_vkey(COSIGNER.vkey).verify(COSIGNED) == 1_700_000_000
    later = notes.cosign_v1(name=WITNESS, seed=OTHER, text=TEXT, timestamp=1_800_000_000)
    assert COSIGNER.verify(NOTE + later + COSIGNED.removeprefix(NOTE)) == 1_800_000_000
    with pytest.raises(BadNote, match="did not sign"):
        COSIGNER.verify(NOTE)
    with pytest.raises(BadNote, match="does not verify"):
        COSIGNER.verify(COSIGNED.replace(b"\n7\n", b"\n8\n"))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:11] + bytes((raw[11] ^ 1,)) + raw[12:],
        lambda raw: raw[:4] + b"\xff" + raw[5:],
        lambda raw: raw[:12],
        lambda raw: raw[:6],
        lambda raw: raw + b"\0",
    ],
)
def test_a_cosignature_of_another_time_or_length_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadNote):
        COSIGNER.verify(NOTE + altered(WITNESS, change(signature(COSIGNED))))


def test_a_signature_of_one_kind_does_not_pass_for_the_other() -> None:
    plain = notes.NoteSigner(name=WITNESS, seed=OTHER)
    with pytest.raises(BadNote, match="did not sign"):
        COSIGNER.verify(plain.sign(TEXT))
    with pytest.raises(BadNote, match="did not sign"):
        notes.NoteVerifier.from_vkey(plain.vkey).verify(COSIGNED)


@pytest.mark.parametrize("text", ["", "no line feed", "a\rb\n", "a\0\n", "a\x1f\n"])
def test_only_a_text_that_a_note_can_hold_is_signed(text: str) -> None:
    with pytest.raises(BadNote):
        SIGNER.sign(text)
    with pytest.raises(BadNote):
        notes.cosign_v1(name=WITNESS, seed=OTHER, text=text, timestamp=1)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\x01b", "a\u2003b", "\x85"])
def test_only_a_name_that_a_line_can_hold_is_taken(name: str) -> None:
    with pytest.raises(BadNote):
        notes.NoteSigner(name=name, seed=SEED)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(BadNote):
        notes.NoteSigner(name="a\ud800", seed=SEED)
    with pytest.raises(BadNote):
        notes.note(TEXT, "a\ud800", bytes(68))
    with pytest.raises(BadNote):
        SIGNER.sign("a\ud800\n")


@pytest.mark.parametrize("timestamp", [-1, 2**63])
def test_only_a_time_that_a_cosignature_can_hold_is_signed(timestamp: int) -> None:
    with pytest.raises(BadNote):
        notes.cosign_v1(name=WITNESS, seed=OTHER, text=TEXT, timestamp=timestamp)


def test_a_seed_and_a_public_key_have_32_bytes() -> None:
    with pytest.raises(BadNote):
        notes.NoteSigner(name=NAME, seed=Secret(bytes(31)))
    with pytest.raises(BadNote):
        notes.vkey(NAME, bytes(33))
