"""The whole schema as text: what a migration left, line by line, so that two databases can be compared.

Rule: everything that decides who may do what is in it (rights, policies, row-security flags, function bodies and their
settings, owners, memberships), and nothing that differs between two equal schemas (no oid, no position after a dropped
column, no order of grants). The threat is a `down` that leaves something behind, or a database that somebody changed by
hand and that still looks like ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wellkeep.db.connection import Connection

SCHEMAS = """
SELECT n.nspname::text AS name,
       format('owner %s; rights %s', n.nspowner::regrole,
         (SELECT array_agg(a::text ORDER BY a::text COLLATE "C")
          FROM unnest(coalesce(n.nspacl, acldefault('n', n.nspowner))) a)) AS detail
FROM pg_namespace n WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_RELATIONS = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       format('kind %s; owner %s; persistence %s; row security %s forced %s; options %s; identity %s; method %s; '
              'partition of %s %s; partitioned by %s; of type %s; inherits %s; view %s; rights %s',
         c.relkind, c.relowner::regrole, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
         c.relreplident, (SELECT amname FROM pg_am WHERE oid = c.relam),
         (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = c.oid AND c.relispartition),
         pg_get_expr(c.relpartbound, c.oid),
         CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END, nullif(c.reloftype, 0)::regtype,
         (SELECT string_agg(inhparent::regclass::text, ' ' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid),
         CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
         (SELECT array_agg(a::text ORDER BY a::text COLLATE "C")
          FROM unnest(coalesce(c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char",
                                              c.relowner))) a)) AS detail
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S')
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_COLUMNS = """
SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS name,
       format('place %s; %s; not null %s; default %s; identity %s; generated %s; collation %s; storage %s; '
              'compression %s; statistics %s; options %s; rights %s',
         row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod), a.attnotnull,
         pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, nullif(a.attcollation, 0)::regcollation,
         a.attstorage, a.attcompression, coalesce(a.attstattarget, -1), a.attoptions,
         (SELECT array_agg(a::text ORDER BY a::text COLLATE "C")
          FROM unnest(a.attacl) a)) AS detail
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_CONSTRAINTS = """
SELECT format('%s.%I',
         coalesce(nullif(o.conrelid, 0)::regclass::text, nullif(o.contypid, 0)::regtype::text), o.conname) AS name,
       format('%s; deferrable %s %s; validated %s; local %s', pg_get_constraintdef(o.oid), o.condeferrable,
         o.condeferred, o.convalidated, o.conislocal) AS detail
FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_INDEXES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       format('%s; valid %s; ready %s; clustered %s; owner %s; options %s', pg_get_indexdef(i.indexrelid),
         i.indisvalid, i.indisready, i.indisclustered, c.relowner::regrole, c.reloptions) AS detail
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
POLICIES = """
SELECT format('%s.%I', p.polrelid::regclass, p.polname) AS name,
       format('for %s; permissive %s; to %s; using %s; check %s', p.polcmd, p.polpermissive,
         (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text END, ' '
                            ORDER BY role::regrole::text COLLATE "C") FROM unnest(p.polroles) role),
         pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) AS detail
FROM pg_policy p
"""
FUNCTIONS = """
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
       format('owner %s; rights %s; %s', p.proowner::regrole,
         (SELECT array_agg(a::text ORDER BY a::text COLLATE "C")
          FROM unnest(coalesce(p.proacl, acldefault('f', p.proowner))) a),
         CASE WHEN p.prokind = 'a' THEN (SELECT g::text FROM pg_aggregate g WHERE g.aggfnoid = p.oid)
              ELSE pg_get_functiondef(p.oid) END) AS detail
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_TYPES = """
SELECT format_type(t.oid, NULL) AS name,
       format('kind %s; owner %s; base %s; not null %s; default %s; labels %s; range of %s; rights %s', t.typtype,
         t.typowner::regrole, format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull, t.typdefault,
         (SELECT string_agg(e.enumlabel, ' ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
         (SELECT r.rngsubtype::regtype FROM pg_range r WHERE r.rngtypid = t.oid),
         (SELECT array_agg(a::text ORDER BY a::text COLLATE "C")
          FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) a)) AS detail
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typelem = 0 AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
TRIGGERS = """
SELECT format('%s.%I', tgrelid::regclass, tgname) AS name,
       format('%s; enabled %s', pg_get_triggerdef(oid), tgenabled) AS detail
FROM pg_trigger WHERE NOT tgisinternal
"""
RULES = """
SELECT format('%s.%I', r.ev_class::regclass, r.rulename) AS name, pg_get_ruledef(r.oid) AS detail
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_DEFAULT_RIGHTS = """
SELECT format('%s in %s for %s', d.defaclrole::regrole, coalesce(nullif(d.defaclnamespace, 0)::regnamespace::text, '*'),
              d.defaclobjtype) AS name,
       format('rights %s', (SELECT array_agg(a::text ORDER BY a::text COLLATE "C")
                            FROM unnest(d.defaclacl) a)) AS detail
FROM pg_default_acl d
"""
_ROLES = """
SELECT r.rolname::text AS name,
       format('super %s; inherit %s; createrole %s; createdb %s; login %s; replication %s; bypass %s; limit %s; '
              'member of %s; settings %s',
         r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication, r.rolbypassrls,
         r.rolconnlimit,
         (SELECT string_agg(format('%s%s', m.roleid::regrole, CASE WHEN m.admin_option THEN '*' ELSE '' END), ' '
                            ORDER BY m.roleid::regrole::text) FROM pg_auth_members m WHERE m.member = r.oid),
         (SELECT string_agg(format('%s %s', CASE s.setdatabase WHEN 0 THEN 'all' ELSE 'here' END, s.setconfig), ' '
                            ORDER BY s.setdatabase) FROM pg_db_role_setting s
          WHERE s.setrole = r.oid
            AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))) AS detail
FROM pg_roles r WHERE r.rolname LIKE 'wk\\_%'
"""
_DATABASE = """
SELECT 'this' AS name,
       format('owner %s; encoding %s; rights %s', d.datdba::regrole, pg_encoding_to_char(d.encoding),
         (SELECT array_agg(a::text ORDER BY a::text COLLATE "C")
          FROM unnest(coalesce(d.datacl, acldefault('d', d.datdba))) a)) AS detail
FROM pg_database d WHERE d.datname = current_database()
"""
_COMMENTS = """
SELECT format('%s %s', i.type, i.identity) AS name, d.description AS detail
FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) i
WHERE d.objoid >= 16384
"""
_OTHERS = """
SELECT format('extension %I', extname) AS name, extversion AS detail FROM pg_extension
UNION ALL SELECT format('statistics %s.%I', stxnamespace::regnamespace, stxname), pg_get_statisticsobjdef(oid)
  FROM pg_statistic_ext
UNION ALL SELECT format('event trigger %I', evtname), format('%s %s %s', evtevent, evtfoid::regproc, evtenabled)
  FROM pg_event_trigger
UNION ALL SELECT format('publication %I', pubname), format('all %s', puballtables) FROM pg_publication
UNION ALL SELECT format('operator %s', o.oid::regoperator), o.oprcode::text FROM pg_operator o
  JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE n.nspname NOT LIKE 'pg\\_%'
UNION ALL SELECT format('cast %s to %s', castsource::regtype, casttarget::regtype), castmethod::text
  FROM pg_cast WHERE oid >= 16384
UNION ALL SELECT format('collation %s', c.oid::regcollation), collprovider::text
  FROM pg_collation c WHERE c.oid >= 16384
"""

_QUERIES: Mapping[str, str] = {
    "database": _DATABASE,
    "role": _ROLES,
    "schema": SCHEMAS,
    "default rights": _DEFAULT_RIGHTS,
    "type": _TYPES,
    "relation": _RELATIONS,
    "column": _COLUMNS,
    "constraint": _CONSTRAINTS,
    "index": _INDEXES,
    "policy": POLICIES,
    "function": FUNCTIONS,
    "trigger": TRIGGERS,
    "rule": RULES,
    "comment": _COMMENTS,
    "other": _OTHERS,
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A schema as a mapping from `kind name` to everything about it."""

    objects: Mapping[str, str]

    def differences(self, other: Catalogue) -> list[str]:
        """Return, sorted, what only one has (`+` other, `-` this) and what differs (`~`); empty when they are equal."""
        mine, theirs = self.objects, other.objects
        return [
            *(f"- {name}" for name in sorted(mine.keys() - theirs.keys())),
            *(f"+ {name}" for name in sorted(theirs.keys() - mine.keys())),
            *(f"~ {name}" for name in sorted(mine.keys() & theirs.keys()) if mine[name] != theirs[name]),
        ]


async def snapshot(connection: Connection) -> Catalogue:
    """Return the connected database's catalogue, in one snapshot of it; any role may read it."""
    objects: dict[str, str] = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        for kind, query in _QUERIES.items():
            for row in await connection.fetch(query):
                objects[f"{kind} {row['name']}"] = row["detail"]
    return Catalogue(objects=objects)
