#!/usr/bin/env python3
"""Verify an export of a wellkeep ledger, or the proof of one entry, with nothing of wellkeep's.

    wellkeep_verify.py export DIR [--vkey VKEY]... [--checkpoint FILE]... [--all-logs] [--json]
    wellkeep_verify.py proof FILE [--vkey VKEY]... [--event UUID] [--entry FILE] [--json]

Needs Python 3.11 and the package `cryptography`; reads files and writes nothing. `--vkey` is the root log's verifier
key, which you have from elsewhere; `--checkpoint` one that you kept: an older state put back can't agree with it.
Exit 0: it holds. 1: tampered; the first bad log and seq are named. 2: could not be verified.

Made from docs/spec/ledger.md alone; the numbers in comments are its steps. Everything in an export is hostile until
the trusted key has signed it: sizes are bounded, links are not followed, JSON is read strictly, no content is shown.
"""

import argparse
import json
import os
import re
import stat
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HOLDS, TAMPERED, NOT_VERIFIED = 0, 1, 2
FORMAT = "wellkeep/ledger-export/v1"
PLATFORM = "00000000-0000-7000-8000-000000000000"
WIDTH, HASH = 256, 32
MAX_ENTRY, MAX_NOTE, MAX_SIGNATURES, MAX_JSON = 32_768, 131_072, 100, 1 << 28
MAX_INTEGER = 2**53 - 1
MAX_PROOF, KEY_HASH, CHECKPOINT_LINES = 63, 4, 3
MAX_EPOCHS, MAX_PROOF_FILE = 1000, 1 << 19
NOT_PINNED = "NOT PINNED: no --vkey was given, so the key is"
ED25519 = b"\x01"

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
HEX32 = re.compile(r"[0-9a-f]{64}")
DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")
PRINTABLE = re.compile(r"[!-~]{1,400}")
MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
APART = timedelta(minutes=10)
"""By how much the clocks of two processes may differ."""
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
ENTRY_KEYS = {"event", "log", "prev", "seq", "time", "v"}
MANIFEST_KEYS = {"format", "made_at", "root", "logs"}
LOG_KEYS = {"origin", "tenant", "epoch", "size", "vkey", "path"}
SEAL_KEYS = {"key_id", "leaf", "mac", "root", "size"}
PROOF_KEYS = {"entry", "index", "hashes", "checkpoint"}
PAIR_KEYS = {"origin", "root", "size"}


class NotVerifiedError(Exception):
    """It can't be judged: no export, another format, no key."""


class BrokenError(Exception):
    """Something is not as the specification says; whoever knows where turns it into `TamperedError`."""


def need(holds: object, what: str) -> None:
    """Raise BrokenError, and say what, where something does not hold."""
    if not holds:
        raise BrokenError(what)


class TamperedError(Exception):
    """A log does not hold."""

    def __init__(self, log: str, seq: int, what: str) -> None:
        """Say where, and what."""
        super().__init__(log, seq, what)
        self.log, self.seq, self.what = log, seq, what


# ------------------------------------------------------------------------------------------------------------- trees


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: bytes) -> bytes:
    """Return the root over hashes whose number is a power of two."""
    nodes = [hashes[at : at + HASH] for at in range(0, len(hashes), HASH)]
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]


class Tree:
    """A Merkle tree in rows: the leaves, the roots of each 256 leaves, the roots of each 256 of those."""

    def __init__(self) -> None:
        """Begin empty."""
        self.rows: list[bytearray] = [bytearray()]
        self.size = 0

    def add(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        self.size += 1
        for level, row in enumerate(self.rows):
            row.extend(leaf)
            if len(row) % (WIDTH * HASH):
                return
            if level + 1 == len(self.rows):
                self.rows.append(bytearray())
                # the new row takes the root in the next round of this loop
            leaf = perfect_root(bytes(row[-WIDTH * HASH :]))

    def leaf(self, index: int) -> bytes:
        """Return the hash of a leaf."""
        return bytes(self.rows[0][index * HASH : (index + 1) * HASH])

    def root_at(self, size: int) -> bytes:
        """Return the root that the tree had at `size`."""
        root = b""
        for level, row in enumerate(self.rows):
            end = size >> 8 * level
            for height in range(8):
                if end >> height & 1:
                    begin = end - (1 << height)
                    node = perfect_root(bytes(row[begin * HASH : end * HASH]))
                    root = node_hash(node, root) if root else node
                    end = begin
        return root or sha256(b"").digest()


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield level, number and width of each tile of a tree."""
    level, row = 0, size
    while row:
        for number in range(-(-row // WIDTH)):
            yield level, number, min(WIDTH, row - number * WIDTH)
        level, row = level + 1, row // WIDTH


def tile_path(kind: str, n: int, width: int) -> str:
    """Return where a tile lies, or with kind `entries` a bundle."""
    parts = [f"{n % 1000:03d}"]
    while n := n // 1000:
        parts.insert(0, f"x{n % 1000:03d}")
    return f"tile/{kind}/{'/'.join(parts)}" + ("" if width == WIDTH else f".p/{width}")


def root_of_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """Return the root that a proof leads to (RFC 6962, section 2.1.1)."""
    root, last = leaf, size - 1
    for sibling in proof:
        need(last, "the proof is too long")
        if index & 1 or index == last:
            root = node_hash(sibling, root)
            while not index & 1:
                index, last = index >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        index, last = index >> 1, last >> 1
    need(not last, "the proof is too short")
    return root


# ----------------------------------------------------------------------------------------------------- strict reading


def integer(digits: str) -> int:
    """Return a JSON number, which is an integer below 2^53; fractions and NaN never are."""
    exact = digits.removeprefix("-").isdigit() and len(digits) <= len(str(-MAX_INTEGER))
    need(exact and abs(int(digits)) <= MAX_INTEGER, "a number is no integer below 2^53")
    return int(digits)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON in which no key stands twice."""
    found = dict(pairs)
    need(len(found) == len(pairs) and all(key.isascii() for key in found), "a key stands twice, or is not ASCII")
    return found


def strict_json(raw: bytes) -> Any:
    """Return the value of JSON."""
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=unique,
            parse_float=integer,
            parse_constant=integer,
            parse_int=integer,
        )
    except (ValueError, RecursionError):
        raise BrokenError("not JSON") from None


def an_object(value: Any, keys: set[str], optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return `value` where it is an object with these keys and no other."""
    if not isinstance(value, dict) or not keys <= value.keys() <= keys | optional:
        raise BrokenError("an object has other keys than it should")
    return value


def number(value: Any, least: int = 0) -> int:
    """Return `value` where it is an integer, and not less than `least`."""
    if type(value) is not int or value < least:
        raise BrokenError("a number is not what it should be")
    return value


def text(value: Any, form: re.Pattern[str]) -> str:
    """Return `value` where it is a text of that form."""
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise BrokenError("a text is not in its form")
    return value


def lines_of(raw: bytes) -> list[bytes]:
    """Return the lines of a file, each of which ends in a line feed."""
    lines = raw.split(b"\n")
    need(not lines.pop(), "a last line does not end")
    return lines


def base64(value: Any) -> bytes:
    """Return the bytes of base64 in its one form."""
    try:
        raw = b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise BrokenError("not base64") from None
    need(b64encode(raw).decode() == value, "base64 in another than its one form")
    return raw


class Files:
    """The files of an export, read as they are: no link, nothing larger than it can be."""

    def __init__(self, top: Path) -> None:
        """Take the directory."""
        if not top.is_dir():
            raise NotVerifiedError("there is no such directory")
        self.top = top

    def read(self, path: str, most: int) -> bytes | None:
        """Return a file's bytes, None where there is none."""
        place = self.top / path
        need(not self._linked(Path(path).parent), "a file lies behind a link")
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        need(stat.S_ISREG(found.st_mode) and found.st_size <= most, "a file is none, or longer than it can be")
        return place.read_bytes()

    def below(self, path: str) -> set[str]:
        """Return the paths of all that is no directory below `path`, relative to it; links are not followed.

        Where the way to `path` leads over a link, that is all there is: ".".
        """
        if self._linked(Path(path)):
            return {"."}
        top = self.top / path
        found = set()
        for directory, directories, files in os.walk(top):
            links = [name for name in directories if (Path(directory) / name).is_symlink()]
            found |= {(Path(directory) / name).relative_to(top).as_posix() for name in files + links}
        return found

    def _linked(self, path: Path) -> bool:
        """Say whether `path`, or a directory on the way to it, is a link; what is above the top is not its own."""
        return any((self.top / each).is_symlink() for each in (path, *path.parents) if each.parts)


# ------------------------------------------------------------------------------------------------------ signed notes


class VKey(NamedTuple):
    """A verifier key: the name that it signs as, and its 32 bytes."""

    name: str
    public: bytes

    @property
    def hash(self) -> bytes:
        """Return the 4 bytes that signatures name it by."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:KEY_HASH]


def read_vkey(value: Any) -> VKey:
    """Read a verifier key of Ed25519."""
    name, _, rest = value.partition("+") if isinstance(value, str) else ("", "", "")
    hashed, _, encoded = rest.partition("+")
    raw = base64(encoded)
    need(len(raw) == 1 + HASH and raw[:1] == ED25519 and PRINTABLE.fullmatch(name), "not a verifier key of Ed25519")
    vkey = VKey(name, raw[1:])
    need(vkey.hash.hex() == hashed, "a verifier key whose hash is wrong")
    return vkey


class Checkpoint(NamedTuple):
    """What a log held at some size."""

    origin: str
    size: int
    root: bytes

    def leaf(self) -> bytes:
        """Return the leaf hash of the checkpoint's text, as covers have it."""
        return leaf_hash(f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode())


def read_note(raw: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """Return a note's text, and of each line below it the key's name and the bytes behind it."""
    need(len(raw) <= MAX_NOTE, "a note is too long")
    try:
        whole = raw.decode("utf-8")
    except ValueError:
        raise BrokenError("a note is not UTF-8") from None
    body, blank, below = whole.rpartition("\n\n")
    lines = below.split("\n")
    need(blank and not lines.pop() and 0 < len(lines) <= MAX_SIGNATURES, "not a signed note")
    need(all(character >= " " or character == "\n" for character in whole), "a note with control characters")
    signatures = []
    for line in lines:
        dash, name, encoded = (*line.split(" "), "", "")[:3]
        signature = base64(encoded)
        need(line == f"— {name} {encoded}" and dash == "—" and name and "+" not in name, "not a line of a signature")
        need(len(signature) > KEY_HASH, "not a line of a signature")
        signatures.append((name, signature))
    return body + "\n", signatures


def read_checkpoint(raw: bytes, keys: Callable[[str], list[VKey]]) -> Checkpoint:
    """Return a checkpoint that one of the keys, which `keys` gives for an origin, has signed."""
    body, signatures = read_note(raw)
    lines = body[:-1].split("\n")
    need(len(lines) >= CHECKPOINT_LINES and all(lines) and DECIMAL.fullmatch(lines[1]), "not a checkpoint")
    found = Checkpoint(lines[0], int(lines[1]), base64(lines[2]))
    need(len(found.root) == HASH, "not a checkpoint")
    known = {vkey.hash: vkey.public for vkey in keys(found.origin) if vkey.name == found.origin}
    mine = [signature for name, signature in signatures if name == found.origin and signature[:KEY_HASH] in known]
    need(mine, "a checkpoint is not signed by the log's key")
    for signature in mine:
        try:
            public = Ed25519PublicKey.from_public_bytes(known[signature[:KEY_HASH]])
            public.verify(signature[KEY_HASH:], body.encode())
        except (InvalidSignature, ValueError):
            raise BrokenError("a checkpoint's signature does not verify") from None
    return found


# -------------------------------------------------------------------------------------------------------- an export


def origin_of(host: str, tenant: str, epoch: int) -> str:
    """Return the name of a log."""
    if tenant == PLATFORM:
        return f"{host}/ledger/root" + ("" if epoch == 1 else f"/{epoch}")
    return f"{host}/ledger/{tenant}/{epoch}"


def opened_id(tenant: str, origin: str) -> str:
    """Return the id of the entry, in a log of `tenant`, that says that the log `origin` was opened."""
    digest = bytearray(sha256(f"wellkeep/ledger/opened\n{tenant}\n{origin}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    h = digest.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


class Month(NamedTuple):
    """A month of UTC, as times are written: from when, before when, and from when on a cover may be of the next."""

    begins: str
    ends: str
    late: str


def month_called(name: str) -> Month:
    """Return the month that is written so: 2019-05."""
    try:
        begins = datetime.fromisoformat(f"{name}-01T00:00:00")
        ends = (begins + timedelta(days=31)).replace(day=1)
        return Month(*(f"{each.isoformat(timespec='microseconds')}Z" for each in (begins, ends, ends - APART)))
    except (ValueError, OverflowError):
        raise BrokenError("there is no such month") from None


class Told(NamedTuple):
    """An entry that says something of logs."""

    seq: int
    time: str
    event: dict[str, Any]


@dataclass(eq=False)
class Log:
    """One log of the manifest, and what was found in it."""

    origin: str
    tenant: str
    epoch: int
    size: int
    first: int
    vkey: VKey
    older: list[VKey]
    path: str
    tree: Tree = field(default_factory=Tree)
    told: list[Told] = field(default_factory=list)
    time: str = ""
    holds: bool = False

    def bad(self, size: int, what: str) -> TamperedError:
        """Return what says that something about the tree at `size` is wrong."""
        return TamperedError(self.origin, self.size if size > self.size else max(size - 1, 0), what)


class Span(NamedTuple):
    """What a `ledger.pruned` or `ledger.restored` says: entries `first` to before `end` of a log; a root."""

    log: Log
    seq: int
    tenant: str
    epoch: int
    first: int
    end: int
    digest: bytes

    def speaks_of(self, origin: str) -> bool:
        """Say whether it is this log whose entries were taken or lost."""
        return origin_of(origin.partition("/ledger/")[0], self.tenant, self.epoch) == origin


class Export:
    """An export and the keys that are trusted; `verify` says what is wrong."""

    def __init__(self, top: Path, vkeys: list[VKey]) -> None:
        """Read what the manifest promises."""
        self.files = Files(top)
        self.bad: dict[str, TamperedError] = {}
        self.notes: list[str] = []
        self.counts = {"logs": 0, "entries": 0, "checkpoints": 0, "covers": 0}
        self._lost: list[Span] = []
        try:
            self._read_manifest(strict_json(self.files.read("manifest.json", MAX_JSON) or b""))
        except BrokenError as broken:
            raise NotVerifiedError(f"manifest.json: {broken}") from None
        self._trust(vkeys)

    def _read_manifest(self, value: Any) -> None:  # step 1
        manifest = an_object(value, MANIFEST_KEYS, frozenset({"tenant", "month"}))
        need(manifest["format"] == FORMAT, "another format")
        text(manifest["made_at"], TIME)
        need(isinstance(manifest["logs"], list) and manifest["logs"], "no logs")
        self.tenant = text(manifest["tenant"], UUID) if "tenant" in manifest else None
        self.month = month_called(text(manifest["month"], MONTH)) if "month" in manifest else None
        self.partial = self.tenant or self.month
        logs = sorted((self._read_log(each) for each in manifest["logs"]), key=lambda log: log.tenant != PLATFORM)
        self.logs = {log.origin: log for log in logs}
        self.roots = [log for log in logs if log.tenant == PLATFORM]
        self.host = logs[0].origin.partition("/ledger/")[0]
        named = all(log.origin == origin_of(self.host, log.tenant, log.epoch) for log in logs)
        need(named and len(logs) == len(self.logs), "a log stands twice, or has another name than it should")
        epochs = sorted(log.epoch for log in self.roots)
        newest = origin_of(self.host, PLATFORM, epochs[-1]) if epochs else None
        need(manifest["root"] == newest and (newest or self.partial), "another root log than it says, or none")
        tenants = {log.tenant for log in logs}
        need(not self.tenant or tenants <= {self.tenant, PLATFORM}, "a partial export with another tenant's log")

    @staticmethod
    def _read_log(value: Any) -> Log:
        value = an_object(value, LOG_KEYS, frozenset({"first", "older_vkeys"}))
        tenant, epoch, size = text(value["tenant"], UUID), number(value["epoch"], 1), number(value["size"], 1)
        origin, first, older = (
            text(value["origin"], PRINTABLE),
            number(value.get("first", 0)),
            value.get("older_vkeys", []),
        )
        path = f"logs/{'root' if tenant == PLATFORM else tenant}/{epoch}"
        need(HOST.fullmatch(origin.partition("/ledger/")[0]) and value["path"] == path, "a log lies elsewhere")
        need(isinstance(older, list) and first <= size, "a log has more pruned than it has")
        keys = [read_vkey(each) for each in [value["vkey"], *older]]
        need(all(key.name == origin for key in keys), "a verifier key of another log")
        return Log(origin, tenant, epoch, size, first, keys[0], keys[1:], path)

    def _trust(self, vkeys: list[VKey]) -> None:
        if not vkeys:
            vkeys = [next(iter(self.logs.values())).vkey]
            self.notes.append(
                f"{NOT_PINNED} the export's own word: this shows that it is of one piece, not whose it is"
            )
        if any(vkey.name.partition("/ledger/")[0] != self.host for vkey in vkeys):
            raise NotVerifiedError("--vkey is a key of another deployment")
        for log in self.logs.values():
            if log.vkey.public not in {vkey.public for vkey in vkeys}:
                self._note(TamperedError(log.origin, 0, "signed by a key that is not trusted"))

    def _note(self, found: TamperedError) -> None:
        known = self.bad.get(found.log)
        if known is None or found.seq < known.seq:
            self.bad[found.log] = found

    def verify(self, kept: list[Path]) -> None:
        """Check everything; `bad` has the first bad place of each log, `notes` what could not be told."""
        events: dict[str, set[str]] = {}
        for log in self.logs.values():
            try:
                self.counts["checkpoints"] += LogCheck(self.files, log, events.setdefault(log.tenant, set())).run()
                log.holds = True
            except TamperedError as found:
                self._note(found)
            self.counts["logs"] += 1
            self.counts["entries"] += max(log.tree.size - log.first, 0)
        checks = (
            self._spans(),
            self._kept(kept),
            self._receipts(),
            self._covers(),
            self._announcements(),
            self._ends(),
        )
        for check in checks:
            for bad in check:
                self._note(bad)
        if self.partial:
            part = "of one tenant" if self.tenant else "that have entries in a month, up to the end of that"
            self.notes.append(f"PARTIAL: the logs {part}; what is left out was not checked")
        if not self.roots:
            self.notes.append("the root log is not in this export, so the logs were not held against it")

    def _ends(self) -> Iterator[TamperedError]:
        """Hold the export of a month to it: a whole one that was cut short is none."""
        if self.month is None:
            return
        for log in self.logs.values():
            if log.holds and not self.month.begins <= log.time < self.month.ends:
                yield TamperedError(log.origin, log.size, "the log does not end in the month that the export names")

    def _told(self, action: str, logs: list[Log] | None = None) -> Iterator[tuple[Log, Told]]:
        for log in self.logs.values() if logs is None else logs:
            for told in log.told:
                if told.event["action"] == action:
                    yield log, told

    def _read_spans(self, action: str, into: list[Span]) -> Iterator[TamperedError]:
        for log, (seq, _, event) in self._told(action):
            try:
                span = an_object(event.get("span"), {"epoch", "from", "to"})
                resource = an_object(event.get("resource"), {"id", "type"})
                epoch, first = number(span["epoch"], 1), number(span["from"])
                digest = bytes.fromhex(text(event.get("digest"), HEX32))
                need(resource["type"] == "log", "another resource than a log")
                tenant = text(resource["id"], UUID)
                into.append(Span(log, seq, tenant, epoch, first, number(span["to"], first), digest))
            except BrokenError as broken:
                yield TamperedError(log.origin, seq, f"{action}: {broken}")

    def _spans(self) -> Iterator[TamperedError]:  # steps 8 and 9
        pruned: list[Span] = []
        yield from self._read_spans("ledger.restored", self._lost)
        yield from self._read_spans("ledger.pruned", pruned)
        for span in self._lost:
            origin = origin_of(self.host, span.tenant, span.epoch)
            self.notes.append(f"recorded as lost: entries {span.first} to before {span.end} of {origin}")
            old, mine = self.logs.get(origin), span.log.tenant == span.tenant
            if (mine and span.epoch >= span.log.epoch) or not (mine or span.log.tenant == PLATFORM):
                yield TamperedError(span.log.origin, span.seq, "a loss is recorded where it can't be")
            elif old is None and span.first and not self.month and self.tenant in {None, span.tenant}:
                yield TamperedError(origin, 0, "a log of which something was lost is missing altogether")
            elif old is not None and old.size < span.first:
                yield TamperedError(old.origin, old.size, "the log ends before what was recorded as lost begins")
        for log in self.logs.values():
            about = [span for span in pruned if span.speaks_of(log.origin)]
            for span in about:
                if log.holds and (span.end > log.size or log.tree.root_at(span.end) != span.digest):
                    yield TamperedError(span.log.origin, span.seq, "a prune says another root than the log has there")
            if not self.month:
                yield from self._accounted(log, about, self._holders(log, log.tenant))
                yield from self._accounted(log, about, self._holders(log, PLATFORM)) if self.roots else ()

    def _holders(self, log: Log, tenant: str) -> list[Log]:
        """Return the logs of a tenant that can hold the record of a prune of `log`: none of its own earlier epochs.

        Else two epochs whose beginnings were deleted would excuse each other.
        """
        mine = [each for each in self.logs.values() if each.tenant == tenant]
        return [each for each in mine if tenant != log.tenant or each.epoch >= log.epoch]

    def _accounted(self, log: Log, about: list[Span], holders: list[Log]) -> Iterator[TamperedError]:
        """Hold a prefix that is missing against the records in some logs, which may have been pruned themselves."""
        said = sorted((span for span in about if span.log in holders), key=lambda span: span.first)
        all_there, reached = not any(holder.first for holder in holders), 0
        for span in said:
            if span.first <= reached or not all_there:
                reached = max(reached, span.end)
        if reached < log.first and any(holder.first for holder in holders if holder is not log):
            self.notes.append(f"the record of what was pruned of {log.origin} may be pruned itself")
        elif reached < log.first:
            yield TamperedError(log.origin, reached, "entries are missing that no prune accounts for")

    def _agrees(self, seen: Checkpoint, who: str, *, later: bool) -> Iterator[TamperedError]:
        """Hold a root that somebody saw against the log, or against what was recorded as lost of it.

        `later` says that it may have been seen after an export ends that is of a month.
        """
        lost = [s for s in self._lost if s.speaks_of(seen.origin) and s.first < seen.size <= s.end]
        if any(seen.size < span.end or seen.root == span.digest for span in lost):
            return
        log = self.logs.get(seen.origin)
        if log is None:
            yield TamperedError(seen.origin, 0, f"{who} knows this log, and it is missing")
        elif seen.size > log.size:
            if not (self.month and later):
                yield log.bad(seen.size, f"{who} says that the log was longer")
        elif log.holds and log.tree.root_at(seen.size) != seen.root:
            yield log.bad(seen.size, f"{who} says another root")

    def _keys(self, origin: str) -> list[VKey]:
        log = self.logs.get(origin)
        return [log.vkey, *log.older] if log else [VKey(origin, next(iter(self.logs.values())).vkey.public)]

    def _kept(self, paths: list[Path]) -> Iterator[TamperedError]:
        for path in paths:
            try:
                found = read_checkpoint(Files(path.parent).read(path.name, MAX_NOTE) or b"", self._keys)
            except BrokenError as broken:
                raise NotVerifiedError(f"--checkpoint: {broken}") from None
            if found.origin not in self.logs and self.partial:
                raise NotVerifiedError("--checkpoint is of a log that this partial export leaves out")
            yield from self._agrees(found, "a checkpoint that was kept", later=True)

    def _receipts(self) -> Iterator[TamperedError]:
        for path in sorted(self.files.below("anchors")):
            if path == ".":
                yield TamperedError(next(iter(self.logs)), 0, "the anchors' receipts lie behind a link")
            if path.endswith(".note"):
                try:
                    found = read_checkpoint(self.files.read(f"anchors/{path}", MAX_NOTE) or b"", self._keys)
                except BrokenError:
                    self.notes.append("a note of an anchor is not signed by a log's key and was passed over")
                    continue
                if found.origin in self.logs or not self.partial:
                    yield from self._agrees(found, "an anchor", later=True)

    def _covers(self) -> Iterator[TamperedError]:  # step 10
        files = self.files.below("covers")
        if "." in files:
            yield TamperedError(next(iter(self.logs)), 0, "the pairs of covers lie behind a link")
        for root, (seq, time, event) in self._told("ledger.covered", self.roots):
            late = self.month is not None and time >= self.month.late
            name = f"{event['id']}.jsonl"
            files.discard(name)
            self.counts["covers"] += 1
            try:
                pairs = self._read_pairs(self.files.read(f"covers/{name}", MAX_JSON), event)
            except BrokenError as broken:
                yield TamperedError(root.origin, seq, str(broken))
                continue
            for pair in pairs:
                if pair.origin in self.logs or not self.partial:
                    yield from self._agrees(pair, "the root log", later=late)
        if files and self.roots and all(root.holds and not root.first for root in self.roots):
            yield TamperedError(self.roots[0].origin, self.roots[0].size, "pairs of a cover that has no entry")

    @staticmethod
    def _read_pairs(raw: bytes | None, event: dict[str, Any]) -> list[Checkpoint]:
        need(raw is not None, "the pairs of a cover are missing")
        pairs, tree = [], Tree()
        for line in lines_of(raw or b""):
            pair = an_object(strict_json(line), PAIR_KEYS)
            root = bytes.fromhex(text(pair["root"], HEX32))
            pairs.append(Checkpoint(text(pair["origin"], PRINTABLE), number(pair["size"], 1), root))
            tree.add(pairs[-1].leaf())
        in_order = all(left.origin < right.origin for left, right in pairwise(pairs))
        need(in_order and event.get("count", len(pairs)) == len(pairs), "the pairs of a cover are not in order")
        need(tree.root_at(tree.size).hex() == event.get("digest"), "the pairs of a cover are not what the root log has")
        return pairs

    def _announcements(self) -> Iterator[TamperedError]:  # step 11
        if not self.roots or not all(root.holds for root in self.roots):
            return
        unannounced = {opened_id(PLATFORM, origin): origin for origin in self.logs}
        for root, (seq, _, event) in self._told("log.opened", self.roots):
            if unannounced.pop(event["id"], None) is None and not self.partial:
                yield from self._missing(root, seq, event)
        for epoch in range(1, 1 if self.month else max(root.epoch for root in self.roots)):
            origin = origin_of(self.host, PLATFORM, epoch)
            if origin not in self.logs and not self._gone(origin):
                yield TamperedError(origin, 0, "an epoch of the root log is missing")
        if any(root.first for root in self.roots) or any(span.tenant == PLATFORM for span in self._lost):
            self.notes.append("entries of the root log are pruned or lost: which logs those announced is not known")
        else:
            for origin in unannounced.values():
                yield TamperedError(origin, 0, "the root log never announced this log")

    def _gone(self, origin: str) -> bool:
        """Say whether the whole of a log was recorded as lost."""
        return any(span.speaks_of(origin) and span.first == 0 for span in self._lost)

    def _missing(self, root: Log, seq: int, event: dict[str, Any]) -> Iterator[TamperedError]:
        resource = event.get("resource")
        about = resource.get("id") if isinstance(resource, dict) else None
        for epoch in range(1, MAX_EPOCHS):
            origin = origin_of(self.host, str(about), epoch)
            if opened_id(PLATFORM, origin) == event["id"]:
                if not self._gone(origin):
                    yield TamperedError(origin, 0, "a log that the root log announced is missing")
                return
        yield TamperedError(root.origin, seq, "an announcement that names no log")


# ------------------------------------------------------------------------------------------------------- one log


class LogCheck:
    """The files of one log, read in order; `run` raises TamperedError at the first bad place."""

    def __init__(self, files: Files, log: Log, events: set[str]) -> None:
        """Take the log, and the ids of events that its tenant's logs already have."""
        self.files, self.log, self.events = files, log, events

    def run(self) -> int:
        """Check all of the log; return how many checkpoints it has."""
        log = self.log
        expected = {"checkpoint", "seals.jsonl"}
        for level, n, width in tiles_of(log.size):
            expected.add(tile_path(str(level), n, width))
            if level:
                self._upper_tile(level, n, width)
            elif self._entries(n, width):
                expected.add(tile_path("entries", n, width))
        found = self.files.below(log.path)
        sizes = [path for path in found if path.startswith("checkpoints/")]
        for path in sorted(sizes, key=lambda path: (len(path), path)):  # step 6
            self._checkpoint(path, [log.vkey, *log.older])
        if self._checkpoint("checkpoint", [log.vkey]) != log.size or f"checkpoints/{log.size}" not in sizes:  # step 2
            raise log.bad(log.size, "the newest checkpoint is of another size, or not among the others")
        self._seals()
        if not found <= expected | set(sizes):
            raise TamperedError(log.origin, log.size, "there are files that a log of this size does not have")
        return len(sizes)

    def _read(self, path: str, most: int, *, seq: int) -> bytes:
        try:
            raw = self.files.read(f"{self.log.path}/{path}", most)
        except BrokenError as broken:
            raise TamperedError(self.log.origin, seq, str(broken)) from None
        if raw is None:
            raise TamperedError(self.log.origin, seq, "a file is missing")
        return raw

    def _checkpoint(self, path: str, keys: list[VKey]) -> int:
        """Hold a checkpoint against the entries; return its size."""
        log, size = self.log, self.log.size
        try:
            found = read_checkpoint(self._read(path, MAX_NOTE, seq=size - 1), lambda _: keys)
            size = found.size
            need(found.origin == log.origin, "a checkpoint of another log")
            need(path in {"checkpoint", f"checkpoints/{size}"}, "a checkpoint of another size than its name says")
            need(size <= log.size, "a checkpoint says that the log was longer")
            need(log.tree.root_at(size) == found.root, "a checkpoint says another root than the entries give")
        except BrokenError as broken:
            raise log.bad(size, str(broken)) from None
        return size

    def _entries(self, n: int, width: int) -> bool:  # steps 3 and 5
        """Check a bundle and its tile; say whether there is a bundle."""
        log, first = self.log, n * WIDTH
        tile = self._read(tile_path("0", n, width), WIDTH * HASH, seq=first)
        if len(tile) != width * HASH:
            raise TamperedError(log.origin, first, "a tile has another length")
        leaves = [tile[at : at + HASH] for at in range(0, len(tile), HASH)]
        if first + width <= log.first:
            for leaf in leaves:
                log.tree.add(leaf)
            return False
        bundle, at = self._read(tile_path("entries", n, width), WIDTH * (MAX_ENTRY + 2), seq=first), 0
        for seq, leaf in enumerate(leaves, first):
            length = int.from_bytes(bundle[at : at + 2], "big")
            raw = bundle[at + 2 : at + 2 + length]
            at += 2 + length
            if at > len(bundle) or (length == 0) != (seq < log.first):
                raise TamperedError(log.origin, seq, "an entry is missing, or one is there that was pruned")
            if length:
                self._entry(seq, raw, leaf)
            log.tree.add(leaf)
        if at != len(bundle):
            raise TamperedError(log.origin, first + width, "a bundle is longer than it says")
        return True

    def _entry(self, seq: int, raw: bytes, leaf: bytes) -> None:  # step 4
        log = self.log
        try:
            need(leaf_hash(raw) == leaf, "an entry's bytes do not give its leaf")
            entry = an_object(strict_json(raw), ENTRY_KEYS)
            again = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            need(again.encode("utf-8", "surrogatepass") == raw and len(raw) <= MAX_ENTRY, "an entry is not canonical")
            need(entry["log"] == log.origin, "an entry of another log")
            need(number(entry["seq"]) == seq and number(entry["v"]) == 1, "an entry in another's place")
            prev = log.tree.leaf(seq - 1).hex() if seq else "0" * 64
            need(entry["prev"] == prev, "an entry does not name the leaf before it")
            self._advance(text(entry["time"], TIME))
            self._event(seq, entry["event"])
        except BrokenError as broken:
            raise TamperedError(log.origin, seq, str(broken)) from None

    def _advance(self, time: str) -> None:
        try:
            datetime.fromisoformat(time)
        except ValueError:
            raise BrokenError("a time that is none") from None
        need(time >= self.log.time, "time runs backwards")
        self.log.time = time

    def _event(self, seq: int, event: Any) -> None:
        log = self.log
        if not isinstance(event, dict) or not isinstance(event.get("action"), str):
            raise BrokenError("an entry without an event")
        event_id, action = text(event.get("id"), UUID), event["action"]
        need(event_id not in self.events, "an event stands a second time in its tenant's logs")
        self.events.add(event_id)
        if seq == 0:
            opens = action == "log.opened" and event.get("resource") == {"id": log.tenant, "type": "log"}
            need(opens and event_id == opened_id(log.tenant, log.origin), "the first entry does not open this log")
        if action in {"log.opened", "ledger.covered", "ledger.pruned", "ledger.restored"}:
            log.told.append(Told(seq, log.time, event))

    def _upper_tile(self, level: int, n: int, width: int) -> None:  # step 5
        mine = bytes(self.log.tree.rows[level][n * WIDTH * HASH : (n * WIDTH + width) * HASH])
        seq = n * WIDTH ** (level + 1)
        if self._read(tile_path(str(level), n, width), WIDTH * HASH, seq=seq) != mine:
            raise TamperedError(self.log.origin, seq, "a tile is not what the entries give")

    def _seals(self) -> None:  # step 7
        log, last, size = self.log, 0, self.log.size
        try:
            raw = self.files.read(f"{log.path}/seals.jsonl", MAX_JSON)
            if raw is None:
                return
            for line in lines_of(raw):
                seal = an_object(strict_json(line), SEAL_KEYS)
                size, leaf, root = number(seal["size"], 1), text(seal["leaf"], HEX32), text(seal["root"], HEX32)
                text(seal["key_id"], KEY_ID)
                text(seal["mac"], HEX32)
                need(last < size <= log.size, "seals are not in order")
                agrees = (log.tree.leaf(size - 1).hex(), log.tree.root_at(size).hex()) == (leaf, root)
                need(agrees, "a seal does not agree with the entries")
                last = size
            need(last == log.size, "the log does not end at a seal")
        except BrokenError as broken:
            raise log.bad(size, f"seals.jsonl: {broken}") from None


# ------------------------------------------------------------------------------------------------- one entry's proof


class Proof(NamedTuple):
    """What proves an entry: its bytes (or None), its seq, the hashes, the checkpoint, and what else it says."""

    entry: bytes | None
    seq: int
    hashes: list[bytes]
    note: bytes
    claims: dict[str, Any]


def read_proof(raw: bytes) -> Proof:
    """Read a tlog-proof, or the JSON that the API answers with."""
    if raw.startswith(b"{"):
        value = an_object(strict_json(raw), PROOF_KEYS, frozenset({"size", "vkey", "log"}))
        if not isinstance(value["hashes"], list) or not isinstance(value["checkpoint"], str):
            raise BrokenError("not a proof")
        note = value["checkpoint"].encode("utf-8", "surrogatepass")
        hashes = [base64(each) for each in value["hashes"]]
        return Proof(base64(value["entry"]), number(value["index"]), hashes, note, value)
    head, blank, note = raw.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    need(blank and lines.pop(0) == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    extra = base64(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    need(lines and lines[0].startswith("index "), "not a tlog-proof")
    seq = int(text(lines.pop(0).removeprefix("index "), DECIMAL))
    return Proof(extra, seq, [base64(line) for line in lines], note, {})


def verify_proof(proof: Proof, vkeys: list[VKey], *, event: str | None) -> tuple[Checkpoint, str]:
    """Return the checkpoint, and the id of the event whose entry is proved to be in it."""
    origin = proof.note.partition(b"\n")[0].decode("ascii", "replace")
    host = origin.partition("/ledger/")[0]
    trusted = [VKey(origin, vkey.public) for vkey in vkeys if vkey.name.partition("/ledger/")[0] == host]
    if not trusted or PRINTABLE.fullmatch(origin) is None:
        raise NotVerifiedError("no --vkey is a key of this log's deployment")
    if proof.entry is None:
        raise NotVerifiedError("the proof does not hold its entry: give it with --entry")
    try:
        need(len(proof.hashes) <= MAX_PROOF and all(len(each) == HASH for each in proof.hashes), "not a proof")
        found = read_checkpoint(proof.note, lambda _: trusted)
        claimed = proof.claims.get("size", found.size), proof.claims.get("log", found.origin)
        need(claimed == (found.size, found.origin) and proof.seq < found.size, "a proof in another log than it says")
        root = root_of_inclusion(leaf_hash(proof.entry), proof.seq, found.size, proof.hashes)
        need(root == found.root, "the proof does not lead to the checkpoint's root")
        value = an_object(strict_json(proof.entry), ENTRY_KEYS)
        need(value["log"] == found.origin and number(value["seq"]) == proof.seq, "an entry of another place")
        event_id = text(value["event"].get("id") if isinstance(value["event"], dict) else None, UUID)
        need(event in {None, event_id}, "the proof is of another event")
    except BrokenError as broken:
        raise TamperedError(origin, proof.seq, str(broken)) from None
    return found, event_id


# ----------------------------------------------------------------------------------------------------- command line


def command_line() -> argparse.ArgumentParser:
    """Return what can be asked for."""
    parser = argparse.ArgumentParser(description="Verify an export of a wellkeep ledger, or the proof of one entry.")
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="a directory that `wellkeep ledger export` wrote")
    export.add_argument("path", type=Path)
    export.add_argument("--checkpoint", type=Path, action="append", default=[], help="a checkpoint that you kept")
    export.add_argument("--all-logs", action="store_true", help="a partial export does not do")
    proof = commands.add_parser("proof", help="a file that `wellkeep ledger proof` wrote")
    proof.add_argument("path", type=Path)
    proof.add_argument("--event", help="the id of the event that it must be about")
    proof.add_argument("--entry", type=Path, help="the entry, where the proof does not hold it")
    for command in (export, proof):
        command.add_argument("--vkey", action="append", default=[], help="the root log's verifier key, from elsewhere")
        command.add_argument("--json", action="store_true", help="the result as one JSON object")
    return parser


def run_export(given: argparse.Namespace, vkeys: list[VKey]) -> dict[str, Any]:
    """Verify an export."""
    export = Export(given.path, vkeys)
    if given.all_logs and export.partial:
        raise NotVerifiedError("the export is partial")
    export.verify(given.checkpoint)
    return {
        "holds": not export.bad,
        **export.counts,
        "bad": shown(*export.bad.values()),
        "notes": list(dict.fromkeys(export.notes)),
    }


def run_proof(given: argparse.Namespace, vkeys: list[VKey]) -> dict[str, Any]:
    """Verify a proof."""
    notes = []
    proof = read_proof(Files(given.path.parent).read(given.path.name, MAX_PROOF_FILE) or b"")
    if given.entry is not None:
        proof = proof._replace(entry=Files(given.entry.parent).read(given.entry.name, MAX_ENTRY))
    if not vkeys and "vkey" in proof.claims:
        vkeys = [read_vkey(proof.claims["vkey"])]
        notes.append(f"{NOT_PINNED} the proof's own word")
    try:
        found, event = verify_proof(proof, vkeys, event=given.event)
    except TamperedError as bad:
        return {"holds": False, "bad": shown(bad), "notes": notes}
    told = {"log": found.origin, "seq": proof.seq, "size": found.size, "event": event}
    return {"holds": True, **told, "bad": [], "notes": notes}


def shown(*found: TamperedError) -> list[dict[str, Any]]:
    """Return places as the result has them."""
    return [{"log": each.log, "seq": each.seq, "what": each.what} for each in found]


def in_words(result: dict[str, Any]) -> str:
    """Return a result as a person reads it."""
    lines = [f"tampered: {bad['log']} seq {bad['seq']}: {bad['what']}" for bad in result["bad"]]
    if result["holds"]:
        counted = [f"{key} {value}" for key, value in result.items() if key not in {"holds", "bad", "notes"}]
        lines.append("holds: " + ", ".join(counted))
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    given = command_line().parse_args(arguments)
    try:
        vkeys = [read_vkey(each) for each in given.vkey]
        result = (run_export if given.command == "export" else run_proof)(given, vkeys)
    except (NotVerifiedError, BrokenError, OSError) as problem:
        what = str(problem.strerror if isinstance(problem, OSError) else problem)
        sys.stderr.write(f"could not verify: {what}\n")
        if given.json:
            sys.stdout.write(json.dumps({"holds": None, "error": what}) + "\n")
        return NOT_VERIFIED
    sys.stdout.write((json.dumps(result) if given.json else in_words(result)) + "\n")
    return HOLDS if result["holds"] else TAMPERED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
