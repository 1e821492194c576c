"""A walk through the catalogue: what is there, against the list that people reviewed (`catalogue.toml`).

Every table is either behind the tenant wall or global with a reason; every right and every function is listed. What is
not on the list is a finding, and so is what is on the list and not there. `wanted` prints the stanza to review.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wellkeep.db.connection import Connection, Record

REVIEWED = Path(__file__).with_name("catalogue.toml")
PINNED = "search_path=pg_catalog, pg_temp"

_TABLES = """
SELECT format('%s.%s', n.nspname, c.relname) AS name, c.relkind::text AS kind, c.relowner::regrole::text AS owner,
       c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, c.relispartition AS partition,
       coalesce(c.reloptions @> ARRAY['security_invoker=true'], false) AS invoker,
       (SELECT a.attname::text
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        WHERE k.conrelid = c.oid AND k.contype = 'p') AS leading
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1
"""
_GRANTS = """
SELECT format('%s.%s', n.nspname, c.relname) AS name,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role,
       a.privilege_type::text AS privilege, NULL AS column
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND a.grantee <> c.relowner
UNION ALL
SELECT format('%s.%s', n.nspname, c.relname),
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, a.privilege_type::text, t.attname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute t ON t.attrelid = c.oid,
     aclexplode(t.attacl) a
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND a.grantee <> c.relowner ORDER BY 1, 2, 3, 4
"""
_POLICIES = """
SELECT format('%s.%s', n.nspname, c.relname) AS name, p.polname::text AS policy,
       (SELECT array_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END ORDER BY r::regrole::text)
        FROM unnest(p.polroles) r) AS roles,
       CASE p.polcmd WHEN '*' THEN 'ALL' WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
            ELSE 'DELETE' END AS command,
       p.polpermissive AS permissive,
       pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS check
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2
"""
_FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name, p.proowner::regrole::text AS owner, p.prosecdef AS definer,
       p.proconfig AS settings, p.prosqlbody IS NOT NULL AS bound,
       (SELECT array_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
        FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee <> p.proowner) AS execute
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1
"""
_FOREIGN_KEYS = """
SELECT k.conrelid::regclass::text AS name, k.conname::text AS constraint, a.attname::text AS here,
       b.attname::text AS there
FROM pg_constraint k
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]
WHERE k.contype = 'f' AND k.conparentid = 0
"""
_PUBLIC = """
SELECT format('schema %s: %s', n.nspname, a.privilege_type) AS name
FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE a.grantee = 0 AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
UNION ALL
SELECT format('database: %s', a.privilege_type)
FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
WHERE d.datname = current_database() AND a.grantee = 0
UNION ALL
SELECT format('database: %s for %s', a.privilege_type, a.grantee::regrole)
FROM pg_database d, aclexplode(d.datacl) a
WHERE d.datname = current_database() AND a.grantee NOT IN (0, d.datdba) AND a.privilege_type <> 'CONNECT'
UNION ALL
SELECT format('type %s: %s', t.oid::regtype, a.privilege_type)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, aclexplode(t.typacl) a
WHERE a.grantee = 0 AND t.typrelid = 0 AND t.typelem = 0
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_TEMPLATE = "(tenant_id = ( SELECT wk.tenant() AS tenant))"


@dataclass
class Seen:
    """One table or function as the catalogue shows it, in the words of the list."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def reviewed() -> Mapping[str, Any]:
    """Return the reviewed list."""
    return tomllib.loads(REVIEWED.read_text(encoding="utf-8"))


async def look(connection: Connection) -> Seen:
    """Read the catalogue; `broken` holds what no list can excuse."""
    await connection.execute("SET search_path = pg_catalog, pg_temp")
    seen = Seen()
    grants = await connection.fetch(_GRANTS)
    policies = await connection.fetch(_POLICIES)
    for row in await connection.fetch(_TABLES):
        name = row["name"]
        if row["partition"]:
            seen.broken += _partition_faults(row, _grants(grant for grant in grants if grant["name"] == name))
            continue
        seen.tables[name] = {
            "grants": _grants(grant for grant in grants if grant["name"] == name),
            "policies": _policies(policy for policy in policies if policy["name"] == name),
            "wall": bool(row["enabled"] and row["forced"]),
            "leading": row["leading"],
            "kind": row["kind"],
        }
        seen.broken += _table_faults(row, seen.tables[name])
    for row in await connection.fetch(_FUNCTIONS):
        seen.functions[row["name"]] = {
            "definer": row["definer"],
            "execute": sorted(row["execute"] or []),
            # A body in the SQL standard's form is bound to its objects when it is made: no path is left to shadow.
            "pinned": PINNED in (row["settings"] or []) or bool(row["bound"] and not row["definer"]),
        }
        seen.broken += _function_faults(row)
    for row in await connection.fetch(_FOREIGN_KEYS):
        if (row["here"], row["there"]) != ("tenant_id", "tenant_id"):
            seen.broken.append(f"{row['name']}: foreign key {row['constraint']} can cross tenants")
    seen.broken += [f"PUBLIC, or a right too much: {row['name']}" for row in await connection.fetch(_PUBLIC)]
    return seen


def findings(seen: Seen, listed: Mapping[str, Any]) -> list[str]:
    """Return what the list does not allow, and what it allows and is not there."""
    found = list(seen.broken)
    tables, functions = listed.get("tables", {}), listed.get("functions", {})
    for name, table in seen.tables.items():
        entry = tables.get(name)
        if entry is None:
            found.append(f"{name}: this table is not on the list. Review and append:\n{wanted(name, table)}")
            continue
        if "global" not in entry and not table["wall"]:
            found.append(f"{name}: a tenant's table without ENABLE and FORCE ROW LEVEL SECURITY")
        if "global" not in entry and table["leading"] != entry.get("tenant_column", "tenant_id"):
            found.append(f"{name}: the primary key does not begin with the tenant")
        if "global" not in entry and not table["policies"]:
            found.append(f"{name}: a tenant's table without a policy")
        found += [
            f"{name}: {what} are {table[what]}, the list says {entry.get(what, {})}"
            for what in ("grants", "policies")
            if table[what] != entry.get(what, {})
        ]
    for name, function in seen.functions.items():
        entry = functions.get(name)
        if entry is None:
            found.append(f"{name}: this function is not on the list. Review and append:\n{wanted(name, function)}")
            continue
        says = {"definer": entry.get("definer", False), "execute": sorted(entry.get("execute", []))}
        if {what: function[what] for what in says} != says:
            found.append(f"{name}: is {function}, the list says {dict(entry)}")
        if not function["pinned"] and (function["definer"] or "unpinned" not in entry):
            found.append(f"{name}: its search_path is not pinned ({PINNED})")
    found += [f"{name}: on the list, but there is no such table" for name in tables if name not in seen.tables]
    found += [f"{name}: on the list, but there is no such function" for name in functions if name not in seen.functions]
    return found


def wanted(name: str, thing: Mapping[str, Any]) -> str:
    """Return the stanza of the list that describes what was seen; a person decides whether it is right."""
    if "execute" in thing:
        lines = [f'[functions."{name}"]']
        if thing["definer"]:
            lines.append("definer = true")
        if not thing["pinned"]:
            lines.append('unpinned = "why its search_path is the caller\'s (never for a definer)"')
        lines.append(f"execute = {_toml(thing['execute'])}")
        return "\n".join(lines) + "\n"
    lines = [f'[tables."{name}"]']
    if not thing["wall"]:
        lines.append('global = "why no tenant owns this"')
    lines += [f"grants.{role} = {_toml(rights)}" for role, rights in thing["grants"].items()]
    lines += [f'policies.{policy} = "{text}"' for policy, text in thing["policies"].items()]
    return "\n".join(lines) + "\n"


def _toml(values: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def _grants(rows: Iterable[Record]) -> dict[str, list[str]]:
    """Return role → rights; a right on columns reads `UPDATE (name, state)`."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        columns = found.setdefault(row["role"], {}).setdefault(row["privilege"], [])
        if row["column"] is not None:
            columns.append(row["column"])
    return {
        role: sorted(f"{right} ({', '.join(columns)})" if columns else right for right, columns in rights.items())
        for role, rights in found.items()
    }


def _policies(rows: Iterable[Record]) -> dict[str, str]:
    """Return policy → its text; that of the one template reads `template: roles`."""
    found = {}
    for row in rows:
        roles = ", ".join(row["roles"])
        template = row["command"] == "ALL" and row["permissive"] and row["using"] == row["check"] == _TEMPLATE
        if template:
            found[row["policy"]] = f"template: {roles}"
            continue
        kind = "" if row["permissive"] else "restrictive "
        clauses = [f"{word} {' '.join(row[word].split())}" for word in ("using", "check") if row[word] is not None]
        found[row["policy"]] = " ".join([f"{kind}{row['command']} to {roles}:", *clauses])
    return found


def _table_faults(row: Record, table: Mapping[str, Any]) -> list[str]:
    name = row["name"]
    found = []
    if row["owner"] != "wk_owner":
        found.append(f"{name}: belongs to {row['owner']}, not to wk_owner")
    if "PUBLIC" in table["grants"]:
        found.append(f"{name}: PUBLIC has rights")
    if any("TRUNCATE" in rights or "TRIGGER" in rights for rights in table["grants"].values()):
        found.append(f"{name}: TRUNCATE and TRIGGER go round row security")
    if row["kind"] == "v" and not row["invoker"]:
        found.append(f"{name}: a view that reads as its owner (security_invoker)")
    return found


def _partition_faults(row: Record, grants: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a partition: its parent's policies don't guard who addresses it directly."""
    name, found = row["name"], []
    if row["owner"] != "wk_owner":
        found.append(f"{name}: belongs to {row['owner']}, not to wk_owner")
    if grants:
        found.append(f"{name}: a partition with rights of its own")
    if not (row["enabled"] and row["forced"]):
        found.append(f"{name}: a partition without ENABLE and FORCE ROW LEVEL SECURITY")
    return found


def _function_faults(row: Record) -> list[str]:
    name = row["name"]
    found = []
    if row["owner"] != "wk_owner":
        found.append(f"{name}: belongs to {row['owner']}, not to wk_owner")
    if "PUBLIC" in (row["execute"] or []):
        found.append(f"{name}: PUBLIC may execute it")
    return found
