"""What sealing costs: wk1 against bare AES-GCM, and beside it what else one could have taken.

Ratio = bare time / our time for sealing and opening 32-byte values; 1.0 is as fast as bare. Ours does everything: type,
padding, AAD, header checks. The bare twin is the least that code with the same guarantees of place could do: one AESGCM
object for the whole run, the same AAD made for the field, a `urandom(12)` a field, nonce and ciphertext kept as one
value, no type, no padding, no key id, no checks. `*_handed` is harder still: the AAD lies ready and the nonce never
leaves the function, which no store of fields can do. CPU time, rounds interleaved, the best of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from struct import Struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wellkeep.crypto import envelope
from wellkeep.crypto.keys import SubjectKey

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from crypto import spec_reader  # noqa: E402 - the reader written from the specification lies with the tests

FIELDS = 20
ROUNDS = int(os.environ.get("WELLKEEP_BENCH_ROUNDS", "1500"))
COLLECTION = 7
SECRET, TENANT, RECORD, VALUE = os.urandom(32), os.urandom(16), os.urandom(16), os.urandom(32)
KEY = SubjectKey(SECRET)
ITEMS = [(field, 1, VALUE, False) for field in range(1, FIELDS + 1)]
FIELD_IDS = [field for field, _, _, _ in ITEMS]
BARE = AESGCM(os.urandom(32))
AAD = Struct(">20s16sII16s").pack
HEADER = KEY.header
AADS = [AAD(HEADER, TENANT, COLLECTION, field, RECORD) for field, _, _, _ in ITEMS]


def our_field() -> envelope.Opened:
    sealed = envelope.seal_one(KEY, ITEMS[0], tenant=TENANT, collection=COLLECTION, record=RECORD)
    return envelope.open_one(KEY, (1, sealed), tenant=TENANT, collection=COLLECTION, record=RECORD)


def our_record() -> list[envelope.Opened]:
    sealed = envelope.seal_record(KEY, tenant=TENANT, collection=COLLECTION, record=RECORD, items=ITEMS)
    stored = zip(FIELD_IDS, sealed, strict=True)
    return envelope.open_record(KEY, tenant=TENANT, collection=COLLECTION, record=RECORD, items=stored)


def bare_field() -> bytes:
    nonce = os.urandom(12)
    sealed = nonce + BARE.encrypt(nonce, VALUE, AAD(HEADER, TENANT, COLLECTION, 1, RECORD))
    return BARE.decrypt(sealed[:12], sealed[12:], AAD(HEADER, TENANT, COLLECTION, 1, RECORD))


def bare_record() -> list[bytes]:
    stored = []
    for field, _, value, _ in ITEMS:
        nonce = os.urandom(12)
        sealed = nonce + BARE.encrypt(nonce, value, AAD(HEADER, TENANT, COLLECTION, field, RECORD))
        stored.append((field, sealed))
    return [
        BARE.decrypt(sealed[:12], sealed[12:], AAD(HEADER, TENANT, COLLECTION, field, RECORD))
        for field, sealed in stored
    ]


def handed_field() -> bytes:
    nonce = os.urandom(12)
    return BARE.decrypt(nonce, BARE.encrypt(nonce, VALUE, AADS[0]), AADS[0])


def handed_record() -> list[bytes]:
    stored = []
    for aad in AADS:
        nonce = os.urandom(12)
        stored.append((nonce, BARE.encrypt(nonce, VALUE, aad), aad))
    return [BARE.decrypt(nonce, sealed, aad) for nonce, sealed, aad in stored]


def best(functions: list[Callable[[], object]], loops: dict[str, int]) -> dict[str, float]:
    """Return the best CPU seconds a call, over interleaved rounds."""
    result = {function.__name__: float("inf") for function in functions}
    for _ in range(ROUNDS):
        for function in functions:
            count = loops[function.__name__]
            function()
            start = time.process_time_ns()
            for _ in range(count):
                function()
            taken = (time.process_time_ns() - start) / count / 1e9
            result[function.__name__] = min(result[function.__name__], taken)
    return result


def check() -> None:
    """Make sure that what is timed is the format: the specification's reader opens it."""
    sealed = envelope.seal_record(KEY, tenant=TENANT, collection=COLLECTION, record=RECORD, items=ITEMS)
    sealed.append(envelope.seal_one(KEY, ITEMS[0], tenant=TENANT, collection=COLLECTION, record=RECORD))
    for item, data in zip([*ITEMS, ITEMS[0]], sealed, strict=True):
        opened = spec_reader.open_envelope(
            SECRET, data, tenant=TENANT, collection=COLLECTION, field=item[0], record=RECORD
        )
        assert opened == (1, VALUE)
        assert len(data) == 96
    assert our_field() == (1, VALUE)
    assert our_record() == [(1, VALUE)] * FIELDS
    assert bare_record() == handed_record() == [VALUE] * FIELDS


def peers() -> dict[str, float]:
    """Time the alternatives in their own environment; what is missing is said, not left out."""
    python = ROOT / ".venv-peers" / "bin" / "python"
    if not python.exists():
        print("peers: none, because .venv-peers is missing (`make bench NAME=envelope` makes it)")
        return {}
    script = Path(__file__).with_name("peers_envelope.py")
    answer = subprocess.run(  # noqa: S603 - our own script in our own environment
        [python, script], check=True, capture_output=True, text=True, timeout=240
    )
    result: dict[str, float | str] = json.loads(answer.stdout.splitlines()[-1])
    for name, ratio in result.items():
        print(f"  {name:<22} {ratio if isinstance(ratio, str) else format(ratio, '.3f')}")
    return {name: ratio for name, ratio in result.items() if not isinstance(ratio, str)}


def main() -> None:
    check()
    functions: list[Callable[[], object]] = [
        our_field,
        bare_field,
        handed_field,
        our_record,
        bare_record,
        handed_record,
    ]
    loops = {function.__name__: 5 if "record" in function.__name__ else 100 for function in functions}
    times = best(functions, loops)
    for name, seconds in times.items():
        print(f"  {name:<14} {seconds * 1e6:8.2f} µs")
    ratios = {
        "field": times["bare_field"] / times["our_field"],
        "record": times["bare_record"] / times["our_record"],
        "field_handed": times["handed_field"] / times["our_field"],
        "record_handed": times["handed_record"] / times["our_record"],
    }
    print("One field, sealed and opened, beside bare AESGCM in the peers' own process:")
    others = peers()
    print(json.dumps({name: round(value, 3) for name, value in {**ratios, **others}.items()}))


if __name__ == "__main__":
    main()
