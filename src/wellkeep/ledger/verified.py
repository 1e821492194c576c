r"""How far each log was verified, in a file beside what this host remembers: where the next verification goes on.

Rules: written whole or not at all, and only after everything held; MACed under the SEAL key, because whoever could edit
it could have a past skipped that was never read. A file that is not ours, or of another version's form, is worth
nothing: then everything is read.

    <what was verified, JSON>\n<id of the seal key> <HMAC-SHA256 in hex>\n
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from wellkeep.ledger.memory import Memory
from wellkeep.ledger.report import State
from wellkeep.ledger.seal import SealKey

_SUFFIX = ".verified"


class _Log(msgspec.Struct, frozen=True):
    size: int
    frontier: tuple[str, ...]
    leaf: str
    time: datetime | None


class _Body(msgspec.Struct, frozen=True):
    v: Literal[1]
    logs: dict[str, _Log]


class Verified:
    """The file."""

    def __init__(self, memory: Memory, *, keys: Mapping[str, SealKey], key: SealKey) -> None:
        """Lie beside `memory`; `key` signs, any of `keys` is believed."""
        self.path = memory.path.with_name(memory.path.name + _SUFFIX)
        self._keys = keys
        self._key = key

    def load(self) -> dict[str, State] | None:
        """Return each log as it was verified; nothing where there is no file yet, None where it is none of ours."""
        try:
            body, line, rest = self.path.read_bytes().split(b"\n")
            name, mac = line.decode("ascii").split(" ")
            if rest or not hmac.compare_digest(self._keys[name].verified(body).hex(), mac):
                return None
            logs = msgspec.json.decode(body, type=_Body).logs
            return {origin: _state(log) for origin, log in logs.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, msgspec.MsgspecError):
            return None

    def store(self, logs: Mapping[str, State]) -> None:
        """Replace the file; raises OSError."""
        body = msgspec.json.encode(_Body(1, {origin: _log(state) for origin, state in sorted(logs.items())}))
        line = f"\n{self._key.key_id} {self._key.verified(body).hex()}\n".encode("ascii")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(body + line)
                file.flush()
                os.fsync(file.fileno())
            staging.replace(self.path)
        finally:
            staging.unlink(missing_ok=True)


def _state(log: _Log) -> State:
    return State(log.size, tuple(bytes.fromhex(each) for each in log.frontier), bytes.fromhex(log.leaf), log.time)


def _log(state: State) -> _Log:
    return _Log(state.size, tuple(each.hex() for each in state.frontier), state.leaf.hex(), state.time)
