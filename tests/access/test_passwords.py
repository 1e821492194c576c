"""Passwords: what is hashed of them, which are refused, and that a flood of them waits outside."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellkeep.access import passwords as module
from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.breached import Breached
from wellkeep.access.passwords import Hashed, Passwords
from wellkeep.base.errors import IntegrityBroken, Misconfigured, Unavailable, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.keys.deployment import DeploymentKey

OLDER, NEWER = (DeploymentKey("00", epoch, Secret(os.urandom(32))) for epoch in (1, 2))


def made(*keys: DeploymentKey, cost: int = 4) -> Passwords:
    return Passwords(AccountSecrets(keys or (OLDER,)), cost=cost, breached=Breached())


@pytest.fixture
def hasher() -> Iterator[Passwords]:
    """Hash at bcrypt's own lowest cost: what it costs is not what these tests are about."""
    one = made()
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("password", "other"),
    [
        ("x" * 72 + "a", "x" * 72 + "b"),
        ("twelve\x00letters a", "twelve\x00letters b"),
        ("x" * 1024, "x" * 1023),
        ("grüße aus wien", "grusse aus wien"),
        ("\U0001f600" * 12, "\U0001f600" * 13),
    ],
)
async def test_nothing_of_a_password_is_cut_off(hasher: Passwords, password: str, other: str) -> None:
    stored = await hasher.hash(password)
    assert await hasher.matches(password, stored)
    assert not await hasher.matches(other, stored)


async def test_the_same_letters_typed_another_way_are_the_same(hasher: Passwords) -> None:
    stored = await hasher.hash("gru\u0308\u00dfe aus Zu\u0308rich")
    assert await hasher.matches("gr\u00fc\u00dfe aus Z\u00fcrich", stored)


async def test_a_stolen_hash_is_worth_nothing_without_the_pepper(hasher: Passwords) -> None:
    stored = await hasher.hash("four words nobody says")
    for guess in (b"four words nobody says", hashlib.sha384(b"four words nobody says").digest()):
        assert not bcrypt.checkpw(guess, stored.hash.encode())
    thief = Passwords(AccountSecrets((NEWER,)), cost=4, breached=Breached())
    assert not await thief.matches("four words nobody says", Hashed(stored.hash, 2))
    with pytest.raises(IntegrityBroken):
        await thief.matches("four words nobody says", stored)
    thief.stop()


async def test_an_older_pepper_still_checks_and_is_out_of_date(hasher: Passwords) -> None:
    stored = await hasher.hash("four words nobody says")
    newer = made(NEWER, OLDER)
    assert await newer.matches("four words nobody says", stored)
    assert newer.outdated(stored)
    assert not newer.outdated(await newer.hash("four words nobody says"))
    newer.stop()


async def test_who_is_not_there_costs_the_same_hash(hasher: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(fed: bytes, kept: bytes) -> bool:
        checked.append(kept[:7])
        return real(fed, kept)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    assert not await hasher.matches("four words nobody says", None)
    await hasher.matches("four words nobody says", await hasher.hash("another one"))
    assert checked == [b"$2b$04$", b"$2b$04$"]


async def test_a_flood_waits_outside_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    hasher = made(cost=9)
    results = await asyncio.gather(*(hasher.matches("x", None) for _ in range(20)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, Unavailable)]
    assert (len(refused), len(results) - len(refused)) == (16, 4)
    assert refused[0].retry_after == 2
    assert await hasher.matches("x", None) is False, "and then it takes some again"
    hasher.stop()
    with pytest.raises(Unavailable):
        await hasher.hash("x")


async def test_who_leaves_gives_the_place_back_when_the_thread_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 0)
    hasher = made(cost=9)
    asked = asyncio.create_task(hasher.matches("x", None))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert hasher._under_way == 1
    for _ in range(3000):
        if hasher._under_way == 0:
            break
        await asyncio.sleep(0.01)
    assert hasher._under_way == 0
    hasher.stop()


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("elevenchars", "too-short"),
        ("e\u0301" * 11, "too-short"),
        ("x" * 1025, "too-long"),
        ("passwordpassword", "password-weak"),
        ("Password12345!", "password-weak"),
        ("p4ssw0rd-2026!!", "password-weak"),
        ("Sunshine-2024!", "password-weak"),
        ("aaaaaaaaaaaaaa", "password-weak"),
        ("abcabcabcabcabc", "password-weak"),
        ("abcdefghijklmnop", "password-weak"),
        ("987654321098", "password-weak"),
        ("qwertyuiop1234", "password-weak"),
        ("wellkeep-2026!", "password-weak"),
        ("Robin.Doe 2026", "password-weak"),
        ("robin@example.org", "password-weak"),
        ("St Elsewhere #1", "password-weak"),
    ],
)
async def test_what_others_try_first_is_refused(hasher: Passwords, password: str, code: str) -> None:
    if code == "too-short" and len(password) > 11:
        assert len(password) == 22, "counted after NFC"
    about = ("robin@example.org", "Robin Doe", "st-elsewhere")
    with pytest.raises(Validation) as refused:
        await hasher.check(password, about=about)
    assert [(one.path, one.code) for one in refused.value.fields] == [("/password", code)]
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    ["four words nobody says", "all lower case letters", "Tr0ub4dor&3 and more", "ЯмногоЗнаюСлов", "x9!" * 5 + "q"],
)
async def test_no_rule_about_kinds_of_letters(hasher: Passwords, password: str) -> None:
    await hasher.check(password, about=("robin@example.org", "Robin Doe", "st-elsewhere"))


def leaked(folder: Path, *words: str, end: str = "\n") -> Path:
    lines = sorted(f"{hashlib.sha1(word.encode()).hexdigest().upper()}:{len(word)}" for word in words)  # noqa: S324
    path = folder / "leaked.txt"
    path.write_text(end.join(lines) + end)
    return path


@given(
    words=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=60, unique=True),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=40)
def test_the_file_of_leaked_ones_holds_what_it_holds(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], end: str
) -> None:
    encodable = [word for word in words if word.isprintable()]
    kept, others = encodable[: len(encodable) // 2 + 1], encodable[len(encodable) // 2 + 1 :]
    if not kept:
        return
    file = Breached(leaked(tmp_path_factory.mktemp("leaked"), *kept, end=end))._file
    assert file is not None
    assert all(file.holds(word) for word in kept)
    assert not any(file.holds(word) for word in others)
    file.close()


async def test_a_leaked_password_is_refused_and_a_file_of_something_else_stops_the_start(tmp_path: Path) -> None:
    one = "quite a good one, had it not leaked"
    knows = Breached(leaked(tmp_path, one, "another", "third"))
    assert knows.knows(one)
    assert not knows.knows(one + "!")
    other = tmp_path / "other.txt"
    other.write_text("hello\n")
    for wrong in (other, tmp_path / "none.txt"):
        with pytest.raises(Misconfigured):
            Breached(wrong)


def test_secrets_are_bound_to_whom_they_are_of() -> None:
    keeper, tenant, person = AccountSecrets((NEWER, OLDER)), uuid7(), uuid7()
    before = AccountSecrets((OLDER,))
    sealed, factor = before.seal(b"x" * 20, tenant=tenant, factor=person), person
    assert keeper.open(sealed, tenant=tenant, factor=factor) == b"x" * 20
    for place in ({"tenant": tenant, "factor": uuid7()}, {"tenant": uuid7(), "factor": factor}):
        with pytest.raises(IntegrityBroken):
            keeper.open(sealed, **place)
    with pytest.raises(IntegrityBroken):
        before.open(keeper.seal(b"x" * 20, tenant=tenant, factor=factor), tenant=tenant, factor=factor)
    cookie = before.device(tenant=tenant, person=person)
    assert keeper.device_of(cookie, tenant=tenant, person=person) == cookie.split(".")[1]
    assert keeper.device_of(cookie, tenant=tenant, person=uuid7()) is None
    assert keeper.device_of(cookie.replace("1.", "9.", 1), tenant=tenant, person=person) is None
    for wrong in (None, "", "x", cookie + "0", "1." + "0" * 32 + "." + "0" * 64):
        assert keeper.device_of(wrong, tenant=tenant, person=person) is None
