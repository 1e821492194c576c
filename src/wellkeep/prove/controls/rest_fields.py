"""rest.fields: canaries written through the API are found in no store, in no common encoding, and no index tells much.

Three kinds of canary make the scan honest: those planted in sealed fields (must not be found), one planted in clear
(must be found, else the scan is blind) and one never planted (must not be found, else it finds ghosts).
"""

from __future__ import annotations

from wellkeep.access.operators import this_operator
from wellkeep.assembly.index_leaks import leaks
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.planting import plant, plant_files
from wellkeep.prove.probe import Probe
from wellkeep.prove.scan import Scanner, ScanResult
from wellkeep.prove.stage import Stage
from wellkeep.prove.stores import scan_database, scan_files, scan_spool
from wellkeep.prove.world import World
from wellkeep.vault.index_leak import Verdict, measure

_ROUNDS = 4
_HISTOGRAMS = ([(2_600, 1), (2_400, 1)], [(600, 1), (1, 4_400)], [(1, 5_000)])
"""Rows that share a tag, and how many tags have so many."""
_IN_CLEAR = frozenset({"tables and statistics", "WAL", "heap, indexes and temporary files"})
"""Where a value in a field declared plain must be found: in the table, in its file and on the way there."""


async def run(world: World, notes: Notes) -> None:
    """Plant canaries in every sealed field and on every path that takes a value, then look into every store."""
    live = await world.live()
    in_clear, never = Canary.make("in clear"), Canary.make("never planted")
    since = live.operator.core.clock.seconds()
    planted = await _plant(live, notes, in_clear)
    await _indexes(live, notes)
    scanner = Scanner([*planted, in_clear, never])
    found = scan_spool(scanner, since=since)
    try:
        async with live.as_superuser() as connection:
            found.add(await scan_files(live, connection, scanner))
            found.add(await scan_database(connection, scanner))
    except Unseen as unseen:
        notes.blind("look into heap, WAL, statistics and logs", why=str(unseen))
        return
    _judge(notes, found, planted)


async def _indexes(live: Stage, notes: Notes) -> None:
    """Measure what the frequencies of tags tell; the probes' own tenants hold the same few people over and over."""
    told = [measure(histogram).verdict for histogram in _HISTOGRAMS]
    notes.check(
        "controls: indexes of 2 values, of one that a tenth of the records share, of 5,000 that occur once",
        held=told == [Verdict.FEW_VALUES, Verdict.ONE_VALUE, Verdict.OK],
        seen=", ".join(told),
    )
    tenants = [one.id for one in await live.operator.tenants.list(this_operator())]
    others = [one for one in tenants if one not in {live.a.id, live.b.id}]
    found = [one async for one in leaks(live.operator.core, others)]
    skewed = sum(one.leak.verdict.skewed for one in found)
    # Strangers read this: whose index it is, and what it is called, is in the finding.
    notes.check(
        "measured the frequencies of tags in every index",
        held=not skewed,
        seen=f"{skewed} past a limit, each a finding" if skewed else "none has too few values, or one too often",
    )


async def _plant(live: Stage, notes: Notes, in_clear: Canary) -> list[Canary]:
    client = await live.client(live.a.keys["integration"])
    planted = [canary for number in range(_ROUNDS) for canary in await plant(client, number, in_clear=in_clear)]
    try:
        planted += await plant_files(client)
    except Unseen as unseen:
        notes.blind("send canaries through imports and exports", why=str(unseen))
    return planted


def _judge(notes: Notes, found: ScanResult, planted: list[Canary]) -> None:
    leaked = found.found(canary.name for canary in planted)
    where = sorted({f"{store} ({encoding})" for store, name, encoding in found.hits if name in leaked})
    notes.check(
        f"planted {len(planted)} canaries by records, searches, keys, imports and exports; looked for each 8-byte "
        "window, raw, hex, base64, UTF-16",
        held=not leaked and found.bytes > 0,
        seen=f"{len(leaked)} of {len(planted)} in {found.bytes:,} bytes of {found.places} tables and files"
        + (f": {', '.join(where[:4])}" if where else ""),
    )
    clear = {store for store, name, _ in found.hits if name == "in clear"}
    notes.check(
        "positive control: one canary in a field declared plain",
        held=clear >= _IN_CLEAR,
        seen=f"found in {', '.join(sorted(clear))}" if clear else "not found, so the scan is blind",
    )
    ghost = found.found(["never planted"])
    notes.check(
        "negative control: one canary that was never planted",
        held=not ghost,
        seen="found, so the scan sees ghosts" if ghost else "not found",
    )
    for place in sorted(set(found.unseen)):
        notes.blind("look into every store", why=place)


PROBE = Probe(
    claim="rest.fields",
    where=Where.LIVE,
    run=run,
    missing="backups: wellkeep makes none yet",
)
