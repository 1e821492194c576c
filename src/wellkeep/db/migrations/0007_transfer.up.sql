-- Imports and exports: sealed blobs in parts, and the jobs that read and write them, each with its checkpoint.
--
-- Rules. Every table is the tenant's. What a blob holds is a STREAM under a key of its own, sealed before it came here;
-- the domain lets nothing else in. A checkpoint is written in the transaction of the batch that it stands for, by the
-- run that holds the job, so a job that is killed and taken over neither loses a line nor takes one twice.

CREATE DOMAIN vault.sealed_stream AS bytea CHECK (
  pg_catalog.substr(VALUE, 1, 4) = '\x57530100'::bytea AND pg_catalog.octet_length(VALUE) >= 43
);

CREATE TABLE vault.blob (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('import_source', 'import_errors', 'export')),
  wrapped bytea NOT NULL CHECK (pg_catalog.octet_length(wrapped) BETWEEN 40 AND 512),
  epoch integer NOT NULL CHECK (epoch BETWEEN 1 AND 65535),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX blob_expires ON vault.blob (tenant_id, expires_at);

-- `n` counts from 0; each part is a run of the blob's stream with a header of its own and segments numbered by its
-- place, so a part sent again replaces itself, and none can stand in another's place. A source's last place holds the
-- list of its parts' digests, sealed like them when the import starts.
-- `digest` is the SHA-256 of `data`: of ciphertext, it tells nothing, and the ledger's entry cites it.
CREATE TABLE vault.blob_segment (
  tenant_id uuid NOT NULL,
  blob_id uuid NOT NULL,
  n integer NOT NULL CHECK (n BETWEEN 0 AND 100001),
  digest bytea NOT NULL CHECK (pg_catalog.octet_length(digest) = 32),
  data vault.sealed_stream NOT NULL,
  PRIMARY KEY (tenant_id, blob_id, n),
  FOREIGN KEY (tenant_id, blob_id) REFERENCES vault.blob (tenant_id, id) ON DELETE CASCADE
);
ALTER TABLE vault.blob_segment ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE vault.blob_segment ALTER COLUMN data SET STATISTICS 0;

-- `caller` is who started it: ids, roles and scopes, asked again for their standing at each batch. `runner` is the run
-- that holds the job; a run whose id no longer stands here stops. `digest` is the sum modulo 2^256 of a keyed MAC per
-- line taken: the same lines in any order and any number of runs give the same sum, and without the key it says nothing.
CREATE TABLE vault.import (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  collection_id integer NOT NULL,
  format text NOT NULL CHECK (format IN ('ndjson', 'csv', 'fhir')),
  state text NOT NULL DEFAULT 'receiving'
    CHECK (state IN ('receiving', 'queued', 'running', 'done', 'failed', 'stopped')),
  error text CHECK (error ~ '^[a-z][a-z0-9-]{0,63}$'),
  caller jsonb NOT NULL,
  key_hash bytea CHECK (pg_catalog.octet_length(key_hash) = 32),
  request_mac bytea CHECK (pg_catalog.octet_length(request_mac) = 32),
  credential uuid,
  source_id uuid NOT NULL,
  errors_id uuid NOT NULL,
  parts integer CHECK (parts BETWEEN 1 AND 100000),
  runner uuid,
  lines bigint NOT NULL DEFAULT 0 CHECK (lines >= 0),
  offset_bytes bigint NOT NULL DEFAULT 0 CHECK (offset_bytes >= 0),
  created bigint NOT NULL DEFAULT 0 CHECK (created >= 0),
  updated bigint NOT NULL DEFAULT 0 CHECK (updated >= 0),
  unchanged bigint NOT NULL DEFAULT 0 CHECK (unchanged >= 0),
  failed bigint NOT NULL DEFAULT 0 CHECK (failed >= 0),
  error_parts integer NOT NULL DEFAULT 0 CHECK (error_parts >= 0),
  error_lines integer NOT NULL DEFAULT 0 CHECK (error_lines >= 0),
  digest bytea NOT NULL DEFAULT pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex')
    CHECK (pg_catalog.octet_length(digest) = 32),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  CHECK (lines >= created + updated + unchanged + failed),
  CHECK ((key_hash IS NULL) = (request_mac IS NULL))
);
-- The same request, sent again with its Idempotency-Key, finds the import that the first one made.
CREATE UNIQUE INDEX import_key ON vault.import (tenant_id, credential, key_hash) NULLS NOT DISTINCT
  WHERE key_hash IS NOT NULL;

CREATE TABLE vault.export (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  collection_id integer NOT NULL,
  format text NOT NULL CHECK (format IN ('ndjson', 'csv', 'fhir')),
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'stopped')),
  error text CHECK (error ~ '^[a-z][a-z0-9-]{0,63}$'),
  caller jsonb NOT NULL,
  field_groups text[] NOT NULL DEFAULT '{}',
  blob_id uuid NOT NULL,
  runner uuid,
  after_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  parts integer NOT NULL DEFAULT 0 CHECK (parts >= 0),
  records bigint NOT NULL DEFAULT 0 CHECK (records >= 0),
  digest bytea NOT NULL DEFAULT pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex')
    CHECK (pg_catalog.octet_length(digest) = 32),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id)
);

-- Which records an export's part holds: the download names them before it opens the part. `field_groups` of an export
-- are those that its fields belong to: who downloads it must see them all.
CREATE TABLE vault.export_part (
  tenant_id uuid NOT NULL,
  export_id uuid NOT NULL,
  n integer NOT NULL CHECK (n BETWEEN 0 AND 100000),
  records uuid[] NOT NULL,
  subjects uuid[] NOT NULL,
  PRIMARY KEY (tenant_id, export_id, n)
);

CALL wk.protect('vault.blob', 'wk_app');
CALL wk.protect('vault.blob_segment', 'wk_app');
CALL wk.protect('vault.import', 'wk_app');
CALL wk.protect('vault.export', 'wk_app');
CALL wk.protect('vault.export_part', 'wk_app');

GRANT SELECT, INSERT ON vault.blob, vault.blob_segment, vault.import, vault.export, vault.export_part TO wk_app;
GRANT UPDATE (digest, data) ON vault.blob_segment TO wk_app;
GRANT UPDATE (state, error, caller, parts, runner, lines, offset_bytes, created, updated, unchanged, failed, error_parts,
  error_lines, digest, updated_at) ON vault.import TO wk_app;
GRANT UPDATE (state, error, field_groups, runner, after_id, parts, records, digest, updated_at) ON vault.export TO wk_app;
GRANT DELETE ON vault.blob, vault.blob_segment, vault.export_part TO wk_app;
GRANT USAGE ON TYPE vault.sealed_stream TO wk_app;

-- One batch of an import: its rows, its entry and its checkpoint commit together or not at all.
CREATE TYPE vault.import_in AS (
  batch vault.bulk_in, import_id uuid, runner uuid, from_line bigint, to_line bigint, to_offset bigint,
  created integer, updated integer, unchanged integer, failed integer, digest bytea,
  errors_id uuid, errors_part integer, errors_digest bytea, errors_data bytea, errors_lines integer
);
CREATE TYPE vault.import_out AS (i integer, status text, refused uuid[]);

-- `superseded`: the run that asks no longer holds the import, or another batch got there first; nothing was written.
CREATE FUNCTION vault.import_batch(elements vault.import_in[]) RETURNS SETOF vault.import_out
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
AS $$
DECLARE
  element vault.import_in;
  place integer := 0;
  written vault.bulk_out;
  out vault.import_out;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    BEGIN
      SELECT * INTO written FROM vault.bulk(ARRAY[element.batch]);
      out := ROW(place, written.status, written.refused);
      IF written.status = 'ok' THEN
        PERFORM wk.enter((element.batch).token);
        UPDATE vault.import AS job SET
          lines = element.to_line, offset_bytes = element.to_offset, created = job.created + element.created,
          updated = job.updated + element.updated, unchanged = job.unchanged + element.unchanged,
          failed = job.failed + element.failed, digest = element.digest,
          error_parts = element.errors_part + (element.errors_data IS NOT NULL)::integer,
          error_lines = job.error_lines + element.errors_lines, updated_at = (element.batch).at
        WHERE job.id = element.import_id AND job.runner = element.runner AND job.state = 'running'
          AND job.lines = element.from_line;
        IF NOT FOUND THEN
          RAISE EXCEPTION 'wellkeep: another run holds the import' USING ERRCODE = 'WK007';
        END IF;
        IF element.errors_data IS NOT NULL THEN
          INSERT INTO vault.blob_segment (tenant_id, blob_id, n, digest, data)
            VALUES (wk.tenant(), element.errors_id, element.errors_part, element.errors_digest, element.errors_data);
        END IF;
      END IF;
    EXCEPTION WHEN SQLSTATE 'WK007' THEN
      out := ROW(place, 'superseded', NULL);
    END;
    RETURN NEXT out;
  END LOOP;
END $$;
GRANT USAGE ON TYPE vault.import_in, vault.import_out TO wk_app;
GRANT EXECUTE ON FUNCTION vault.import_batch(vault.import_in[]) TO wk_app;

-- Which records of a collection have these external ids. The sub-selects keep the planner from walking the collection.
CREATE FUNCTION vault.import_known(collection integer, tags bytea[])
RETURNS TABLE (tag bytea, id uuid, subject_id uuid, sealed_for uuid, revision integer, content_mac bytea)
LANGUAGE sql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
  SELECT wanted.tag, known.id, known.subject_id, known.sealed_for, known.revision, known.content_mac
  FROM unnest(import_known.tags) AS wanted(tag)
  CROSS JOIN LATERAL (
    SELECT t.record_id FROM vault.tag AS t
    WHERE t.tenant_id = (SELECT wk.tenant()) AND t.collection_id = import_known.collection AND t.field_id = 0
      AND t.tag = wanted.tag AND t.slot = '00000000-0000-0000-0000-000000000000'
    LIMIT 1
  ) AS found
  CROSS JOIN LATERAL (
    SELECT r.id, r.subject_id, r.sealed_for, r.revision, r.content_mac FROM vault.record AS r
    WHERE r.tenant_id = (SELECT wk.tenant()) AND r.collection_id = import_known.collection AND r.id = found.record_id
      AND r.deleted_at IS NULL
    LIMIT 1
  ) AS known
$$;
GRANT EXECUTE ON FUNCTION vault.import_known(integer, bytea[]) TO wk_app;

-- Whose the rows of a batch are, with the key that new values of theirs are sealed under: by the blind tag of an external
-- id among the patients, by their own id (who was merged is followed), or for a record that exists, exactly.
CREATE FUNCTION vault.import_subjects(patients integer, tags bytea[], people uuid[], holders uuid[])
RETURNS TABLE (tag bytea, person uuid, holder uuid, subject_id uuid, generation integer, kid bytea, wrapped bytea,
               wrap_epoch integer)
LANGUAGE sql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
  WITH asked AS (
    SELECT patient.tag AS tag, NULL::uuid AS person, NULL::uuid AS holder, coalesce(s.merged_into, s.id) AS subject_id
    FROM vault.import_known(import_subjects.patients, import_subjects.tags) AS patient
    CROSS JOIN LATERAL (
      SELECT one.id, one.merged_into FROM vault.subject AS one
      WHERE one.tenant_id = (SELECT wk.tenant()) AND one.id = patient.subject_id LIMIT 1
    ) AS s
    UNION ALL
    SELECT NULL, s.id, NULL, coalesce(s.merged_into, s.id) FROM vault.subject AS s
    WHERE s.id = ANY (import_subjects.people)
    UNION ALL
    SELECT NULL, NULL, s.id, s.id FROM vault.subject AS s WHERE s.id = ANY (import_subjects.holders)
  )
  SELECT asked.tag, asked.person, asked.holder, asked.subject_id, k.generation, k.kid, k.wrapped, k.wrap_epoch
  FROM asked
  CROSS JOIN LATERAL (
    SELECT key.generation, key.kid, key.wrapped, key.wrap_epoch FROM keys.subject_key AS key
    WHERE key.tenant_id = (SELECT wk.tenant()) AND key.subject_id = asked.subject_id AND key.state = 'active'
    ORDER BY key.generation DESC LIMIT 1
  ) AS k
$$;
GRANT EXECUTE ON FUNCTION vault.import_subjects(integer, bytea[], uuid[], uuid[]) TO wk_app;

-- Blobs past their time, all tenants': ids only, so a system job knows whose context to enter.
CREATE POLICY expiry ON vault.blob FOR SELECT TO wk_owner USING (expires_at < pg_catalog.now());
CREATE FUNCTION vault.expired_blobs(most integer) RETURNS TABLE (tenant_id uuid, id uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT old.tenant_id, old.id FROM vault.blob AS old
  WHERE old.expires_at < now() ORDER BY old.expires_at LIMIT least(greatest(expired_blobs.most, 1), 1000)
$$;
GRANT EXECUTE ON FUNCTION vault.expired_blobs(integer) TO wk_jobs;
GRANT USAGE ON SCHEMA vault TO wk_jobs;

-- The same for answers to Idempotency-Keys: which tenants have some that are past their day.
CREATE POLICY expiry ON vault.idempotency FOR SELECT TO wk_owner
  USING (created_at < pg_catalog.now() - interval '24 hours');
CREATE FUNCTION vault.tenants_with_old_answers(most integer) RETURNS TABLE (tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT old.tenant_id FROM vault.idempotency AS old
  WHERE old.created_at < now() - interval '24 hours'
  LIMIT least(greatest(tenants_with_old_answers.most, 1), 1000)
$$;
GRANT EXECUTE ON FUNCTION vault.tenants_with_old_answers(integer) TO wk_jobs;
