"""What decides who sees what, as the migrations make it: a list in the package, held against the database itself.

Rules: row security and its policies, triggers, rules, functions, owners and rights of every table of ours are one line
each in `schema.txt`. `scripts/record-schema` writes it from a database that was just migrated, and a test keeps it
equal to one; functions stand there as their SHA-256. The threat is a superuser who adds a policy, a rule or a trigger
that hides rows, or gives a function another body: the rows stay as they were, so nothing that is read of them shows it.
Who goes further and changes PostgreSQL itself is not seen here.

What does not decide it is left out: indexes, and settings of storage, which whoever looks after a server may tune.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from importlib.resources import files
from typing import Final

from wellkeep.db import catalogue
from wellkeep.db.connection import Connection

RECORD: Final = "schema.txt"
SCHEMAS: Final = frozenset({"access", "findings", "keys", "ledger", "queue", "vault", "wk"})
"""Those that are ours: whoever runs a server may have others beside them."""
LEDGER: Final = frozenset({"ledger", "wk"})
"""The schemas in which the ledger and the wall around it lie."""

# A month's table is named after the month; all are like each other.
_MONTH = re.compile(r"^(ledger\.entry)_[0-9]{4}_[0-9]{2}(?=\.|$)")
_MONTHS = r"\1_*"

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       format('kind %s; owner %s; row security %s forced %s; part of %s; guarded %s; view %s; rights %s; on columns %s',
         c.relkind, c.relowner::regrole, c.relrowsecurity, c.relforcerowsecurity,
         (SELECT string_agg(i.inhparent::regclass::text, ' ' ORDER BY i.inhseqno) FROM pg_inherits AS i
          WHERE i.inhrelid = c.oid),
         NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgisinternal AND t.tgenabled <> 'O'),
         CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
         (SELECT string_agg(format('%s %s%s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                                   a.privilege_type, CASE WHEN a.is_grantable THEN '*' END), ' '
                            ORDER BY a.grantee::regrole::text COLLATE "C", a.privilege_type COLLATE "C")
          FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner),
         (SELECT string_agg(format('%I %s %s%s', b.attname, CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                   ELSE a.grantee::regrole::text END, a.privilege_type,
                                   CASE WHEN a.is_grantable THEN '*' END), ' '
                            ORDER BY b.attname, a.grantee::regrole::text COLLATE "C", a.privilege_type COLLATE "C")
          FROM pg_attribute AS b, aclexplode(b.attacl) AS a WHERE b.attrelid = c.oid)) AS detail
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
"""
_QUERIES: Final[Mapping[str, str]] = {
    "schema": catalogue.SCHEMAS,
    "table": _TABLES,
    "policy": catalogue.POLICIES,
    "trigger": catalogue.TRIGGERS,
    "rule": catalogue.RULES,
    "function": catalogue.FUNCTIONS,
}
_SEARCH_PATH = "SET LOCAL search_path = pg_catalog, pg_temp"


class How(StrEnum):
    """How an object differs from what the migrations make."""

    MISSING = "missing"
    ADDED = "added"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One object that is not as the migrations make it: what it is (`policy`), its name, and how it differs."""

    kind: str
    name: str
    how: How

    @property
    def schema(self) -> str:
        """The schema that it lies in."""
        return _schema(self.name)

    @property
    def of_ledger(self) -> bool:
        """Whether what it decides is who sees, or writes, the ledger."""
        return self.schema in LEDGER

    def __str__(self) -> str:
        """Return it as people read it, whoever chose the name: `policy ledger.entry.hide was added`."""
        name = self.name if self.name.isprintable() else ascii(self.name)
        return f"{self.kind} {name} {'is' if self.how is How.MISSING else 'was'} {self.how.value}"


Objects = Mapping[tuple[str, str], str]
"""What there is to compare: kind and name, and what decides."""


def packaged() -> str:
    """Return the record in this program: what its migrations make."""
    return files("wellkeep.db").joinpath(RECORD).read_text(encoding="utf-8")


def recorded() -> Objects:
    """Return the record as it is compared."""
    parts = [line.split("\t") for line in packaged().splitlines() if not line.startswith("#")]
    return {(kind, name): detail for kind, name, detail in parts}


def written(objects: Objects) -> str:
    """Return the record of a database that was just migrated."""
    seen = {(kind, _MONTH.sub(_MONTHS, name)): detail for (kind, name), detail in objects.items()}
    lines = [f"{kind}\t{name}\t{detail}\n" for (kind, name), detail in sorted(seen.items())]
    return "# What the migrations make, written by scripts/record-schema.\n" + "".join(lines)


async def found(connection: Connection) -> Objects:
    """Return what there is in our schemas of the connected database, in one state of it; any role may ask."""
    objects = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_SEARCH_PATH)
        for kind, query in _QUERIES.items():
            for name, detail in await connection.fetch(query):
                if _schema(name) in SCHEMAS:
                    objects[kind, name] = _detail(kind, detail)
    return objects


async def differences(connection: Connection) -> list[Difference]:
    """Return what is not as the migrations make it, sorted; empty where all is."""
    return sorted(_compared(recorded(), await found(connection)))


def _compared(wanted: Objects, there: Objects) -> Iterable[Difference]:
    seen = set()
    for (kind, name), detail in there.items():
        key = (kind, _MONTH.sub(_MONTHS, name))
        seen.add(key)
        if key not in wanted:
            yield Difference(kind, name, How.ADDED)
        elif wanted[key] != detail:
            yield Difference(kind, name, How.CHANGED)
    yield from (Difference(kind, name, How.MISSING) for kind, name in wanted.keys() - seen)


def _schema(name: str) -> str:
    return name.partition(".")[0]


def _detail(kind: str, detail: str) -> str:
    """Return what decides on one line; of a function, whose text has many, a digest."""
    if kind == "function":
        return f"sha256 {sha256(detail.encode()).hexdigest()}"
    return " ".join(detail.split())
