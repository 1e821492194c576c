"""Looking for canaries in gigabytes: all patterns at once, over files and streams.

The scan reports how much it looked at, because "nothing found" means nothing without "in how many bytes". What can't be
read is reported as unseen, never skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hyperscan

from wellkeep.prove.canary import Pattern, Planted

_CHUNK = 8 * 1024 * 1024


@dataclass(slots=True)
class ScanResult:
    """What was looked at and found: `hits` counts (store, canary, encoding), `unseen` names what was not readable."""

    bytes: int = 0
    places: int = 0
    hits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    unseen: list[str] = field(default_factory=list)

    def found(self, names: Iterable[str]) -> set[str]:
        """Return those of `names` that were found anywhere."""
        return {canary for _, canary, _ in self.hits} & set(names)

    def add(self, other: ScanResult) -> None:
        """Take `other` into this result."""
        self.bytes += other.bytes
        self.places += other.places
        self.hits.update(other.hits)
        self.unseen += other.unseen


class Feed:
    """One text on its way past the scanner, chunk by chunk."""

    def __init__(self, database: hyperscan.Database, patterns: list[Pattern], overlap: int, store: str) -> None:
        """Begin at the start of a text of `store`."""
        self._database = database
        self._patterns = patterns
        self._overlap = overlap
        self._store = store
        self._tail = b""
        self._bytes = 0
        self._seen: set[int] = set()

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk, together with the end of the one before."""
        self._bytes += len(chunk)
        text = self._tail + chunk
        self._database.scan(text, match_event_handler=self._note)
        self._tail = text[-self._overlap :]

    def result(self) -> ScanResult:
        """Return what was found in the text so far."""
        result = ScanResult(bytes=self._bytes, places=1)
        for number in self._seen:
            pattern = self._patterns[number]
            result.hits[self._store, pattern.canary, pattern.encoding] += 1
        return result

    def _note(self, number: int, _start: int, _end: int, _flags: int, _context: object) -> None:
        self._seen.add(number)


class Scanner:
    """A compiled set of canaries. Reused for every store of one probe run."""

    def __init__(self, canaries: Iterable[Planted]) -> None:
        """Compile all patterns of `canaries`; identical needles are looked for once."""
        unique: dict[bytes, Pattern] = {}
        for canary in canaries:
            for pattern in canary.patterns():
                unique.setdefault(pattern.needle, pattern)
        self._patterns = list(unique.values())
        self._overlap = max(len(pattern.needle) for pattern in self._patterns) - 1
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=["".join(f"\\x{byte:02x}" for byte in pattern.needle).encode() for pattern in self._patterns],
            ids=list(range(len(self._patterns))),
            elements=len(self._patterns),
            flags=hyperscan.HS_FLAG_SINGLEMATCH,
        )

    def open(self, store: str) -> Feed:
        """Return a feed for one continuous text that lies in `store`."""
        return Feed(self._database, self._patterns, self._overlap, store)

    def stream(self, store: str, chunks: Iterable[bytes]) -> ScanResult:
        """Scan `chunks` as one continuous text; matches across chunk borders are found."""
        feed = self.open(store)
        for chunk in chunks:
            feed.feed(chunk)
        return feed.result()

    def files(self, store: str, paths: Iterable[Path]) -> ScanResult:
        """Scan each file of `paths`; one that vanishes meanwhile was temporary, one that can't be read is unseen."""
        result = ScanResult()
        for path in paths:
            try:
                result.add(self.stream(store, _read(path)))
            except FileNotFoundError:
                continue
            except OSError:
                result.unseen.append(f"{store}: a file could not be read")
        return result


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
