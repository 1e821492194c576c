"""Nothing that a process holds gives a key away when it is printed, formatted, listed or pickled.

Not a list of classes: everything of ours that a running process can reach is walked, so a class that is added is looked
at by itself.
"""

from __future__ import annotations

import base64
import gc
import json
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, MethodType
from typing import Any
from uuid import UUID

import pytest

from assembly.conftest import Installed
from wellkeep.access.operators import this_operator
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.crypto.notes import NoteSigner
from wellkeep.crypto.wrap import WrapKey
from wellkeep.db.provision import connected
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rows import OpenedKey, key_row, open_row

_ROWS = "SELECT * FROM keys.tenant_key WHERE tenant_id = ANY($1::uuid[])"
_THROUGH = (dict, list, tuple, set, frozenset, deque, FunctionType, MethodType, CellType)
KNOWN = {"TenantKeys", "ContextKey", "SealKey", "WrapKey", "DataKey", "BlindIndex", "CheckpointSigner", "Endpoint"}


def shapes(secret: bytes | str) -> set[str]:
    """Return how a secret would show in a text."""
    if isinstance(secret, str):
        return {secret}
    written = {secret.hex(), base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()}
    return written | {repr(secret)[2:-1], repr(bytearray(secret))[12:-2], str(list(secret))[1:-1]}


def reached(start: object) -> Iterator[Any]:
    """Yield every object of a class of ours that `start` leads to."""
    seen, waiting = set[int](), [start]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        ours = type(one).__module__.startswith("wellkeep")
        if ours:
            yield one
        if ours or isinstance(one, _THROUGH):
            waiting += gc.get_referents(one)


def texts(one: object) -> Iterator[tuple[str, str]]:
    """Yield what an object says of itself, by the way in which it was asked."""
    yield "repr", repr(one)
    yield "str", str(one)
    yield "format", f"{one}"
    if hasattr(one, "__dict__"):
        yield "vars", repr(vars(one))
    try:
        pickled = pickle.dumps(one)
    except Exception as refused:  # noqa: BLE001 -- whatever a pickler says must not say a key
        yield "pickle refused", str(refused)
    else:
        yield "pickle", pickled.hex() + repr(pickled)


async def secrets_of(installed: Installed, runtime: Runtime, tenant: UUID) -> list[bytes | str]:
    """Return every key and password that this process works with."""
    core, home = runtime.core, installed.home
    found: list[bytes | str] = []
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        rows = await connection.fetch(_ROWS, [tenant, PLATFORM_TENANT])
    for row in rows:
        of, read = row["tenant_id"], key_row(row)
        root = core.roots.deployment if of == PLATFORM_TENANT else core.roots.named(of, read.root)
        found.append((await open_row(read, root, core.epochs, tenant=of)).secret)
    files = [path.read_text("ascii") for path in home.secrets.glob("*.key")]
    found += [base64.b64decode(text.split("\n")[1]) for text in files if text.startswith("wellkeep-")]
    for path in home.path.rglob("*.json"):
        if path.stat().st_mode & 0o077 == 0 and "passwords" in path.name:
            found += json.loads(path.read_text()).values()
    return found


async def test_nothing_that_a_process_reaches_gives_a_key_away(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        tenant = await runtime.tenants.create(this_operator(), name="redacted")
        issued = await runtime.api_keys.create(this_operator(), tenant=tenant, name="k", roles=("auditor",))
        keys = await runtime.core.ring.load(tenant)
        made = await keys.new_subject_key(uuid7())
        tagged = keys.index_keys(collection=1, field=1, index=1, normaliser="text")
        mac = keys.mac_key("request/1")
        runtime.core.context_key.token(tenant=tenant, pid=1, now=1.0)
        secrets = await secrets_of(installed, runtime, tenant)
        assert len(secrets) >= 10 + 2 + 2, "keys of both tenants, root and epoch, passwords"
        secrets += [mac, issued.key.reveal()]
        needles = {shape for secret in secrets for shape in shapes(secret)}
        objects = list(reached([runtime, installed.database, issued, made, tagged]))
        names = {type(one).__name__ for one in objects}
        assert names >= KNOWN, KNOWN - names
        told = [
            f"{type(one).__module__}.{type(one).__qualname__} by {way}"
            for one in objects
            for way, text in texts(one)
            if any(needle in text for needle in needles)
        ]
    assert not told


SECRET = b"\x17" * 32
_RECORD: dict[str, object] = {
    "purpose": KeyPurpose.DATA,
    "epoch": 1,
    "kid": bytes(16),
    "commit_hash": bytes(32),
    "wrapped": b"",
    "kms_epoch": 1,
    "root": "local:0",
    "state": "active",
}
HOLDERS: dict[str, Callable[[], object]] = {
    "Secret": lambda: Secret(SECRET),
    "OpenedKey": lambda: OpenedKey(key_row(_RECORD), SECRET),  # type: ignore[arg-type]  # as a row of the database
    "WrapKey": lambda: WrapKey(SECRET),
    "NoteSigner": lambda: NoteSigner(name="example.org/log", seed=Secret(SECRET)),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_key_can_not_be_pickled(holder: str) -> None:
    held = HOLDERS[holder]()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(held, protocol)
    assert not any(shape in text for shape in shapes(SECRET) for _, text in texts(held))
