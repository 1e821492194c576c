-- Erasure, and the acts that take two people.
--
-- What is erased leaves nothing that opens: keys, records, history and tags go in one transaction, and a tombstone says
-- so. What stays is what proves it: the digests of the erased states, so that entries of many records can still be held
-- against the store, and the epoch whose key every copy in an old backup needs. An erasure holds the table of tombstones
-- while it is under way: whoever places a legal hold waits for it, and no erasure after that overlooks the hold.

-- Approvals -------------------------------------------------------------------------------------------------------

-- One row an act that somebody asked for. It is given by somebody else, used once by who asked, and then past.
CREATE TABLE access.approval (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  action text NOT NULL CHECK (action IN ('tenant.erase', 'epoch.destroy', 'key.destroy', 'hold.lift')),
  target text NOT NULL CHECK (target ~ '^[a-z0-9][a-z0-9:.-]{0,127}$'),
  requested_by text NOT NULL CHECK (requested_by ~ '^(operator:[a-z_][a-z0-9_-]{0,31}|(api_key|person):[0-9a-f-]{36})$'),
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'given', 'refused', 'used', 'expired')),
  decided_by text CHECK (decided_by ~ '^(operator:[a-z_][a-z0-9_-]{0,31}|(api_key|person):[0-9a-f-]{36})$'),
  decided_at timestamptz,
  used_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK (expires_at > requested_at AND expires_at <= requested_at + interval '8 days'),
  CHECK (decided_by <> requested_by),
  CHECK (state = 'waiting' AND decided_by IS NULL OR state = 'expired'
    OR state IN ('given', 'refused', 'used') AND decided_by IS NOT NULL AND decided_at IS NOT NULL),
  CHECK ((state = 'used') = (used_at IS NOT NULL))
);
COMMENT ON TABLE access.approval IS
  'Acts that need a second person: who asked, who decided, and whether it was used. Nobody decides upon their own.';
CREATE UNIQUE INDEX approval_open ON access.approval (tenant_id, action, target) WHERE state IN ('waiting', 'given');
CALL wk.protect('access.approval', 'wk_app');
CREATE POLICY platform_sees ON access.approval FOR SELECT TO wk_owner USING ((SELECT wk.tenant()) = wk.platform());
GRANT SELECT, INSERT ON access.approval TO wk_app;
GRANT UPDATE (state, decided_by, decided_at, used_at) ON access.approval TO wk_app;

CREATE FUNCTION access.approval_states_only_forward() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RAISE EXCEPTION 'wellkeep: what was decided is not decided again' USING ERRCODE = 'check_violation';
END
$body$;
COMMENT ON FUNCTION access.approval_states_only_forward() IS 'Refuse to open an approval again, or to decide it anew.';
CREATE TRIGGER only_forward BEFORE UPDATE ON access.approval FOR EACH ROW
  WHEN (OLD.state IN ('refused', 'used', 'expired') OR NEW.state = 'waiting'
        OR OLD.state = 'given' AND NEW.state NOT IN ('used', 'expired')
        OR OLD.decided_by IS NOT NULL AND NEW.decided_by IS DISTINCT FROM OLD.decided_by)
  EXECUTE FUNCTION access.approval_states_only_forward();

CREATE FUNCTION access.all_approvals() RETURNS SETOF access.approval
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM wk.require_platform();
  RETURN QUERY SELECT * FROM access.approval ORDER BY requested_at DESC LIMIT 1000;
END
$body$;
COMMENT ON FUNCTION access.all_approvals() IS 'The approvals of all tenants, the newest first, under the platform''s context.';
GRANT EXECUTE ON FUNCTION access.all_approvals() TO wk_app;

-- What stays of the erased ------------------------------------------------------------------------------------------

-- `subject_id` is the zero uuid where the whole tenant was erased. `kms_epoch` is the deployment's epoch that was the
-- current one when the keys were gone: with the keys of it and of all before it, every copy of them is worthless.
CREATE TABLE vault.tombstone (
  tenant_id uuid NOT NULL,
  subject_id uuid NOT NULL,
  event_id uuid NOT NULL,
  kms_epoch integer NOT NULL CHECK (kms_epoch >= 1),
  erased_at timestamptz NOT NULL,
  counts jsonb NOT NULL CHECK (jsonb_typeof(counts) = 'object'),
  again boolean NOT NULL DEFAULT false,
  swept_at timestamptz,
  PRIMARY KEY (tenant_id, subject_id)
);
COMMENT ON TABLE vault.tombstone IS
  'Whose data is erased, by which entry, and under which epoch their keys had been wrapped at last. Ids and counts alone.';
CREATE INDEX tombstone_epoch ON vault.tombstone (kms_epoch);

-- The digests that entries attest of states that are gone: `first_digest` by that of the change, `digest` by that of the
-- newest resealing. A digest of ciphertexts whose key is destroyed tells nothing.
CREATE TABLE vault.erased_state (
  tenant_id uuid NOT NULL,
  collection_id integer NOT NULL,
  record_id uuid NOT NULL,
  revision vault.ordinal NOT NULL,
  event_id uuid NOT NULL,
  deleted boolean,
  first_digest vault.mac NOT NULL,
  resealed_by uuid,
  digest vault.mac NOT NULL,
  erased_by uuid NOT NULL,
  PRIMARY KEY (tenant_id, collection_id, record_id, revision)
);
COMMENT ON TABLE vault.erased_state IS 'Digests of states that were erased: what the entries about them are still held against.';
CREATE INDEX erased_state_event ON vault.erased_state (tenant_id, event_id);
CREATE INDEX erased_state_resealed ON vault.erased_state (tenant_id, resealed_by) WHERE resealed_by IS NOT NULL;
CREATE INDEX erased_state_erased ON vault.erased_state (tenant_id, erased_by, collection_id, record_id, revision);

CALL wk.protect('vault.tombstone', 'wk_app');
CALL wk.protect('vault.erased_state', 'wk_app');
CREATE POLICY tombstones ON vault.tombstone FOR SELECT TO wk_owner USING (true);
GRANT SELECT, INSERT ON vault.tombstone, vault.erased_state TO wk_app;
GRANT UPDATE (swept_at) ON vault.tombstone TO wk_app;
GRANT DELETE ON vault.erased_state TO wk_app;

CREATE FUNCTION vault.tombstones() RETURNS SETOF vault.tombstone
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$ SELECT * FROM vault.tombstone ORDER BY erased_at, tenant_id, subject_id $body$;
COMMENT ON FUNCTION vault.tombstones() IS 'The tombstones of all tenants, the oldest first: ids, times and counts.';
GRANT EXECUTE ON FUNCTION vault.tombstones() TO wk_app, wk_jobs;

-- Whether an epoch's key stands between somebody erased and the end of every copy, and the epoch is the current one.
CREATE FUNCTION vault.erasure_due() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT EXISTS (SELECT FROM vault.tombstone AS t WHERE t.kms_epoch >= (SELECT keys.current_epoch()))
$body$;
COMMENT ON FUNCTION vault.erasure_due() IS
  'Whether the deployment''s epoch must roll, because somebody was erased under the current one.';
GRANT EXECUTE ON FUNCTION vault.erasure_due() TO wk_app, wk_jobs;

CREATE FUNCTION vault.overdue_erasures(since timestamptz) RETURNS TABLE (tenant_id uuid, subject_id uuid, erased_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT t.tenant_id, t.subject_id, t.erased_at FROM vault.tombstone AS t
  WHERE t.erased_at < since
    AND EXISTS (SELECT FROM keys.epochs() AS e WHERE e.epoch <= t.kms_epoch AND e.state <> 'destroyed')
  ORDER BY t.erased_at LIMIT 1000
$body$;
COMMENT ON FUNCTION vault.overdue_erasures(timestamptz) IS
  'Erasures from before then whose keys could still be opened in a backup: an epoch''s key that they need was not destroyed.';
GRANT EXECUTE ON FUNCTION vault.overdue_erasures(timestamptz) TO wk_app, wk_jobs;

-- The act -----------------------------------------------------------------------------------------------------------

-- A hold on the tenant, on everybody, or on one of these people; read from the root log, as ledger.standing_holds says.
CREATE FUNCTION vault.held(people uuid[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT EXISTS (
    SELECT FROM ledger.standing_holds() AS h
    WHERE h.tenant_id = wk.platform()
       OR h.tenant_id = wk.tenant() AND (h.subject_id IS NULL OR people IS NULL OR h.subject_id = ANY (people)))
$body$;
COMMENT ON FUNCTION vault.held(uuid[]) IS
  'Whether a legal hold stands over these people of the entered tenant; null: over anything of the tenant.';
GRANT EXECUTE ON FUNCTION vault.held(uuid[]) TO wk_app;

CREATE FUNCTION vault.await_erasures() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '30s'
AS $body$
BEGIN
  LOCK TABLE vault.tombstone IN SHARE MODE;
END
$body$;
COMMENT ON FUNCTION vault.await_erasures() IS
  'Wait until every erasure has ended that may have begun before a hold stood; a later one sees the hold.';
GRANT EXECUTE ON FUNCTION vault.await_erasures() TO wk_app;

CREATE FUNCTION vault.forget_reasons(people uuid[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  owner constant uuid := wk.tenant();
  gone bigint;
BEGIN
  -- A reason has the id of its request. Those of the tenant are its log's; the text lies with the platform, sealed.
  DELETE FROM ledger.reason AS r
    WHERE r.tenant_id IN (owner, wk.platform()) AND r.event_id IN (
      SELECT e.request FROM ledger.entry AS e
      WHERE e.tenant_id = owner AND e.subject = ANY (people) OR people IS NULL AND e.tenant_id = owner
        AND e.action IN ('hold.placed', 'hold.lifted'));
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END
$body$;
COMMENT ON FUNCTION vault.forget_reasons(uuid[]) IS
  'Delete the sealed reasons of entries about these people of the entered tenant, or about the tenant; the chain stays whole.';
GRANT EXECUTE ON FUNCTION vault.forget_reasons(uuid[]) TO wk_app;

-- Who overwrites a record may delete it: the replay holds either against the ledger.
GRANT DELETE ON vault.record, vault.revision, vault.subject, vault.collection, vault.counter, vault.import, vault.export TO wk_app;

-- Lock a person and all who were merged into them, the survivor first: a merger does the same, so none slips past.
CREATE FUNCTION vault.erasure_group(survivor uuid)
RETURNS TABLE (id uuid, merged_into uuid, erased_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $body$
DECLARE
  owner constant uuid := wk.tenant();
BEGIN
  LOCK TABLE vault.tombstone IN ROW EXCLUSIVE MODE;
  PERFORM FROM vault.subject AS s WHERE s.tenant_id = owner AND s.id = survivor FOR UPDATE;
  -- A statement of its own: whoever was merged into the survivor while we waited is seen now.
  PERFORM FROM vault.subject AS s WHERE s.tenant_id = owner AND s.merged_into = survivor ORDER BY s.id FOR UPDATE;
  RETURN QUERY SELECT s.id, s.merged_into, s.erased_at FROM vault.subject AS s
    WHERE s.tenant_id = owner AND (s.id = survivor OR s.merged_into = survivor) ORDER BY s.id;
END
$body$;

-- Delete everything of these people, whose rows are locked, and say how much it was. Their states' digests are kept
-- already. The current epoch is asked for last: no key of theirs is wrapped anew once the rows are gone.
CREATE FUNCTION vault.erase_people(people uuid[], by_event uuid, at timestamptz, repeated boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $body$
DECLARE
  owner constant uuid := wk.tenant();
  one record;
  places integer[];
  events uuid[];
  jobs uuid[];
  staged uuid[];
  counts jsonb := '{}';
  n bigint;
  tags bigint := 0;
  states bigint := 0;
BEGIN
  PERFORM FROM keys.subject_key AS k WHERE k.tenant_id = owner AND k.subject_id = ANY (people)
    ORDER BY k.subject_id, k.generation FOR UPDATE;
  DELETE FROM keys.subject_key AS k WHERE k.tenant_id = owner AND k.subject_id = ANY (people);
  GET DIAGNOSTICS n = ROW_COUNT;
  counts := counts || jsonb_build_object('keys', n);
  n := 0;
  FOR one IN SELECT r.collection_id, r.id, r.tag_fields, r.tags FROM vault.record AS r
      WHERE r.tenant_id = owner AND r.subject_id = ANY (people) ORDER BY r.collection_id, r.id FOR UPDATE LOOP
    PERFORM vault.remove_tags(owner, one.collection_id, one.id, one.tag_fields, one.tags, '{}');
    DELETE FROM vault.revision AS v
      WHERE v.tenant_id = owner AND v.collection_id = one.collection_id AND v.record_id = one.id;
    GET DIAGNOSTICS n = ROW_COUNT;
    states := states + n;
    tags := tags + cardinality(one.tags);
  END LOOP;
  DELETE FROM vault.record AS r WHERE r.tenant_id = owner AND r.subject_id = ANY (people);
  GET DIAGNOSTICS n = ROW_COUNT;
  counts := counts || jsonb_build_object('records', n, 'revisions', states, 'tags', tags);
  SELECT coalesce(array_agg(DISTINCT s.event_id), '{}'), coalesce(array_agg(DISTINCT s.collection_id), '{}')
    INTO events, places FROM vault.erased_state AS s WHERE s.tenant_id = owner AND s.erased_by = by_event;
  -- The key stays, so that a request sent once more makes nothing anew; what was asked and answered goes.
  UPDATE vault.idempotency AS d
    SET request_mac = decode(repeat('00', 32), 'hex')::vault.mac,
        answer = ('\x574b0100'::bytea || decode(repeat('00', 56), 'hex'))::vault.envelope
    WHERE d.tenant_id = owner AND d.event_id = ANY (events);
  GET DIAGNOSTICS n = ROW_COUNT;
  counts := counts || jsonb_build_object('answers', n);
  -- An import's file may hold any line of these collections; an export says whom its parts hold.
  UPDATE vault.import AS job SET state = CASE WHEN job.state IN ('done', 'failed', 'stopped') THEN job.state ELSE 'failed' END,
      error = CASE WHEN job.state IN ('done', 'failed', 'stopped') THEN job.error ELSE 'subject-erased' END,
      runner = NULL, updated_at = at
    WHERE job.tenant_id = owner AND job.collection_id = ANY (places)
      AND (job.state NOT IN ('done', 'failed', 'stopped') OR EXISTS (
        SELECT FROM vault.blob AS b WHERE b.tenant_id = owner AND b.id IN (job.source_id, job.errors_id) OFFSET 0));
  GET DIAGNOSTICS n = ROW_COUNT;
  counts := counts || jsonb_build_object('imports', n);
  SELECT coalesce(array_agg(b), '{}') INTO staged FROM (
    SELECT unnest(ARRAY[i.source_id, i.errors_id]) AS b FROM vault.import AS i
    WHERE i.tenant_id = owner AND i.collection_id = ANY (places)) AS x;
  SELECT coalesce(array_agg(DISTINCT p.export_id), '{}') INTO jobs FROM vault.export_part AS p
    WHERE p.tenant_id = owner AND p.subjects && people;
  UPDATE vault.export AS job SET state = CASE WHEN job.state IN ('queued', 'running') THEN 'failed' ELSE job.state END,
      error = CASE WHEN job.state IN ('queued', 'running') THEN 'subject-erased' ELSE job.error END,
      runner = NULL, updated_at = at
    WHERE job.tenant_id = owner AND job.id = ANY (jobs);
  GET DIAGNOSTICS n = ROW_COUNT;
  counts := counts || jsonb_build_object('exports', n);
  staged := staged || coalesce((SELECT array_agg(e.blob_id) FROM vault.export AS e
    WHERE e.tenant_id = owner AND e.id = ANY (jobs)), '{}');
  -- Whom its parts hold is of no use without them.
  DELETE FROM vault.export_part AS p WHERE p.tenant_id = owner AND p.export_id = ANY (jobs);
  DELETE FROM vault.blob AS b WHERE b.tenant_id = owner AND b.id = ANY (staged);
  GET DIAGNOSTICS n = ROW_COUNT;
  counts := counts || jsonb_build_object('files', n, 'reasons', vault.forget_reasons(people));
  UPDATE vault.subject AS s SET erased_at = at WHERE s.tenant_id = owner AND s.id = ANY (people);
  INSERT INTO vault.tombstone (tenant_id, subject_id, event_id, kms_epoch, erased_at, counts, again)
    SELECT owner, person, by_event, greatest(keys.current_epoch(), (
             SELECT coalesce(max(k.kms_epoch), 1) FROM keys.tenant_key AS k WHERE k.tenant_id = owner)), at, counts, repeated
    FROM unnest(people) AS person;
  RETURN counts;
END
$body$;

-- Take all keys of a tenant whose doors are closed, in one go: from then on nothing of it opens anywhere.
CREATE FUNCTION vault.erase_keys(by_event uuid, at timestamptz, repeated boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  owner constant uuid := wk.tenant();
  epoch integer;
  subjects bigint;
  files bigint;
  own bigint;
  late bigint;
BEGIN
  LOCK TABLE vault.tombstone IN ROW EXCLUSIVE MODE;
  DELETE FROM keys.subject_key AS k WHERE k.tenant_id = owner;
  GET DIAGNOSTICS subjects = ROW_COUNT;
  -- No key goes while a file is wrapped under it.
  DELETE FROM vault.blob AS b WHERE b.tenant_id = owner;
  GET DIAGNOSTICS files = ROW_COUNT;
  SELECT coalesce(max(k.kms_epoch), 1) INTO epoch FROM keys.tenant_key AS k WHERE k.tenant_id = owner;
  DELETE FROM keys.tenant_key AS k WHERE k.tenant_id = owner;
  GET DIAGNOSTICS own = ROW_COUNT;
  -- A rotation that we waited for left a new key, which the statement above began too early to see.
  DELETE FROM keys.tenant_key AS k WHERE k.tenant_id = owner;
  GET DIAGNOSTICS late = ROW_COUNT;
  own := own + late;
  INSERT INTO vault.tombstone (tenant_id, subject_id, event_id, kms_epoch, erased_at, counts, again)
    VALUES (owner, '00000000-0000-0000-0000-000000000000', by_event, greatest(keys.current_epoch(), epoch), at,
      jsonb_build_object('keys', own + subjects, 'reasons', vault.forget_reasons(NULL),
        'subjects', (SELECT count(*) FROM vault.subject AS s WHERE s.tenant_id = owner),
        'records', (SELECT count(*) FROM vault.record AS r WHERE r.tenant_id = owner),
        'files', files), repeated);
  PERFORM keys.signal_changed();
  RETURN (SELECT t.counts FROM vault.tombstone AS t
          WHERE t.tenant_id = owner AND t.subject_id = '00000000-0000-0000-0000-000000000000');
END
$body$;

-- Sweep up to so many rows of each table of an erased tenant; false once nothing is left.
CREATE FUNCTION vault.sweep(most integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  owner constant uuid := wk.tenant();
  relation text;
  n bigint;
  gone bigint := 0;
BEGIN
  IF NOT EXISTS (SELECT FROM vault.tombstone AS t
                 WHERE t.tenant_id = owner AND t.subject_id = '00000000-0000-0000-0000-000000000000') THEN
    RAISE EXCEPTION 'wellkeep: this tenant is not erased' USING ERRCODE = 'insufficient_privilege';
  END IF;
  FOREACH relation IN ARRAY ARRAY['keys.subject_key', 'keys.tenant_key', 'vault.blob_segment', 'vault.blob',
      'vault.export_part', 'vault.export', 'vault.import', 'vault.idempotency', 'vault.tag', 'vault.revision',
      'vault.record', 'vault.erased_state', 'vault.subject', 'vault.collection', 'vault.counter'] LOOP
    EXECUTE format('DELETE FROM %s AS x WHERE x.tenant_id = $1 AND x.ctid = ANY (ARRAY('
                   'SELECT y.ctid FROM %s AS y WHERE y.tenant_id = $1 LIMIT $2))', relation, relation)
      USING owner, most - gone;
    GET DIAGNOSTICS n = ROW_COUNT;
    gone := gone + n;
    EXIT WHEN gone >= most;
  END LOOP;
  IF gone > 0 THEN
    RETURN true;
  END IF;
  UPDATE vault.tombstone AS t SET swept_at = clock_timestamp()
    WHERE t.tenant_id = owner AND t.subject_id = '00000000-0000-0000-0000-000000000000' AND t.swept_at IS NULL;
  RETURN false;
END
$body$;

-- A key for somebody who was erased would be a way back: a new generation is made for the living alone.
CREATE FUNCTION keys.living_only() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM FROM vault.subject AS s
    WHERE s.tenant_id = NEW.tenant_id AND s.id = NEW.subject_id AND s.erased_at IS NULL FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'wellkeep: nobody who was erased gets a key' USING ERRCODE = 'WK034';
  END IF;
  RETURN NEW;
END
$body$;
COMMENT ON FUNCTION keys.living_only() IS 'Refuse a later key for a subject that was erased, or is not there; WK034.';
CREATE TRIGGER living_only BEFORE INSERT ON keys.subject_key
  FOR EACH ROW WHEN (NEW.generation > 1) EXECUTE FUNCTION keys.living_only();

REVOKE ALL ON FUNCTION vault.erasure_group(uuid), vault.erase_people(uuid[], uuid, timestamptz, boolean),
  vault.erase_keys(uuid, timestamptz, boolean), vault.sweep(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vault.erasure_group(uuid), vault.erase_people(uuid[], uuid, timestamptz, boolean),
  vault.erase_keys(uuid, timestamptz, boolean), vault.sweep(integer) TO wk_app;
