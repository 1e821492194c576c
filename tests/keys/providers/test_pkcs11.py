"""An HSM: keys that never leave it, a library that hangs or forks, a PIN that is wrong once."""

from __future__ import annotations

import asyncio
import builtins
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pkcs11
import pytest

from keys.providers.softhsm import MODULE, PIN, SoftHsm, soft_hsm
from local_keys import SCOPE
from wellkeep.base.errors import KeysRevoked, KeysUnavailable, Misconfigured
from wellkeep.keys import pkcs11 as driver
from wellkeep.keys.kms import KeyPurpose, key_context
from wellkeep.keys.pkcs11 import HsmKeys
from wellkeep.keys.pkcs11_token import Token

CONTEXT = key_context(SCOPE.deployment, KeyPurpose.DATA, 1)
PLAIN = os.urandom(32)


def keys(hsm: SoftHsm, **changes: Any) -> HsmKeys:
    told: dict[str, Any] = {"module": MODULE, "label": hsm.label, "pin": hsm.pin} | changes
    return HsmKeys(Token(**told), scope=SCOPE)


async def test_a_key_that_is_made_never_leaves_the_hsm(hsm: SoftHsm) -> None:
    await keys(hsm).make("made")

    def look(session: pkcs11.Session) -> dict[str, Any]:
        key = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label="made")
        asked = ("SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE", "ALWAYS_SENSITIVE", "PRIVATE", "LOCAL", "VALUE_LEN")
        with pytest.raises(pkcs11.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]
        return {name: key[pkcs11.Attribute[name]] for name in asked}

    seen = await Token(module=MODULE, label=hsm.label, pin=hsm.pin).run(look)
    assert seen == {
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "NEVER_EXTRACTABLE": True,
        "ALWAYS_SENSITIVE": True,
        "PRIVATE": True,
        "LOCAL": True,
        "VALUE_LEN": 32,
    }


@pytest.mark.parametrize(("bits", "extractable"), [(256, True), (128, False)])
async def test_a_key_that_could_leave_or_is_short_wraps_nothing(hsm: SoftHsm, bits: int, extractable: bool) -> None:  # noqa: FBT001
    label = f"unfit-{bits}-{extractable}".lower()

    def make(session: pkcs11.Session) -> None:
        template = {pkcs11.Attribute.EXTRACTABLE: extractable, pkcs11.Attribute.SENSITIVE: not extractable}
        session.generate_key(pkcs11.KeyType.AES, bits, label=label, store=True, template=template)

    await Token(module=MODULE, label=hsm.label, pin=hsm.pin).run(make)
    with pytest.raises(KeysUnavailable, match="never extractable"):
        await keys(hsm).wrap(PLAIN, label=label, context=CONTEXT)


async def test_two_keys_of_one_label_are_none(hsm: SoftHsm) -> None:
    def make(session: pkcs11.Session) -> None:
        for _ in range(2):
            template = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True}
            session.generate_key(pkcs11.KeyType.AES, 256, label="twice", store=True, template=template)

    await Token(module=MODULE, label=hsm.label, pin=hsm.pin).run(make)
    with pytest.raises(KeysUnavailable, match="two keys"):
        await keys(hsm).wrap(PLAIN, label="twice", context=CONTEXT)


@pytest.mark.parametrize("missing", ["module", "token", "pin"])
async def test_what_is_not_there_is_unavailable_and_not_revoked(hsm: SoftHsm, tmp_path: Path, missing: str) -> None:
    changes = {"module": tmp_path / "none.so"} if missing == "module" else {}
    changes |= {"label": "elsewhere"} if missing == "token" else {}  # type: ignore[dict-item]
    changes |= {"pin": tmp_path / "none", "label": "another"} if missing == "pin" else {}  # type: ignore[dict-item]
    with pytest.raises(KeysUnavailable):
        await keys(hsm, **changes).wrap(PLAIN, label="made", context=CONTEXT)


def test_a_refused_pin_is_not_tried_again_until_the_file_holds_another(hsm: SoftHsm, tmp_path: Path) -> None:
    """Three tries lock a token: what is wrong with one deployment's file must not lock everybody out."""
    locked = soft_hsm(hsm.directory, "locking")
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from wellkeep.base.errors import KeysRevoked\n"
        "from wellkeep.keys.pkcs11_token import Token\n"
        "async def main():\n"
        "    pin = Path(sys.argv[3])\n"
        "    token = Token(module=Path(sys.argv[1]), label=sys.argv[2], pin=pin)\n"
        "    pin.write_text('000000')\n"
        "    for _ in range(12):\n"
        "        try:\n"
        "            await token.run(lambda session: None)\n"
        "        except KeysRevoked:\n"
        "            continue\n"
        "        raise SystemExit('it was let in')\n"
        "    pin.write_text(sys.argv[4])\n"
        "    await token.run(lambda session: None)\n"
        "    print('in')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(  # noqa: S603 -- this interpreter
        [sys.executable, "-c", script, str(MODULE), locked.label, str(locked.pin), PIN],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "in"), done.stderr


async def test_a_library_that_hangs_keeps_nobody_waiting_and_piles_nothing_up(hsm: SoftHsm) -> None:
    token = Token(module=MODULE, label=hsm.label, pin=hsm.pin, seconds=1.0)
    await token.run(_nothing)
    began = time.monotonic()
    hanging = [asyncio.create_task(token.run(_hangs))]
    hanging += [asyncio.create_task(token.run(_nothing)) for _ in range(100)]
    ended = await asyncio.gather(*hanging, return_exceptions=True)
    assert time.monotonic() - began < 3.5
    assert all(isinstance(one, KeysUnavailable) for one in ended)
    await asyncio.sleep(4.0)
    await token.run(_nothing)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_session_that_broke_is_opened_anew(hsm: SoftHsm) -> None:
    """What was searched with the broken one complains once more when it is let go of, where nobody can catch it."""
    own = keys(hsm)
    await own.make("again")
    blob = await own.wrap(PLAIN, label="again", context=CONTEXT)
    await Token(module=MODULE, label=hsm.label, pin=hsm.pin).run(lambda session: session.close())
    assert await own.unwrap(blob, label="again", context=CONTEXT) == PLAIN


def test_a_forked_process_speaks_to_the_hsm_by_itself(hsm: SoftHsm) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from uuid import UUID\n"
        "from wellkeep.keys.pkcs11 import HsmKeys\n"
        "from wellkeep.keys.pkcs11_token import Token\n"
        "from wellkeep.keys.scope import Scope\n"
        "keys = HsmKeys(Token(module=Path(sys.argv[1]), label=sys.argv[2], pin=Path(sys.argv[3])),\n"
        "    scope=Scope(UUID(int=1), 'test'))\n"
        "context = {'tenant': '00' * 16, 'purpose': 'DATA', 'epoch': '1'}\n"
        "async def make():\n"
        "    await keys.make('forked')\n"
        "    return await keys.wrap(bytes(32), label='forked', context=context)\n"
        "blob = asyncio.run(make())\n"
        "async def open_it():\n"
        "    for _ in range(20):\n"
        "        assert await keys.unwrap(blob, label='forked', context=context) == bytes(32)\n"
        "children = []\n"
        "for _ in range(4):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        "            asyncio.run(open_it())\n"
        "        except BaseException as error:\n"
        "            print(repr(error), file=sys.stderr, flush=True)\n"
        "            os._exit(1)\n"
        "        os._exit(0)\n"
        "    children.append(child)\n"
        "asyncio.run(open_it())\n"
        "sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))\n"
    )
    done = subprocess.run(  # noqa: S603 -- this interpreter
        [sys.executable, "-c", script, str(MODULE), hsm.label, str(hsm.pin)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


async def test_a_decryption_that_fails_for_the_hsms_own_reasons_is_not_called_tampering(hsm: SoftHsm) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise pkcs11.GeneralError

    with pytest.raises(pkcs11.GeneralError):  # the token's thread makes KeysUnavailable of it
        driver._decrypt(SimpleNamespace(encrypt=broken, decrypt=broken), bytes(48), bytes(12), b"")
    twisted = SimpleNamespace(encrypt=lambda *_, **__: bytes(48), decrypt=_turns(broken, lambda *_, **__: bytes(32)))
    with pytest.raises(KeysUnavailable):
        driver._decrypt(twisted, bytes(48), bytes(12), b"")
    probed: list[bytes] = []

    def encrypt(plain: bytes, **__: object) -> bytes:
        probed.append(plain)
        return bytes(48)

    passing = SimpleNamespace(
        encrypt=encrypt, decrypt=_turns(broken, lambda *_, **__: probed[0], lambda *_, **__: PLAIN)
    )
    assert driver._decrypt(passing, bytes(48), bytes(12), b"") == PLAIN, "a fault that has passed"


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pkcs11":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setitem(sys.modules, "pkcs11", None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Misconfigured, match=r"wellkeep\[pkcs11\]"):
        Token(module=tmp_path / "x.so", label="t", pin=tmp_path / "pin")


async def test_a_key_that_was_destroyed_by_another_is_revoked_at_once(hsm: SoftHsm) -> None:
    own, theirs = keys(hsm), keys(hsm)
    await own.make("gone")
    blob = await own.wrap(PLAIN, label="gone", context=CONTEXT)
    await theirs.destroy("gone")
    with pytest.raises(KeysRevoked):
        await own.unwrap(blob, label="gone", context=CONTEXT)


def _turns(*acts: Any) -> Any:
    left = list(acts)

    def act(*given: Any, **named: Any) -> Any:
        return left.pop(0)(*given, **named)

    return act


def _nothing(_: pkcs11.Session) -> None:
    """Do nothing in the token's thread."""


def _hangs(_: pkcs11.Session) -> None:
    time.sleep(4.0)
