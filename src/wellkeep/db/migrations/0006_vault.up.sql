-- The vault: collections, subjects, records with their history, blind-index tags, idempotency answers.
--
-- Rules. Every table is the tenant's: first key column tenant_id, FORCE ROW LEVEL SECURITY. What is sealed is an
-- envelope or it is not stored. A batched function enters each element's own signed context before it touches a table
-- and asks whether the credential still stands; it never raises for what a caller did wrong, it says so in `status`.
-- Elements that follow one another with the same token and credential are a run, which is worked off by one statement a
-- table: executing a statement costs more than a row of it. The gate hands elements over so ordered.
-- Nothing here can open anything: no key, no plaintext of a sealed field ever reaches PostgreSQL.
--
-- The planner is pinned in each function: a plan made while a table was empty (a sequential scan) would otherwise stay
-- in the session while the table grows. `OFFSET 0` pins the order of joins: tag, record, key; whatever the statistics.

CREATE SCHEMA vault AUTHORIZATION wk_owner;
GRANT USAGE ON SCHEMA vault TO wk_app;

-- A field envelope of format wk1: "WK", a suite that exists, no flag but `padded`, long enough for header and tag.
CREATE DOMAIN vault.envelope AS bytea CHECK (
  pg_catalog.substr(VALUE, 1, 2) = '\x574b'::bytea
  AND pg_catalog.get_byte(VALUE, 2) IN (1, 2)
  AND pg_catalog.get_byte(VALUE, 3) < 2
  AND pg_catalog.octet_length(VALUE) >= 60
);

-- Bounds of hot tables are domains, not CHECKs of the table: those are parsed anew by every INSERT that is executed.
CREATE DOMAIN vault.mac AS bytea CHECK (pg_catalog.octet_length(VALUE) = 32);
CREATE DOMAIN vault.index_tag AS bytea CHECK (pg_catalog.octet_length(VALUE) = 17);
CREATE DOMAIN vault.ordinal AS integer CHECK (VALUE > 0);

CREATE TABLE vault.counter (
  tenant_id uuid PRIMARY KEY,
  next integer NOT NULL DEFAULT 1 CHECK (next > 0)
);

CREATE TABLE vault.collection (
  tenant_id uuid NOT NULL,
  id integer NOT NULL CHECK (id > 0),
  name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  version integer NOT NULL DEFAULT 1 CHECK (version > 0),
  definition jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name)
);

CREATE TABLE vault.subject (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  merged_into uuid,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  erased_at timestamptz,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX subject_merged_into ON vault.subject (tenant_id, merged_into) WHERE merged_into IS NOT NULL;

-- `subject_id` is the person a record is found under; `sealed_for` the person whose key seals it. A merge moves the
-- first and leaves the second. `tags_digest` is of the tags as they were, for the history keeps no tags. `content_mac`
-- lets a repeated import see that nothing changed, without opening anything. A state that was sealed anew names the event
-- of the newest time (`resealed_by`) and keeps the digest that the change's own entry attests (`first_digest`).
CREATE TABLE vault.record (
  tenant_id uuid NOT NULL,
  collection_id integer NOT NULL,
  id uuid NOT NULL,
  subject_id uuid,
  sealed_for uuid,
  revision vault.ordinal NOT NULL,
  event_id uuid NOT NULL,
  field_ids integer[] NOT NULL,
  sealed vault.envelope[] NOT NULL,
  plain jsonb,
  tag_fields integer[] NOT NULL,
  tags bytea[] NOT NULL,
  content_mac vault.mac,
  tags_digest vault.mac NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  deleted_at timestamptz,
  resealed_by uuid,
  first_digest vault.mac,
  PRIMARY KEY (tenant_id, collection_id, id)
);
ALTER TABLE vault.record ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE vault.record ALTER COLUMN sealed SET STATISTICS 0;
ALTER TABLE vault.record ALTER COLUMN tags SET STATISTICS 0;
CREATE INDEX record_subject ON vault.record (tenant_id, subject_id) WHERE subject_id IS NOT NULL;
CREATE INDEX record_event ON vault.record (tenant_id, event_id);
CREATE INDEX record_resealed ON vault.record (tenant_id, resealed_by) WHERE resealed_by IS NOT NULL;

CREATE TABLE vault.revision (
  tenant_id uuid NOT NULL,
  collection_id integer NOT NULL,
  record_id uuid NOT NULL,
  revision vault.ordinal NOT NULL,
  sealed_for uuid,
  event_id uuid NOT NULL,
  field_ids integer[] NOT NULL,
  sealed vault.envelope[] NOT NULL,
  plain jsonb,
  tags_digest vault.mac NOT NULL,
  updated_at timestamptz NOT NULL,
  superseded_at timestamptz NOT NULL,
  resealed_by uuid,
  first_digest vault.mac,
  PRIMARY KEY (tenant_id, collection_id, record_id, revision)
);
ALTER TABLE vault.revision ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE vault.revision ALTER COLUMN sealed SET STATISTICS 0;
CREATE INDEX revision_event ON vault.revision (tenant_id, event_id);
CREATE INDEX revision_resealed ON vault.revision (tenant_id, resealed_by) WHERE resealed_by IS NOT NULL;

-- `slot` is the record's id for an ordinary tag and the zero uuid for a unique one: one key serves both kinds.
CREATE TABLE vault.tag (
  tenant_id uuid NOT NULL,
  collection_id integer NOT NULL,
  field_id integer NOT NULL,
  tag vault.index_tag NOT NULL,
  slot uuid NOT NULL,
  record_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, collection_id, field_id, tag, slot) INCLUDE (record_id)
);
ALTER TABLE vault.tag ALTER COLUMN tag SET STATISTICS 0;

-- `request_mac` is keyed: a bare hash of a body would confirm a guess. `answer` is an envelope. `event_id` is the event of
-- the change that was answered: an erasure finds by it what it must not leave.
CREATE TABLE vault.idempotency (
  tenant_id uuid NOT NULL,
  credential uuid NOT NULL,
  key_hash vault.mac NOT NULL,
  request_mac vault.mac NOT NULL,
  status integer NOT NULL,
  answer vault.envelope NOT NULL,
  created_at timestamptz NOT NULL,
  event_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, credential, key_hash)
);

CALL wk.protect('vault.counter', 'wk_app');
CALL wk.protect('vault.collection', 'wk_app');
CALL wk.protect('vault.subject', 'wk_app');
CALL wk.protect('vault.record', 'wk_app');
CALL wk.protect('vault.revision', 'wk_app');
CALL wk.protect('vault.tag', 'wk_app');
CALL wk.protect('vault.idempotency', 'wk_app');

GRANT SELECT, INSERT ON vault.counter, vault.collection, vault.subject, vault.record, vault.revision, vault.tag,
  vault.idempotency TO wk_app;
GRANT UPDATE (next) ON vault.counter TO wk_app;
GRANT UPDATE (name, version, definition, updated_at) ON vault.collection TO wk_app;
GRANT UPDATE (merged_into, erased_at) ON vault.subject TO wk_app;
GRANT UPDATE (subject_id, revision, event_id, field_ids, sealed, plain, tag_fields, tags, content_mac, tags_digest,
  updated_at, deleted_at, resealed_by, first_digest) ON vault.record TO wk_app;
GRANT UPDATE (field_ids, sealed, plain, resealed_by, first_digest) ON vault.revision TO wk_app;
GRANT UPDATE (request_mac, status, answer, created_at, event_id) ON vault.idempotency TO wk_app;
GRANT DELETE ON vault.tag, vault.idempotency TO wk_app;

-- Reading ----------------------------------------------------------------------------------------------------------

-- A stored state of a record as it leaves the database, with one row of the subject's keys (as many rows as there are
-- generations; none of them for a record of no subject).
CREATE TYPE vault.stored AS (
  i integer, status text, id uuid, subject_id uuid, sealed_for uuid, revision integer, event_id uuid,
  field_ids integer[], sealed bytea[], plain jsonb, tag_fields integer[], tags bytea[], content_mac bytea,
  resealed_by uuid, created_at timestamptz, updated_at timestamptz,
  generation integer, kid bytea, wrapped bytea, wrap_epoch integer, key_state text, leased bigint
);

-- All generations of a person's key. PostgreSQL puts the body in the place of the call; OFFSET 0 keeps it there whole.
CREATE FUNCTION vault.keys_of(owner uuid, person uuid)
RETURNS TABLE (generation integer, kid bytea, wrapped bytea, wrap_epoch integer, state text, leased bigint)
LANGUAGE sql STABLE SECURITY INVOKER AS $$
  SELECT y.generation, y.kid, y.wrapped, y.wrap_epoch, y.state, y.leased FROM keys.subject_key y
  WHERE y.tenant_id = keys_of.owner AND y.subject_id = keys_of.person OFFSET 0
$$;

-- `revision` 0 is the current one; `whole` also returns what a change needs (tags, content_mac).
CREATE TYPE vault.read_in AS (
  token text, credential uuid, collection_id integer, record_id uuid, revision integer, whole boolean
);

CREATE FUNCTION vault.read_batch(elements vault.read_in[]) RETURNS SETOF vault.stored
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  element vault.read_in;
  token text;
  credential uuid;
  owner uuid;
  starts integer[] := '{}';
  place integer := 0;
  low integer;
  high integer;
  run vault.read_in[];
  older boolean := false;
  out vault.stored;
BEGIN
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    older := older OR element.revision > 0;
    IF place = 1 OR token IS DISTINCT FROM element.token OR credential IS DISTINCT FROM element.credential THEN
      starts := starts || place; token := element.token; credential := element.credential;
    END IF;
  END LOOP;
  FOR part IN 1 .. cardinality(starts) LOOP
    low := starts[part]; high := coalesce(starts[part + 1] - 1, place); run := elements[low:high];
    owner := access.admit(run[1].token, run[1].credential);
    IF owner IS NULL THEN
      FOR refused IN low .. high LOOP
        out := NULL; out.i := refused; out.status := 'revoked';
        RETURN NEXT out;
      END LOOP;
      CONTINUE;
    END IF;
    RETURN QUERY
      SELECT low - 1 + e.n::integer, 'ok', r.id, r.subject_id, r.sealed_for, r.revision::integer,
             r.event_id, r.field_ids, r.sealed::bytea[], r.plain,
             CASE WHEN e.whole THEN r.tag_fields END, CASE WHEN e.whole THEN r.tags END,
             CASE WHEN e.whole THEN r.content_mac::bytea END,
             CASE WHEN e.whole THEN r.resealed_by END, r.created_at, r.updated_at,
             k.generation, k.kid, k.wrapped, k.wrap_epoch, k.state, k.leased
      FROM unnest(run) WITH ORDINALITY AS e(token, credential, collection_id, record_id, revision, whole, n)
      CROSS JOIN LATERAL (
        SELECT x.* FROM vault.record x
        WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = e.record_id
          AND x.deleted_at IS NULL OFFSET 0
      ) r
      LEFT JOIN vault.keys_of(owner, r.sealed_for) k ON true
      WHERE e.revision = 0;
    IF older THEN
      RETURN QUERY
        SELECT low - 1 + e.n::integer, 'ok', r.id, r.subject_id, h.sealed_for, h.revision::integer,
               h.event_id, h.field_ids, h.sealed::bytea[], h.plain,
               NULL::integer[], NULL::bytea[], NULL::bytea, NULL::uuid,
               r.created_at, h.updated_at,
               k.generation, k.kid, k.wrapped, k.wrap_epoch, k.state, k.leased
        FROM unnest(run) WITH ORDINALITY AS e(token, credential, collection_id, record_id, revision, whole, n)
        CROSS JOIN LATERAL (
          SELECT x.* FROM vault.record x
          WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = e.record_id
            AND x.deleted_at IS NULL OFFSET 0
        ) r
        CROSS JOIN LATERAL (
          SELECT r.sealed_for, r.revision, r.event_id, r.field_ids, r.sealed, r.plain, r.updated_at
          WHERE r.revision = e.revision
          UNION ALL
          SELECT v.sealed_for, v.revision, v.event_id, v.field_ids, v.sealed, v.plain, v.updated_at
          FROM vault.revision v
          WHERE v.tenant_id = owner AND v.collection_id = r.collection_id AND v.record_id = r.id
            AND v.revision = e.revision
        ) h
        LEFT JOIN vault.keys_of(owner, h.sealed_for) k ON true
        WHERE e.revision > 0;
    END IF;
  END LOOP;
END $$;

-- `first_*` is the condition that drives the search (null: none), `more_tags` the others; `after` is the last id of the
-- page before, `slot_from` the same for an ordinary index and the zero uuid for a unique one. While two epochs of the
-- tenant's index key live, `older_*` are the same tags of the older one: a record has all its tags of either or of both.
CREATE TYPE vault.search_in AS (
  token text, credential uuid, collection_id integer, first_field integer, first_tag bytea, slot_from uuid,
  more_tags bytea[], older_tag bytea, older_more bytea[], subject_id uuid, after uuid, max_rows integer, whole boolean
);

CREATE FUNCTION vault.search_batch(elements vault.search_in[]) RETURNS SETOF vault.stored
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  element vault.search_in;
  token text;
  credential uuid;
  owner uuid;
  starts integer[] := '{}';
  place integer := 0;
  low integer;
  high integer;
  run vault.search_in[];
  tagged boolean := false;
  twofold boolean := false;
  of_subject boolean := false;
  listed boolean := false;
  out vault.stored;
BEGIN
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    IF element.older_tag IS NOT NULL THEN
      twofold := true;
    ELSIF element.first_tag IS NOT NULL THEN
      tagged := true;
    ELSIF element.subject_id IS NOT NULL THEN
      of_subject := true;
    ELSE
      listed := true;
    END IF;
    IF place = 1 OR token IS DISTINCT FROM element.token OR credential IS DISTINCT FROM element.credential THEN
      starts := starts || place; token := element.token; credential := element.credential;
    END IF;
  END LOOP;
  FOR part IN 1 .. cardinality(starts) LOOP
    low := starts[part]; high := coalesce(starts[part + 1] - 1, place); run := elements[low:high];
    owner := access.admit(run[1].token, run[1].credential);
    IF owner IS NULL THEN
      FOR refused IN low .. high LOOP
        out := NULL; out.i := refused; out.status := 'revoked';
        RETURN NEXT out;
      END LOOP;
      CONTINUE;
    END IF;
    IF tagged THEN
      RETURN QUERY
        SELECT low - 1 + e.n::integer, 'ok', r.id, r.subject_id, r.sealed_for, r.revision::integer,
               r.event_id, r.field_ids, r.sealed::bytea[], r.plain,
               CASE WHEN e.whole THEN r.tag_fields END, CASE WHEN e.whole THEN r.tags END,
               CASE WHEN e.whole THEN r.content_mac::bytea END,
               CASE WHEN e.whole THEN r.resealed_by END, r.created_at, r.updated_at,
               k.generation, k.kid, k.wrapped, k.wrap_epoch, k.state, k.leased
        FROM unnest(run) WITH ORDINALITY AS e(token, credential, collection_id, first_field, first_tag, slot_from,
                                              more_tags, older_tag, older_more, subject_id, after, max_rows, whole, n)
        CROSS JOIN LATERAL (
          SELECT s.* FROM vault.tag t
          CROSS JOIN LATERAL (
            SELECT x.* FROM vault.record x
            WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = t.record_id OFFSET 0
          ) s
          WHERE t.tenant_id = owner AND t.collection_id = e.collection_id AND t.field_id = e.first_field
            AND t.tag = e.first_tag AND t.slot >= e.slot_from AND t.record_id > e.after
            AND (e.more_tags IS NULL OR s.tags @> e.more_tags)
            AND (e.subject_id IS NULL OR s.subject_id = e.subject_id)
          ORDER BY t.slot LIMIT e.max_rows
        ) r
        LEFT JOIN vault.keys_of(owner, r.sealed_for) k ON true
        WHERE e.first_tag IS NOT NULL AND e.older_tag IS NULL;
    END IF;
    IF twofold THEN
      RETURN QUERY
        SELECT low - 1 + e.n::integer, 'ok', r.id, r.subject_id, r.sealed_for, r.revision::integer,
               r.event_id, r.field_ids, r.sealed::bytea[], r.plain,
               CASE WHEN e.whole THEN r.tag_fields END, CASE WHEN e.whole THEN r.tags END,
               CASE WHEN e.whole THEN r.content_mac::bytea END,
               CASE WHEN e.whole THEN r.resealed_by END, r.created_at, r.updated_at,
               k.generation, k.kid, k.wrapped, k.wrap_epoch, k.state, k.leased
        FROM unnest(run) WITH ORDINALITY AS e(token, credential, collection_id, first_field, first_tag, slot_from,
                                              more_tags, older_tag, older_more, subject_id, after, max_rows, whole, n)
        CROSS JOIN LATERAL (
          SELECT found.id FROM (
            (SELECT s.id FROM vault.tag t
             CROSS JOIN LATERAL (
               SELECT x.id, x.tags, x.subject_id FROM vault.record x
               WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = t.record_id OFFSET 0
             ) s
             WHERE t.tenant_id = owner AND t.collection_id = e.collection_id AND t.field_id = e.first_field
               AND t.tag = e.first_tag AND t.slot >= e.slot_from AND t.record_id > e.after
               AND (e.more_tags IS NULL OR s.tags @> e.more_tags)
               AND (e.subject_id IS NULL OR s.subject_id = e.subject_id)
             ORDER BY t.slot LIMIT e.max_rows)
            UNION
            (SELECT s.id FROM vault.tag t
             CROSS JOIN LATERAL (
               SELECT x.id, x.tags, x.subject_id FROM vault.record x
               WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = t.record_id OFFSET 0
             ) s
             WHERE t.tenant_id = owner AND t.collection_id = e.collection_id AND t.field_id = e.first_field
               AND t.tag = e.older_tag AND t.slot >= e.slot_from AND t.record_id > e.after
               AND (e.older_more IS NULL OR s.tags @> e.older_more)
               AND (e.subject_id IS NULL OR s.subject_id = e.subject_id)
             ORDER BY t.slot LIMIT e.max_rows)
          ) found ORDER BY found.id LIMIT e.max_rows
        ) m
        CROSS JOIN LATERAL (
          SELECT x.* FROM vault.record x
          WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = m.id OFFSET 0
        ) r
        LEFT JOIN vault.keys_of(owner, r.sealed_for) k ON true
        WHERE e.older_tag IS NOT NULL;
    END IF;
    IF of_subject THEN
      RETURN QUERY
        SELECT low - 1 + e.n::integer, 'ok', r.id, r.subject_id, r.sealed_for, r.revision::integer,
               r.event_id, r.field_ids, r.sealed::bytea[], r.plain,
               NULL::integer[], NULL::bytea[], NULL::bytea, NULL::uuid,
               r.created_at, r.updated_at,
               k.generation, k.kid, k.wrapped, k.wrap_epoch, k.state, k.leased
        FROM unnest(run) WITH ORDINALITY AS e(token, credential, collection_id, first_field, first_tag, slot_from,
                                              more_tags, older_tag, older_more, subject_id, after, max_rows, whole, n)
        CROSS JOIN LATERAL (
          SELECT x.* FROM vault.record x
          WHERE x.tenant_id = owner AND x.subject_id = e.subject_id AND x.collection_id = e.collection_id
            AND x.id > e.after AND x.deleted_at IS NULL
          ORDER BY x.id LIMIT e.max_rows
        ) r
        LEFT JOIN vault.keys_of(owner, r.sealed_for) k ON true
        WHERE e.first_tag IS NULL AND e.subject_id IS NOT NULL;
    END IF;
    IF listed THEN
      RETURN QUERY
        SELECT low - 1 + e.n::integer, 'ok', r.id, r.subject_id, r.sealed_for, r.revision::integer,
               r.event_id, r.field_ids, r.sealed::bytea[], r.plain,
               NULL::integer[], NULL::bytea[], NULL::bytea, NULL::uuid,
               r.created_at, r.updated_at,
               k.generation, k.kid, k.wrapped, k.wrap_epoch, k.state, k.leased
        FROM unnest(run) WITH ORDINALITY AS e(token, credential, collection_id, first_field, first_tag, slot_from,
                                              more_tags, older_tag, older_more, subject_id, after, max_rows, whole, n)
        CROSS JOIN LATERAL (
          SELECT x.* FROM vault.record x
          WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id > e.after AND x.deleted_at IS NULL
          ORDER BY x.id LIMIT e.max_rows
        ) r
        LEFT JOIN vault.keys_of(owner, r.sealed_for) k ON true
        WHERE e.first_tag IS NULL AND e.subject_id IS NULL;
    END IF;
  END LOOP;
END $$;

-- A subject, whom it was merged into, and one row of the keys that new writes for it use.
CREATE TYPE vault.subject_in AS (token text, credential uuid, subject_id uuid);
CREATE TYPE vault.subject_out AS (
  i integer, status text, id uuid, merged_into uuid, created_at timestamptz, erased_at timestamptz,
  generation integer, kid bytea, wrapped bytea, wrap_epoch integer, key_state text, leased bigint
);

CREATE FUNCTION vault.subject_batch(elements vault.subject_in[]) RETURNS SETOF vault.subject_out
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  element vault.subject_in;
  place integer := 0;
  out vault.subject_out;
BEGIN
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    IF access.admit(element.token, element.credential) IS NULL THEN
      out := NULL; out.i := place; out.status := 'revoked';
      RETURN NEXT out;
      CONTINUE;
    END IF;
    RETURN QUERY
      SELECT place, 'ok', s.id, s.merged_into, s.created_at, s.erased_at,
             k.generation, k.kid, k.wrapped, k.wrap_epoch, k.state, k.leased
      FROM (
        -- A column, for the wall lets no condition with a coalesce() through to an index.
        SELECT x.*, coalesce(x.merged_into, x.id) AS person FROM vault.subject x WHERE x.id = element.subject_id OFFSET 0
      ) s
      LEFT JOIN vault.keys_of(s.tenant_id, s.person) k ON true;
  END LOOP;
END $$;

-- Writing ----------------------------------------------------------------------------------------------------------
--
-- Which fields are sealed and indexed, and under which epochs of the tenant's keys, is what a definition's version stands
-- for. A write holds the definition that it was made for (FOR KEY SHARE), whoever changes any of it holds it alone (FOR
-- UPDATE): so no write that was made for the version before is still under way when the new one is seen.
CREATE FUNCTION vault.new_versions() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- The counter first: a collection that is being made is waited for, and then seen.
  INSERT INTO vault.counter AS mine (tenant_id) VALUES (wk.tenant())
    ON CONFLICT (tenant_id) DO UPDATE SET next = mine.next;
  PERFORM FROM vault.collection c ORDER BY c.id FOR UPDATE;
  UPDATE vault.collection SET version = version + 1;
END $$;

-- `subject_mode` 0: of no patient; 1: a new subject with its first key (`kid`, `wrapped`, `wrap_epoch`); 2: a subject
-- that exists, sealed under `kid` (`lease`: take another 4,096 seals for it). The first
-- `unique_tags` tags belong to unique indexes. `answer` is the sealed answer that a repeated Idempotency-Key gets.
CREATE TYPE vault.create_in AS (
  token text, credential uuid, event_id uuid, event bytea, collection_id integer, version integer,
  id uuid, subject_mode integer, subject_id uuid, kid bytea, wrapped bytea, wrap_epoch integer, lease boolean,
  field_ids integer[], sealed bytea[], plain jsonb, tag_fields integer[], tags bytea[], unique_tags integer,
  content_mac bytea, tags_digest bytea, at timestamptz, key_hash bytea, request_mac bytea, answer bytea
);

CREATE TYPE vault.change_in AS (
  token text, credential uuid, event_id uuid, event bytea, collection_id integer, version integer,
  id uuid, expected integer, resealed uuid, keeps boolean, kid bytea, lease boolean,
  field_ids integer[], sealed bytea[], plain jsonb, tag_fields integer[], tags bytea[], unique_tags integer,
  content_mac bytea, tags_digest bytea, at timestamptz, deleted boolean, key_hash bytea, request_mac bytea, answer bytea
);

CREATE TYPE vault.written AS (i integer, status text, stored_mac bytea, answer bytea);

-- Claim an Idempotency-Key for a change of this transaction. Null: it is ours, go on. Otherwise the row that was there.
-- A twin that runs at the same moment waits in the INSERT until the first one has committed, then gets its answer.
CREATE FUNCTION vault.claim_key(
  owner uuid, holder uuid, wanted bytea, new_mac bytea, new_answer bytea, moment timestamptz, by_event uuid
) RETURNS vault.idempotency
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  kept vault.idempotency;
  nobody constant uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
  INSERT INTO vault.idempotency AS mine (tenant_id, credential, key_hash, request_mac, status, answer, created_at,
      event_id)
    VALUES (owner, coalesce(holder, nobody), wanted, new_mac, 201, new_answer, moment, by_event)
    ON CONFLICT (tenant_id, credential, key_hash) DO UPDATE
      SET request_mac = excluded.request_mac, status = excluded.status, answer = excluded.answer,
          created_at = excluded.created_at, event_id = excluded.event_id
      WHERE mine.created_at < excluded.created_at - interval '24 hours';
  IF FOUND THEN
    RETURN NULL;
  END IF;
  SELECT * INTO kept FROM vault.idempotency d
    WHERE d.tenant_id = owner AND d.credential = coalesce(holder, nobody) AND d.key_hash = wanted;
  RETURN kept;
END $$;

-- Take a claim back: what it was for was refused, so the key is free again.
CREATE FUNCTION vault.drop_claim(owner uuid, holder uuid, wanted bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
BEGIN
  IF wanted IS NOT NULL THEN
    DELETE FROM vault.idempotency d
      WHERE d.tenant_id = owner AND d.credential = coalesce(holder, '00000000-0000-0000-0000-000000000000'::uuid)
        AND d.key_hash = wanted;
  END IF;
END $$;

-- Say whether new values may be sealed under `wanted` for a subject, and hold the subject until this transaction ends:
-- an erasure or a merge locks the subject's row first, and so does who replaces or destroys its key, so none can slip past
-- the other. The key is looked at by a statement of its own: the one that waits for the lock sees what was before it. A
-- `fresh` record goes to no subject that was merged into another; a record that is there already keeps its key.
CREATE FUNCTION vault.hold_key(owner uuid, person uuid, wanted bytea, extend boolean, fresh boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
BEGIN
  PERFORM 1 FROM vault.subject s
    WHERE s.tenant_id = owner AND s.id = person AND s.erased_at IS NULL AND (NOT fresh OR s.merged_into IS NULL)
    FOR KEY SHARE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM 1 FROM keys.subject_key k
    WHERE k.tenant_id = owner AND k.subject_id = person AND k.kid = wanted AND k.state = 'active';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  RETURN NOT extend OR keys.lease_subject(wanted);
END $$;

-- Remove those tags of a record that are not among `besides`. One by one: a statement for all of them may be planned, while
-- the table is small, as a walk through all tags of the collection.
CREATE FUNCTION vault.remove_tags(
  owner uuid, of_collection integer, of_record uuid, of_fields integer[], gone bytea[], besides bytea[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  zero constant uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
  FOR place IN 1 .. coalesce(cardinality(gone), 0) LOOP
    IF NOT gone[place] = ANY (besides) THEN
      DELETE FROM vault.tag t
        WHERE t.tenant_id = owner AND t.collection_id = of_collection AND t.field_id = of_fields[place]
          AND t.tag = gone[place] AND t.slot IN (zero, of_record) AND t.record_id = of_record;
    END IF;
  END LOOP;
END $$;

-- Make the records of a run, table by table: all of it is written, or nothing is and the answer is false.
CREATE FUNCTION vault.create_run(owner uuid, run vault.create_in[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  zero constant uuid := '00000000-0000-0000-0000-000000000000';
  nobody constant uuid := zero;
  claims integer;
  leases boolean;
  held integer;
  newcomers integer;
  wanted integer;
  added integer;
BEGIN
  SELECT count(e.key_hash), coalesce(bool_or(e.lease), false), count(*) FILTER (WHERE e.subject_mode = 2),
         count(*) FILTER (WHERE e.subject_mode = 1), coalesce(sum(cardinality(e.tags)), 0)
    INTO claims, leases, held, newcomers, wanted FROM unnest(run) AS e;
  IF claims > 0 THEN
    INSERT INTO vault.idempotency (tenant_id, credential, key_hash, request_mac, status, answer, created_at, event_id)
      SELECT owner, coalesce(e.credential, nobody), e.key_hash, e.request_mac, 201, e.answer, e.at, e.event_id
      FROM unnest(run) AS e WHERE e.key_hash IS NOT NULL
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added < claims THEN
      RAISE EXCEPTION 'wellkeep: an Idempotency-Key was used before' USING ERRCODE = 'WK002';
    END IF;
  END IF;
  IF held > 0 THEN
    -- As vault.hold_key does for one; in the order of the subjects, so that no two calls wait for each other.
    SELECT count(*) INTO added
      FROM (SELECT u.subject_id FROM unnest(run) AS u WHERE u.subject_mode = 2 ORDER BY u.subject_id OFFSET 0) AS e
      CROSS JOIN LATERAL (
        SELECT x.id FROM vault.subject x
        WHERE x.tenant_id = owner AND x.id = e.subject_id AND x.erased_at IS NULL AND x.merged_into IS NULL
        FOR KEY SHARE
      ) s;
    IF added = held THEN
      SELECT count(*) INTO added FROM unnest(run) AS e
        CROSS JOIN LATERAL (
          SELECT y.kid FROM keys.subject_key y
          WHERE y.tenant_id = owner AND y.subject_id = e.subject_id AND y.kid = e.kid AND y.state = 'active' OFFSET 0
        ) k
        WHERE e.subject_mode = 2;
    END IF;
    IF added < held THEN
      RAISE EXCEPTION 'wellkeep: a key is not the current one' USING ERRCODE = 'WK002';
    END IF;
  END IF;
  IF leases THEN
    -- In the order of the keys, so that no two calls wait for each other.
    PERFORM FROM (SELECT e.kid FROM unnest(run) AS e WHERE e.lease ORDER BY e.kid OFFSET 0) AS w
      WHERE NOT keys.lease_subject(w.kid);
    IF FOUND THEN
      RAISE EXCEPTION 'wellkeep: a key is not the current one, or used up' USING ERRCODE = 'WK002';
    END IF;
  END IF;
  IF wanted > 0 THEN
    INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
      SELECT owner, e.collection_id, u.field_id, u.tag, CASE WHEN u.n <= e.unique_tags THEN zero ELSE e.id END, e.id
      FROM unnest(run) AS e,
        ROWS FROM (unnest(e.tag_fields), unnest(e.tags)) WITH ORDINALITY AS u(field_id, tag, n)
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added < wanted THEN
      RAISE EXCEPTION 'wellkeep: a unique value is taken' USING ERRCODE = 'WK002';
    END IF;
  END IF;
  IF newcomers > 0 THEN
    INSERT INTO vault.subject (tenant_id, id, created_at)
      SELECT owner, e.subject_id, e.at FROM unnest(run) AS e WHERE e.subject_mode = 1;
    INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
      SELECT owner, e.subject_id, 1, e.kid, e.wrapped, e.wrap_epoch FROM unnest(run) AS e WHERE e.subject_mode = 1;
  END IF;
  INSERT INTO vault.record (tenant_id, collection_id, id, subject_id, sealed_for, revision, event_id, field_ids,
      sealed, plain, tag_fields, tags, content_mac, tags_digest, created_at, updated_at)
    SELECT owner, e.collection_id, e.id, e.subject_id, e.subject_id, 1, e.event_id, e.field_ids,
           e.sealed::vault.envelope[], e.plain, e.tag_fields, e.tags, e.content_mac, e.tags_digest, e.at, e.at
    FROM unnest(run) AS e
    JOIN vault.collection c ON c.tenant_id = owner AND c.id = e.collection_id AND c.version = e.version
    FOR KEY SHARE OF c;
  GET DIAGNOSTICS added = ROW_COUNT;
  IF added < cardinality(run) THEN
    RAISE EXCEPTION 'wellkeep: a definition is not the current one' USING ERRCODE = 'WK002';
  END IF;
  INSERT INTO ledger.outbox (tenant_id, event_id, event) SELECT owner, e.event_id, e.event FROM unnest(run) AS e;
  RETURN true;
EXCEPTION WHEN SQLSTATE 'WK002' THEN
  RETURN false;
END $$;

-- Make one record, and say what came of it: 'ok', or what stood in the way; then nothing of it stays.
CREATE FUNCTION vault.create_one(owner uuid, element vault.create_in) RETURNS vault.written
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  kept vault.idempotency;
  out vault.written;
  added integer;
  zero constant uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
  out.status := 'ok';
  IF element.key_hash IS NOT NULL THEN
    kept := vault.claim_key(owner, element.credential, element.key_hash, element.request_mac, element.answer,
                            element.at, element.event_id);
    IF kept.tenant_id IS NOT NULL THEN
      out := ROW(NULL, 'replay', kept.request_mac, kept.answer);
      RETURN out;
    END IF;
  END IF;
  IF element.subject_mode = 2
     AND NOT vault.hold_key(owner, element.subject_id, element.kid, element.lease, true) THEN
    out.status := 'stale_key';
  END IF;
  IF out.status = 'ok' AND cardinality(element.tags) > 0 THEN
    INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
      SELECT owner, element.collection_id, u.field_id, u.tag,
             CASE WHEN u.n <= element.unique_tags THEN zero ELSE element.id END, element.id
      FROM ROWS FROM (unnest(element.tag_fields), unnest(element.tags)) WITH ORDINALITY AS u(field_id, tag, n)
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added < cardinality(element.tags) THEN
      out.status := 'conflict';
    END IF;
  END IF;
  IF out.status = 'ok' THEN
    INSERT INTO vault.record (tenant_id, collection_id, id, subject_id, sealed_for, revision, event_id, field_ids,
        sealed, plain, tag_fields, tags, content_mac, tags_digest, created_at, updated_at)
      SELECT owner, c.id, element.id, element.subject_id, element.subject_id, 1, element.event_id,
             element.field_ids, element.sealed::vault.envelope[], element.plain, element.tag_fields, element.tags,
             element.content_mac, element.tags_digest, element.at, element.at
      FROM vault.collection c
      WHERE c.tenant_id = owner AND c.id = element.collection_id AND c.version = element.version
      FOR KEY SHARE OF c;
    IF NOT FOUND THEN
      out.status := 'stale_collection';
    END IF;
  END IF;
  IF out.status = 'ok' THEN
    IF element.subject_mode = 1 THEN
      INSERT INTO vault.subject (tenant_id, id, created_at) VALUES (owner, element.subject_id, element.at);
      INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
        VALUES (owner, element.subject_id, 1, element.kid, element.wrapped, element.wrap_epoch);
    END IF;
    INSERT INTO ledger.outbox (tenant_id, event_id, event) VALUES (owner, element.event_id, element.event);
  ELSE
    -- Nothing of a refused element stays: its tags and its claim go again.
    PERFORM vault.remove_tags(owner, element.collection_id, element.id, element.tag_fields, element.tags, '{}');
    PERFORM vault.drop_claim(owner, element.credential, element.key_hash);
  END IF;
  RETURN out;
END $$;

CREATE FUNCTION vault.create_batch(elements vault.create_in[]) RETURNS SETOF vault.written
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  element vault.create_in;
  token text;
  credential uuid;
  owner uuid;
  starts integer[] := '{}';
  place integer := 0;
  low integer;
  high integer;
  run vault.create_in[];
  whole boolean;
  out vault.written;
BEGIN
  -- Sound because the ledger's own commit flushes the log past this one before anybody is answered.
  PERFORM set_config('synchronous_commit', 'off', true);
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    IF place = 1 OR token IS DISTINCT FROM element.token OR credential IS DISTINCT FROM element.credential THEN
      starts := starts || place; token := element.token; credential := element.credential;
    END IF;
  END LOOP;
  FOR part IN 1 .. cardinality(starts) LOOP
    low := starts[part]; high := coalesce(starts[part + 1] - 1, place); run := elements[low:high];
    owner := access.admit(run[1].token, run[1].credential);
    IF owner IS NULL THEN
      FOR refused IN low .. high LOOP
        out := NULL; out.i := refused; out.status := 'revoked';
        RETURN NEXT out;
      END LOOP;
      CONTINUE;
    END IF;
    -- One by one where there is one, and where one stands in the way.
    whole := false;
    IF high > low THEN
      whole := vault.create_run(owner, run);
    END IF;
    FOR position IN low .. high LOOP
      out := ROW(position, 'ok', NULL, NULL);
      IF NOT whole THEN
        out := vault.create_one(owner, run[position - low + 1]);
        out.i := position;
      END IF;
      RETURN NEXT out;
    END LOOP;
  END LOOP;
END $$;

-- Replace the current state of one record, if it still is the one that was read; the state before goes to the history.
-- Returns a status and never leaves half of a change: tags are tried first and taken back where they clash. A change that
-- `keeps` something of the state that it was made from says how often that was sealed anew (`resealed`): what it kept of
-- one that was sealed anew since would bring an old key back, or a value in the clear.
CREATE FUNCTION vault.apply_change(owner uuid, element vault.change_in) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  zero constant uuid := '00000000-0000-0000-0000-000000000000';
  old vault.record;
  added integer;
  wanted integer;
BEGIN
  SELECT * INTO old FROM vault.record r
    WHERE r.tenant_id = owner AND r.collection_id = element.collection_id AND r.id = element.id
      AND r.deleted_at IS NULL
    FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'not_found';
  ELSIF old.revision <> element.expected THEN
    RETURN 'stale_revision';
  ELSIF element.keeps AND old.resealed_by IS DISTINCT FROM element.resealed THEN
    RETURN 'stale_seal';
  END IF;
  PERFORM 1 FROM vault.collection c
    WHERE c.tenant_id = owner AND c.id = element.collection_id AND c.version = element.version
    FOR KEY SHARE;
  IF NOT FOUND THEN
    RETURN 'stale_collection';
  END IF;
  IF element.kid IS NOT NULL AND old.sealed_for IS NOT NULL
     AND NOT vault.hold_key(owner, old.sealed_for, element.kid, element.lease, false) THEN
    RETURN 'stale_key';
  END IF;
  INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
    SELECT owner, element.collection_id, u.field_id, u.tag,
           CASE WHEN u.n <= element.unique_tags THEN zero ELSE element.id END, element.id
    FROM ROWS FROM (unnest(element.tag_fields), unnest(element.tags)) WITH ORDINALITY AS u(field_id, tag, n)
    WHERE NOT u.tag = ANY (old.tags)
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS added = ROW_COUNT;
  wanted := (SELECT count(*) FROM unnest(element.tags) AS u(tag) WHERE NOT u.tag = ANY (old.tags));
  IF added < wanted THEN
    PERFORM vault.remove_tags(owner, element.collection_id, element.id, element.tag_fields, element.tags, old.tags);
    RETURN 'conflict';
  END IF;
  PERFORM vault.remove_tags(owner, element.collection_id, element.id, old.tag_fields, old.tags, element.tags);
  INSERT INTO vault.revision (tenant_id, collection_id, record_id, revision, sealed_for, event_id, field_ids, sealed,
      plain, tags_digest, updated_at, superseded_at, resealed_by, first_digest)
    VALUES (owner, old.collection_id, old.id, old.revision, old.sealed_for, old.event_id, old.field_ids, old.sealed,
      old.plain, old.tags_digest, old.updated_at, element.at, old.resealed_by, old.first_digest);
  UPDATE vault.record r
    SET revision = old.revision + 1, event_id = element.event_id, field_ids = element.field_ids,
        sealed = element.sealed::vault.envelope[], plain = element.plain, tag_fields = element.tag_fields,
        tags = element.tags, content_mac = element.content_mac, tags_digest = element.tags_digest,
        updated_at = element.at,
        deleted_at = CASE WHEN element.deleted THEN element.at END, resealed_by = NULL, first_digest = NULL
    WHERE r.tenant_id = owner AND r.collection_id = element.collection_id AND r.id = element.id;
  RETURN 'ok';
END $$;

CREATE FUNCTION vault.change_batch(elements vault.change_in[]) RETURNS SETOF vault.written
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  element vault.change_in;
  place integer := 0;
  owner uuid;
  kept vault.idempotency;
  out vault.written;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    out := ROW(place, 'ok', NULL, NULL);
    owner := access.admit(element.token, element.credential);
    IF owner IS NULL THEN
      out.status := 'revoked';
      RETURN NEXT out;
      CONTINUE;
    END IF;
    IF element.key_hash IS NOT NULL THEN
      kept := vault.claim_key(owner, element.credential, element.key_hash, element.request_mac, element.answer,
                              element.at, element.event_id);
      IF kept.tenant_id IS NOT NULL THEN
        out := ROW(place, 'replay', kept.request_mac, kept.answer);
        RETURN NEXT out;
        CONTINUE;
      END IF;
    END IF;
    out.status := vault.apply_change(owner, element);
    IF out.status = 'ok' THEN
      INSERT INTO ledger.outbox (tenant_id, event_id, event) VALUES (owner, element.event_id, element.event);
    ELSE
      PERFORM vault.drop_claim(owner, element.credential, element.key_hash);
    END IF;
    RETURN NEXT out;
  END LOOP;
END $$;

-- Bulk -------------------------------------------------------------------------------------------------------------

-- What is known of records with these tags of one field: for an import that must not write what is there already.
CREATE TYPE vault.locate_in AS (token text, credential uuid, collection_id integer, field_ids integer[], tags bytea[]);
CREATE TYPE vault.located AS (
  i integer, status text, field_id integer, tag bytea, id uuid, subject_id uuid, sealed_for uuid, revision integer,
  content_mac bytea
);

-- Only unique indexes are asked: one tag, at most one record.
CREATE FUNCTION vault.locate_batch(elements vault.locate_in[]) RETURNS SETOF vault.located
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  element vault.locate_in;
  place integer := 0;
  owner uuid;
  out vault.located;
BEGIN
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    owner := access.admit(element.token, element.credential);
    IF owner IS NULL THEN
      out := NULL; out.i := place; out.status := 'revoked';
      RETURN NEXT out;
      CONTINUE;
    END IF;
    RETURN QUERY
      SELECT place, 'ok', u.field_id, u.tag, r.id, r.subject_id, r.sealed_for, r.revision::integer, r.content_mac::bytea
      FROM unnest(element.field_ids, element.tags) AS u(field_id, tag)
      CROSS JOIN LATERAL (
        SELECT x.tenant_id, x.record_id FROM vault.tag x
        WHERE x.tenant_id = owner AND x.collection_id = element.collection_id AND x.field_id = u.field_id
          AND x.tag = u.tag AND x.slot = '00000000-0000-0000-0000-000000000000' OFFSET 0
      ) t
      CROSS JOIN LATERAL (
        SELECT x.* FROM vault.record x
        WHERE x.tenant_id = t.tenant_id AND x.collection_id = element.collection_id AND x.id = t.record_id OFFSET 0
      ) r;
  END LOOP;
END $$;

-- One row of a bulk write. `expected` 0 makes a record, else it is the revision that is to be replaced.
CREATE TYPE vault.bulk_row AS (
  id uuid, expected integer, subject_mode integer, subject_id uuid, kid bytea, wrapped bytea, wrap_epoch integer,
  lease boolean, field_ids integer[], sealed bytea[], plain jsonb, tag_fields integer[], tags bytea[],
  unique_tags integer, content_mac bytea, tags_digest bytea
);

-- A batch of at most 500 rows under one tenant's token, with one event: all of it is written or nothing is.
CREATE TYPE vault.bulk_in AS (
  token text, credential uuid, event_id uuid, event bytea, collection_id integer, version integer, at timestamptz,
  key_hash bytea, request_mac bytea, answer bytea, rows vault.bulk_row[]
);

-- Where rows stand in the way (`conflict`, `stale_key`, `stale_revision`), their ids are in `refused` and nothing of
-- the batch stays.
CREATE TYPE vault.bulk_out AS (i integer, status text, refused uuid[], stored_mac bytea, answer bytea);

-- Write the rows that make records, set by set; returns the ids that may not be written. Unpacking an array of rows is
-- most of the cost here, so it is gone through once for each table and once for what must be known before.
CREATE FUNCTION vault.bulk_create(owner uuid, batch vault.bulk_in) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  zero constant uuid := '00000000-0000-0000-0000-000000000000';
  people uuid[];
  kids bytea[];
  newcomers boolean;
  leases boolean;
  held integer;
  wanted integer;
  added integer;
  refused uuid[];
BEGIN
  SELECT coalesce(sum(cardinality(b.tags)), 0), coalesce(bool_or(b.subject_mode = 1), false),
         coalesce(bool_or(b.subject_mode = 2 AND b.lease), false),
         array_agg(b.subject_id) FILTER (WHERE b.subject_mode = 2), array_agg(b.kid) FILTER (WHERE b.subject_mode = 2)
    INTO wanted, newcomers, leases, people, kids
    FROM unnest(batch.rows) b WHERE b.expected = 0;
  IF people IS NOT NULL THEN
    SELECT array_agg(d.subject_id), array_agg(d.kid) INTO people, kids
      FROM (SELECT DISTINCT p.subject_id, p.kid FROM unnest(people, kids) AS p(subject_id, kid)) d;
    -- As vault.hold_key does for one; in the order of the subjects, so that no two calls wait for each other.
    SELECT count(*) INTO held
      FROM (SELECT DISTINCT p.subject_id FROM unnest(people) AS p(subject_id) ORDER BY p.subject_id OFFSET 0) AS e
      CROSS JOIN LATERAL (
        SELECT x.id FROM vault.subject x
        WHERE x.tenant_id = owner AND x.id = e.subject_id AND x.erased_at IS NULL AND x.merged_into IS NULL
        FOR KEY SHARE
      ) s;
    SELECT count(*) INTO added FROM unnest(people, kids) AS p(subject_id, kid)
      CROSS JOIN LATERAL (
        SELECT y.kid FROM keys.subject_key y
        WHERE y.tenant_id = owner AND y.subject_id = p.subject_id AND y.kid = p.kid AND y.state = 'active' OFFSET 0
      ) k;
    IF added < cardinality(kids) OR held < (SELECT count(DISTINCT p.subject_id) FROM unnest(people) AS p(subject_id)) THEN
      RETURN ARRAY(
        SELECT b.id FROM unnest(batch.rows) b WHERE b.expected = 0 AND b.subject_mode = 2 AND NOT EXISTS (
          SELECT FROM keys.subject_key k JOIN vault.subject s ON s.tenant_id = k.tenant_id AND s.id = k.subject_id
          WHERE k.tenant_id = owner AND k.subject_id = b.subject_id AND k.kid = b.kid AND k.state = 'active'
            AND s.erased_at IS NULL AND s.merged_into IS NULL OFFSET 0));
    END IF;
    IF leases THEN
      refused := ARRAY(
        SELECT w.id FROM (
          SELECT b.id, b.kid FROM unnest(batch.rows) b
          WHERE b.expected = 0 AND b.subject_mode = 2 AND b.lease ORDER BY b.kid OFFSET 0
        ) AS w WHERE NOT keys.lease_subject(w.kid));
      IF cardinality(refused) > 0 THEN
        RETURN refused;
      END IF;
    END IF;
  END IF;
  INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
    SELECT owner, batch.collection_id, u.field_id, u.tag,
           CASE WHEN u.n <= b.unique_tags THEN zero ELSE b.id END, b.id
    FROM unnest(batch.rows) b,
      ROWS FROM (unnest(b.tag_fields), unnest(b.tags)) WITH ORDINALITY AS u(field_id, tag, n)
    WHERE b.expected = 0
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS added = ROW_COUNT;
  IF added < wanted THEN
    RETURN ARRAY(
      SELECT b.id FROM unnest(batch.rows) b WHERE b.expected = 0 AND cardinality(b.tags) > (
        SELECT count(*) FROM unnest(b.tag_fields, b.tags) AS u(field_id, tag)
        CROSS JOIN LATERAL (
          SELECT x.tag FROM vault.tag x
          WHERE x.tenant_id = owner AND x.collection_id = batch.collection_id AND x.field_id = u.field_id
            AND x.tag = u.tag AND x.slot IN (zero, b.id) AND x.record_id = b.id OFFSET 0
        ) t));
  END IF;
  IF newcomers THEN
    INSERT INTO vault.subject (tenant_id, id, created_at)
      SELECT owner, b.subject_id, batch.at FROM unnest(batch.rows) b WHERE b.expected = 0 AND b.subject_mode = 1;
    INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
      SELECT owner, b.subject_id, 1, b.kid, b.wrapped, b.wrap_epoch FROM unnest(batch.rows) b
      WHERE b.expected = 0 AND b.subject_mode = 1;
  END IF;
  INSERT INTO vault.record (tenant_id, collection_id, id, subject_id, sealed_for, revision, event_id, field_ids,
      sealed, plain, tag_fields, tags, content_mac, tags_digest, created_at, updated_at)
    SELECT owner, batch.collection_id, b.id, b.subject_id, b.subject_id, 1, batch.event_id, b.field_ids,
           b.sealed::vault.envelope[], b.plain, b.tag_fields, b.tags, b.content_mac, b.tags_digest, batch.at, batch.at
    FROM unnest(batch.rows) b WHERE b.expected = 0;
  RETURN '{}';
END $$;

CREATE FUNCTION vault.bulk_change(owner uuid, batch vault.bulk_in) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  changed vault.bulk_row;
  refused uuid[] := '{}';
BEGIN
  FOR changed IN SELECT b.* FROM unnest(batch.rows) b WHERE b.expected > 0 ORDER BY b.id LOOP
    IF vault.apply_change(owner, ROW(
         NULL, NULL, batch.event_id, NULL, batch.collection_id, batch.version, changed.id, changed.expected,
         NULL, false, changed.kid, changed.lease, changed.field_ids, changed.sealed, changed.plain, changed.tag_fields, changed.tags,
         changed.unique_tags, changed.content_mac, changed.tags_digest, batch.at, false, NULL, NULL, NULL
       )::vault.change_in) <> 'ok' THEN
      refused := refused || changed.id;
    END IF;
  END LOOP;
  RETURN refused;
END $$;

CREATE FUNCTION vault.bulk(elements vault.bulk_in[]) RETURNS SETOF vault.bulk_out
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  element vault.bulk_in;
  place integer := 0;
  owner uuid;
  kept vault.idempotency;
  out vault.bulk_out;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    out := ROW(place, 'ok', NULL, NULL, NULL);
    owner := access.admit(element.token, element.credential);
    IF owner IS NULL THEN
      out.status := 'revoked';
      RETURN NEXT out;
      CONTINUE;
    END IF;
    IF element.key_hash IS NOT NULL THEN
      kept := vault.claim_key(owner, element.credential, element.key_hash, element.request_mac, element.answer,
                              element.at, element.event_id);
      IF kept.tenant_id IS NOT NULL THEN
        out := ROW(place, 'replay', NULL, kept.request_mac, kept.answer);
        RETURN NEXT out;
        CONTINUE;
      END IF;
    END IF;
    PERFORM 1 FROM vault.collection c
      WHERE c.tenant_id = owner AND c.id = element.collection_id AND c.version = element.version
      FOR KEY SHARE;
    IF NOT FOUND THEN
      out.status := 'stale_collection';
    ELSE
      BEGIN
        out.refused := vault.bulk_create(owner, element);
        IF cardinality(out.refused) = 0 THEN
          out.refused := vault.bulk_change(owner, element);
        END IF;
        IF cardinality(out.refused) > 0 THEN
          RAISE EXCEPTION 'wellkeep: rows refused' USING ERRCODE = 'WK002';
        END IF;
        INSERT INTO ledger.outbox (tenant_id, event_id, event) VALUES (owner, element.event_id, element.event);
      EXCEPTION WHEN SQLSTATE 'WK002' THEN
        out.status := 'refused';
      END;
    END IF;
    IF out.status <> 'ok' THEN
      PERFORM vault.drop_claim(owner, element.credential, element.key_hash);
    END IF;
    RETURN NEXT out;
  END LOOP;
END $$;

-- Collections ------------------------------------------------------------------------------------------------------

-- Take `how_many` ids from the tenant's counter; an id is never given twice, not even after a deletion.
CREATE FUNCTION vault.take_ids(how_many integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO vault.counter AS mine (tenant_id, next) VALUES (wk.tenant(), 1 + how_many)
    ON CONFLICT (tenant_id) DO UPDATE SET next = mine.next + how_many
    RETURNING next - how_many
$$;

-- The collections of the tenant, or the one of that name.
CREATE TYPE vault.collection_in AS (token text, credential uuid, name text);
CREATE TYPE vault.collection_out AS (
  i integer, status text, id integer, name text, version integer, definition jsonb, created_at timestamptz,
  updated_at timestamptz, index_epochs integer[], data_epoch integer
);

-- Under which epochs a write tags (the newest first), and under which it seals what is no patient's.
CREATE FUNCTION vault.index_epochs() RETURNS integer[]
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
  SELECT array_agg(k.epoch ORDER BY k.epoch DESC) FROM keys.tenant_key k
  WHERE k.tenant_id = wk.tenant() AND k.purpose = 'INDEX' AND k.state IN ('active', 'decrypt_only')
$$;
CREATE FUNCTION vault.data_epoch() RETURNS integer
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
  SELECT max(k.epoch) FROM keys.tenant_key k
  WHERE k.tenant_id = wk.tenant() AND k.purpose = 'DATA' AND k.state = 'active'
$$;

CREATE FUNCTION vault.collection_batch(elements vault.collection_in[]) RETURNS SETOF vault.collection_out
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  element vault.collection_in;
  place integer := 0;
  out vault.collection_out;
BEGIN
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    IF access.admit(element.token, element.credential) IS NULL THEN
      out := NULL; out.i := place; out.status := 'revoked';
      RETURN NEXT out;
      CONTINUE;
    END IF;
    RETURN QUERY
      SELECT place, 'ok', c.id, c.name, c.version, c.definition, c.created_at, c.updated_at, vault.index_epochs(),
             vault.data_epoch()
      FROM vault.collection c WHERE element.name IS NULL OR c.name = element.name
      ORDER BY c.name;
  END LOOP;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vault FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vault TO wk_app;
GRANT USAGE ON TYPE vault.envelope, vault.mac, vault.index_tag, vault.ordinal, vault.stored,
  vault.read_in, vault.search_in, vault.subject_in, vault.subject_out,
  vault.create_in, vault.change_in, vault.written, vault.locate_in, vault.located,
  vault.bulk_row, vault.bulk_in, vault.bulk_out, vault.collection_in, vault.collection_out TO wk_app;
