"""Exports as `docs/spec/ledger.md` has them, made from the splicer and a signer, without a database."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from wellkeep.base.clock import iso
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.secrets import Secret
from wellkeep.crypto import merkle
from wellkeep.crypto.notes import NoteSigner
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.event import Event, prepare
from wellkeep.ledger.seal import SealKey, origin
from wellkeep.ledger.splice import NO_LEAF, Head, Splicer, Submitted
from wellkeep.ledger.tiles import WIDTH, TileBuilder, tiles_of

HOST = "wellkeep.example"
SEED = Secret(bytes(range(100, 132)))
SEAL_KEY = SealKey("seal-1", Secret(bytes(range(32))))
BEGIN = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
TENANTS = [UUID(f"0198d7b2-5c00-7000-8000-00000000000{number}") for number in (1, 2, 3)]


def vkey(name: str = f"{HOST}/ledger/root", seed: Secret[bytes] = SEED) -> str:
    return NoteSigner(name=name, seed=seed).vkey


@dataclass
class MadeLog:
    """One log as it is written out: change what an attack changes, then write."""

    origin: str
    tenant: UUID
    epoch: int
    entries: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seals: list[dict[str, object]] = field(default_factory=list)
    first: int = 0
    seed: Secret[bytes] = SEED

    @property
    def path(self) -> str:
        return f"logs/{'root' if self.tenant == PLATFORM_TENANT else self.tenant}/{self.epoch}"

    def leaves(self) -> list[bytes]:
        return [merkle.leaf_hash(entry) for entry in self.entries]

    def root_at(self, size: int) -> bytes:
        return merkle.root(self.leaves()[:size])

    def note(self, size: int, root: bytes | None = None) -> bytes:
        hashed = b64encode(self.root_at(size) if root is None else root).decode()
        return NoteSigner(name=self.origin, seed=self.seed).sign(f"{self.origin}\n{size}\n{hashed}\n")

    def manifest(self) -> dict[str, object]:
        said: dict[str, object] = {"origin": self.origin, "tenant": str(self.tenant), "epoch": self.epoch}
        said |= {"size": len(self.entries), "vkey": vkey(self.origin, self.seed), "path": self.path}
        return said | ({"first": self.first} if self.first else {})

    def write(self, top: Path) -> None:
        place, leaves = top / self.path, self.leaves()
        builder = TileBuilder()
        tiles = {(tile.level, tile.number): tile.hashes for tile in builder.extend(leaves)}
        tiles |= {(where.level, where.number): hashes for where, hashes in builder.partial()}
        for where in tiles_of(len(leaves)):
            put(place / where.path, tiles[where.level, where.number])
            begin = where.number * WIDTH
            if where.level == 0 and begin + where.width > self.first:
                entries = enumerate(self.entries[begin : begin + where.width], begin)
                put(place / where.bundle_path, bundle(b"" if seq < self.first else entry for seq, entry in entries))
        for size in {*self.sizes, len(leaves)}:
            put(place / f"checkpoints/{size}", self.note(size))
        put(place / "checkpoint", self.note(len(leaves)))
        put(place / "seals.jsonl", jsonl(self.seals))


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def bundle(entries: Iterable[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def jsonl(rows: Iterable[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n" for row in rows)


def read(made: UUID) -> Event:
    """Return a read of one record, whose ids all follow from one."""
    return Event(
        id=made,
        action=Action.RECORD_READ,
        actor_type=ActorType.API_KEY,
        actor_id="0198d7b2-0000-7000-8000-0000000000aa",
        roles=("clinician",),
        method=AuthMethod.API_KEY,
        resource_type="patients",
        resource_id=str(made),
        subject=made,
        count=1,
        outcome=Outcome.AUTHORISED,
        request=made,
        rule="role:clinician/record:read",
    )


def said(action: Action, number: int, **changes: Any) -> Event:
    """Return an event of the platform's about a log, with an id that follows from `number`."""
    made = UUID(f"0198d7b2-5c00-7000-8000-{number:012x}")
    plain: dict[str, Any] = {
        "id": made,
        "request": made,
        "actor_type": ActorType.SYSTEM,
        "actor_id": "ledger",
        "resource_type": "log",
    }
    plain |= {"method": AuthMethod.NONE, "outcome": Outcome.DONE}
    return Event(action=action, **(plain | changes))


class Deployment:
    """Logs that grow in steps, each signed; `cover` enters what the root log vouches for."""

    def __init__(self) -> None:
        self.splicer = Splicer(host=HOST, seal_key=SEAL_KEY)
        self.heads: dict[UUID, Head] = {}
        self.logs: dict[str, MadeLog] = {}
        self.covers: dict[str, list[dict[str, object]]] = {}
        self.now = BEGIN
        self.numbers = iter(range(1000, 1_000_000))

    def step(self, tenant: UUID, count: int = 1, *events: Event) -> None:
        """Append reads, then the given events, and sign every log that grew."""
        ids = [UUID(f"0198d7b2-5c00-7000-8000-{next(self.numbers):012x}") for _ in range(count)]
        reads = [read(each) for each in ids]
        batch = [Submitted(tenant, prepare(each), outbox=False) for each in [*reads, *events]]
        self.now += timedelta(seconds=1)
        spliced = self.splicer.splice(self.heads, batch, now=self.now)
        self.heads |= spliced.heads
        for row in spliced.entries:
            log = self.log(spliced.heads[spliced.steps[row[0] - 1][0]])
            log.entries.append(row[-1])
        for row in spliced.steps:
            log = self.log(spliced.heads[row[0]])
            log.sizes.append(row[5])
            log.seals.append(
                {"size": row[5], "key_id": row[9], "leaf": row[6].hex(), "root": row[10].hex(), "mac": row[11].hex()}
            )

    def log(self, head: Head) -> MadeLog:
        return self.logs.setdefault(head.origin, MadeLog(head.origin, head.tenant, head.epoch))

    def of(self, tenant: UUID, epoch: int = 1) -> MadeLog:
        return self.logs[origin(HOST, tenant, epoch)]

    def cover(self) -> UUID:
        """Enter into the root log what every other log holds now."""
        logs = sorted((log for log in self.logs.values() if log.tenant != PLATFORM_TENANT), key=lambda log: log.origin)
        pairs = [(log.origin, len(log.entries), log.root_at(len(log.entries))) for log in logs]
        texts = [f"{name}\n{size}\n{b64encode(root).decode()}\n".encode() for name, size, root in pairs]
        digest = merkle.root([merkle.leaf_hash(text) for text in texts])
        entered = said(Action.LEDGER_COVERED, next(self.numbers), digest=digest, count=len(pairs))
        self.covers[str(entered.id)] = [
            {"origin": name, "size": size, "root": root.hex()} for name, size, root in pairs
        ]
        self.step(PLATFORM_TENANT, 0, entered)
        return entered.id

    def restored(self, tenant: UUID, *, keep: int, skip: int = 0, other: bool = False) -> None:
        """Lose the entries of a log from `keep` on, and go on in a later epoch, on record.

        `other`: the log is not shorter, it is another one than was remembered. With nothing kept the log is gone.
        """
        old = self.of(tenant, self.heads[tenant].epoch)
        lost, root = len(old.entries), bytes(32) if other else old.root_at(len(old.entries))
        del old.entries[keep:]
        old.sizes = [size for size in old.sizes if size <= keep]
        old.seals = [seal for seal in old.seals if int(str(seal["size"])) <= keep]
        if not keep:
            del self.logs[old.origin]
        epoch = old.epoch + 1 + skip
        about = {"resource_id": str(tenant), "span": (old.epoch, 0 if other else keep, lost), "digest": root}
        self.heads[tenant] = Head(tenant, epoch, origin(HOST, tenant, epoch), 0, NO_LEAF, self.now, ())
        for where in {tenant, PLATFORM_TENANT}:
            self.step(where, 0, said(Action.LEDGER_RESTORED, next(self.numbers), **about))

    def pruned(self, tenant: UUID, *, upto: int, root_log: bool = True, begin: int = 0) -> None:
        """Take a prefix of a log away, on record."""
        log = self.of(tenant)
        about = {"resource_id": str(tenant), "span": (log.epoch, begin, upto), "digest": log.root_at(upto)}
        for where in [tenant, PLATFORM_TENANT] if root_log else [tenant]:
            self.step(where, 0, said(Action.LEDGER_PRUNED, next(self.numbers), **about))
        log.first = upto

    def write(self, top: Path, *, tenant: UUID | None = None, with_root: bool = True, month: str | None = None) -> Path:
        """Write an export of all logs, of one tenant's, or of a month's, and return its directory."""
        kinds = {tenant, PLATFORM_TENANT} if with_root else {tenant}
        logs = [log for log in self.logs.values() if tenant is None or log.tenant in kinds]
        for log in logs:
            log.write(top)
        roots = [log for log in logs if log.tenant == PLATFORM_TENANT]
        for cover, pairs in self.covers.items() if roots else ():
            put(top / f"covers/{cover}.jsonl", jsonl(pairs))
        manifest: dict[str, object] = {"format": "wellkeep/ledger-export/v1", "made_at": iso(self.now)}
        manifest |= {"root": roots[-1].origin if roots else None, "logs": [log.manifest() for log in logs]}
        if tenant is not None:
            manifest["tenant"] = str(tenant)
        if month is not None:
            manifest["month"] = month
        put(top / "manifest.json", json.dumps(manifest).encode())
        return top


def plain() -> Deployment:
    """Return three tenants: one with more than a tile of entries, all covered twice."""
    made = Deployment()
    for number, tenant in enumerate(TENANTS):
        made.step(tenant, 3 + number)
    made.cover()
    made.step(TENANTS[0], 600)
    made.step(TENANTS[1], 4)
    made.cover()
    made.step(TENANTS[2], 2)
    return made


def proof(log: MadeLog, index: int, size: int | None = None) -> bytes:
    """Return the tlog-proof of one entry."""
    size = len(log.entries) if size is None else size
    hashes = merkle.inclusion_proof(log.leaves()[:size], index=index)
    lines = ["c2sp.org/tlog-proof@v1", f"extra {b64encode(log.entries[index]).decode()}", f"index {index}"]
    lines += [b64encode(each).decode() for each in hashes]
    return "\n".join([*lines, "", ""]).encode() + log.note(size)
