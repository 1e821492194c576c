-- Sealing anew what is stored: under another key, in an index's other epoch, sealed where it stood in the clear.
--
-- A state is replaced by its own value alone, compared and swapped: it still is the one that was opened (its event and its
-- newest resealing say so), its patient is there, and the key it goes under is the current one. Its revision and times
-- stay. Nobody is waited for: a record that somebody else changes at the moment is passed over and met again.

CREATE TYPE vault.reseal_in AS (
  history boolean, collection_id integer, id uuid, revision integer, met_event uuid, met_resealed uuid,
  kid bytea, lease boolean, field_ids integer[], sealed bytea[], plain jsonb,
  retagged boolean, tag_fields integer[], tags bytea[], unique_tags integer, tags_digest bytea, prior bytea, event_id uuid
);

-- One status a state: 'ok', 'moved' (it is another one now, or busy), 'stale_key', 'conflict' (a unique value is taken).
-- All states are of records or all of their history. They are written table by table, and one by one where a tag is taken.
CREATE FUNCTION vault.reseal(states vault.reseal_in[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  owner constant uuid := wk.tenant();
  element vault.reseal_in;
  statuses text[];
BEGIN
  statuses := vault.reseal_run(owner, states);
  IF statuses IS NOT NULL THEN
    RETURN statuses;
  END IF;
  FOREACH element IN ARRAY states LOOP
    statuses := statuses || vault.reseal_record(owner, element);
  END LOOP;
  RETURN statuses;
END $$;

-- Write a run of states; null where a tag is taken: then nothing of it stays.
CREATE FUNCTION vault.reseal_run(owner uuid, states vault.reseal_in[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  zero constant uuid := '00000000-0000-0000-0000-000000000000';
  history constant boolean := coalesce(states[1].history, false);
  live integer[];
  people uuid[];
  kids bytea[];
  leases boolean[];
  stale integer[] := '{}';
  retag boolean;
  wanted integer;
  added integer;
BEGIN
  IF history THEN
    SELECT array_agg(e.n), array_agg(v.sealed_for), array_agg(e.kid), array_agg(e.lease), false
      INTO live, people, kids, leases, retag
      FROM unnest(states) WITH ORDINALITY AS e(history, collection_id, id, revision, met_event, met_resealed, kid, lease, field_ids, sealed,
                                       plain, retagged, tag_fields, tags, unique_tags, tags_digest, prior, event_id, n)
      CROSS JOIN LATERAL (
        SELECT x.sealed_for FROM vault.revision x
        WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.record_id = e.id
          AND x.revision = e.revision AND x.event_id = e.met_event
          AND x.resealed_by IS NOT DISTINCT FROM e.met_resealed
        FOR UPDATE SKIP LOCKED
      ) v;
  ELSE
    SELECT array_agg(e.n), array_agg(r.sealed_for), array_agg(e.kid), array_agg(e.lease), bool_or(e.retagged)
      INTO live, people, kids, leases, retag
      FROM unnest(states) WITH ORDINALITY AS e(history, collection_id, id, revision, met_event, met_resealed, kid, lease, field_ids, sealed,
                                       plain, retagged, tag_fields, tags, unique_tags, tags_digest, prior, event_id, n)
      CROSS JOIN LATERAL (
        SELECT x.sealed_for FROM vault.record x
        WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = e.id AND x.revision = e.revision
          AND x.event_id = e.met_event AND x.resealed_by IS NOT DISTINCT FROM e.met_resealed
        FOR UPDATE SKIP LOCKED
      ) r;
  END IF;
  IF cardinality(array_remove(kids, NULL)) > 0 AND cardinality(array_remove(people, NULL)) > 0 THEN
    -- As vault.hold_key does for one; in the order of the keys, so that no two calls wait for each other.
    PERFORM FROM vault.subject s WHERE s.tenant_id = owner AND s.id = ANY (people) ORDER BY s.id FOR KEY SHARE;
    stale := ARRAY(
      SELECT l.n FROM unnest(live, people, kids) AS l(n, person, kid)
      WHERE l.kid IS NOT NULL AND l.person IS NOT NULL AND NOT EXISTS (
        SELECT FROM keys.subject_key k JOIN vault.subject s ON s.tenant_id = k.tenant_id AND s.id = k.subject_id
        WHERE k.tenant_id = owner AND k.subject_id = l.person AND k.kid = l.kid AND k.state = 'active'
          AND s.erased_at IS NULL OFFSET 0));
    stale := stale || ARRAY(
      SELECT w.n FROM (
        SELECT l.n, l.kid FROM unnest(live, people, kids, leases) AS l(n, person, kid, lease)
        WHERE l.lease AND l.person IS NOT NULL ORDER BY l.kid OFFSET 0
      ) w WHERE NOT keys.lease_subject(w.kid));
    live := ARRAY(SELECT l.n FROM unnest(live) AS l(n) WHERE NOT l.n = ANY (stale));
  END IF;
  IF retag THEN
    SELECT count(*) INTO wanted
      FROM unnest(states) WITH ORDINALITY AS e(history, collection_id, id, revision, met_event, met_resealed, kid, lease, field_ids, sealed,
                                       plain, retagged, tag_fields, tags, unique_tags, tags_digest, prior, event_id, n)
      CROSS JOIN LATERAL (
        SELECT x.tags FROM vault.record x
        WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = e.id OFFSET 0
      ) r
      CROSS JOIN LATERAL unnest(e.tags) AS u(tag)
      WHERE e.retagged AND e.n = ANY (live) AND NOT u.tag = ANY (r.tags);
    INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
      SELECT owner, e.collection_id, u.field_id, u.tag, CASE WHEN u.m <= e.unique_tags THEN zero ELSE e.id END, e.id
      FROM unnest(states) WITH ORDINALITY AS e(history, collection_id, id, revision, met_event, met_resealed, kid, lease, field_ids, sealed,
                                       plain, retagged, tag_fields, tags, unique_tags, tags_digest, prior, event_id, n)
      CROSS JOIN LATERAL (
        SELECT x.tags FROM vault.record x
        WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = e.id OFFSET 0
      ) r
      CROSS JOIN LATERAL
        ROWS FROM (unnest(e.tag_fields), unnest(e.tags)) WITH ORDINALITY AS u(field_id, tag, m)
      WHERE e.retagged AND e.n = ANY (live) AND NOT u.tag = ANY (r.tags)
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added < wanted THEN
      RAISE EXCEPTION 'wellkeep: a unique value is taken' USING ERRCODE = 'WK002';
    END IF;
    DELETE FROM vault.tag t USING (
      SELECT e.collection_id, u.field_id, u.tag, e.id
      FROM unnest(states) WITH ORDINALITY AS e(history, collection_id, id, revision, met_event, met_resealed, kid, lease, field_ids, sealed,
                                       plain, retagged, tag_fields, tags, unique_tags, tags_digest, prior, event_id, n)
      CROSS JOIN LATERAL (
        SELECT x.tag_fields, x.tags FROM vault.record x
        WHERE x.tenant_id = owner AND x.collection_id = e.collection_id AND x.id = e.id OFFSET 0
      ) r
      CROSS JOIN LATERAL ROWS FROM (unnest(r.tag_fields), unnest(r.tags)) AS u(field_id, tag)
      WHERE e.retagged AND e.n = ANY (live) AND NOT u.tag = ANY (e.tags) OFFSET 0
    ) d
    WHERE t.tenant_id = owner AND t.collection_id = d.collection_id AND t.field_id = d.field_id AND t.tag = d.tag
      AND t.slot IN (zero, d.id) AND t.record_id = d.id;
  END IF;
  IF history THEN
    UPDATE vault.revision v
      SET field_ids = e.field_ids, sealed = e.sealed::vault.envelope[], plain = e.plain, resealed_by = e.event_id,
          first_digest = coalesce(v.first_digest, e.prior)
      FROM unnest(states) WITH ORDINALITY AS e(history, collection_id, id, revision, met_event, met_resealed, kid, lease, field_ids, sealed,
                                       plain, retagged, tag_fields, tags, unique_tags, tags_digest, prior, event_id, n)
      WHERE e.n = ANY (live) AND v.tenant_id = owner AND v.collection_id = e.collection_id AND v.record_id = e.id
        AND v.revision = e.revision;
  ELSE
    UPDATE vault.record r
      SET field_ids = e.field_ids, sealed = e.sealed::vault.envelope[], plain = e.plain,
          tag_fields = CASE WHEN e.retagged THEN e.tag_fields ELSE r.tag_fields END,
          tags = CASE WHEN e.retagged THEN e.tags ELSE r.tags END,
          tags_digest = CASE WHEN e.retagged THEN e.tags_digest ELSE r.tags_digest END,
          resealed_by = e.event_id, first_digest = coalesce(r.first_digest, e.prior)
      FROM unnest(states) WITH ORDINALITY AS e(history, collection_id, id, revision, met_event, met_resealed, kid, lease, field_ids, sealed,
                                       plain, retagged, tag_fields, tags, unique_tags, tags_digest, prior, event_id, n)
      WHERE e.n = ANY (live) AND r.tenant_id = owner AND r.collection_id = e.collection_id AND r.id = e.id;
  END IF;
  RETURN ARRAY(
    SELECT CASE WHEN p.n = ANY (live) THEN 'ok' WHEN p.n = ANY (stale) THEN 'stale_key' ELSE 'moved' END
    FROM generate_series(1, cardinality(states)) AS p(n) ORDER BY p.n);
EXCEPTION WHEN SQLSTATE 'WK002' THEN
  RETURN NULL;
END $$;

CREATE FUNCTION vault.reseal_record(owner uuid, element vault.reseal_in) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
  zero constant uuid := '00000000-0000-0000-0000-000000000000';
  person uuid;
  old_fields integer[];
  old_tags bytea[];
  wanted integer;
  added integer;
BEGIN
  SELECT r.sealed_for, r.tag_fields, r.tags INTO person, old_fields, old_tags FROM vault.record r
    WHERE r.tenant_id = owner AND r.collection_id = element.collection_id AND r.id = element.id
      AND r.revision = element.revision AND r.event_id = element.met_event
      AND r.resealed_by IS NOT DISTINCT FROM element.met_resealed
    FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN 'moved';
  END IF;
  IF element.kid IS NOT NULL AND person IS NOT NULL
     AND NOT vault.hold_key(owner, person, element.kid, element.lease, false) THEN
    RETURN 'stale_key';
  END IF;
  IF element.retagged THEN
    INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
      SELECT owner, element.collection_id, u.field_id, u.tag,
             CASE WHEN u.n <= element.unique_tags THEN zero ELSE element.id END, element.id
      FROM ROWS FROM (unnest(element.tag_fields), unnest(element.tags)) WITH ORDINALITY AS u(field_id, tag, n)
      WHERE NOT u.tag = ANY (old_tags)
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    wanted := (SELECT count(*) FROM unnest(element.tags) AS u(tag) WHERE NOT u.tag = ANY (old_tags));
    IF added < wanted THEN
      PERFORM vault.remove_tags(owner, element.collection_id, element.id, element.tag_fields, element.tags, old_tags);
      RETURN 'conflict';
    END IF;
    PERFORM vault.remove_tags(owner, element.collection_id, element.id, old_fields, old_tags, element.tags);
  END IF;
  UPDATE vault.record r
    SET field_ids = element.field_ids, sealed = element.sealed::vault.envelope[], plain = element.plain,
        tag_fields = CASE WHEN element.retagged THEN element.tag_fields ELSE r.tag_fields END,
        tags = CASE WHEN element.retagged THEN element.tags ELSE r.tags END,
        tags_digest = CASE WHEN element.retagged THEN element.tags_digest ELSE r.tags_digest END,
        resealed_by = element.event_id, first_digest = coalesce(r.first_digest, element.prior)
    WHERE r.tenant_id = owner AND r.collection_id = element.collection_id AND r.id = element.id;
  RETURN 'ok';
END $$;

-- Whether anything that is stored for a person names this key.
CREATE FUNCTION vault.carries(person uuid, wanted bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
  SELECT EXISTS (
    SELECT FROM vault.subject s
    CROSS JOIN LATERAL (SELECT coalesce(s.merged_into, s.id) AS held OFFSET 0) h
    CROSS JOIN LATERAL (
      SELECT x.collection_id, x.id, x.sealed FROM vault.record x
      WHERE x.tenant_id = s.tenant_id AND x.subject_id = h.held AND x.sealed_for = s.id OFFSET 0
    ) r
    WHERE s.tenant_id = wk.tenant() AND s.id = carries.person AND (
      EXISTS (SELECT FROM unnest(r.sealed) AS e(field) WHERE substr(e.field, 5, 16) = carries.wanted)
      OR EXISTS (
        SELECT FROM vault.revision v CROSS JOIN LATERAL unnest(v.sealed) AS e(field)
        WHERE v.tenant_id = s.tenant_id AND v.collection_id = r.collection_id AND v.record_id = r.id
          AND substr(e.field, 5, 16) = carries.wanted)
    ))
$$;

REVOKE ALL ON FUNCTION vault.reseal(vault.reseal_in[]), vault.reseal_run(uuid, vault.reseal_in[]),
  vault.reseal_record(uuid, vault.reseal_in), vault.carries(uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vault.reseal(vault.reseal_in[]), vault.reseal_run(uuid, vault.reseal_in[]),
  vault.reseal_record(uuid, vault.reseal_in), vault.carries(uuid, bytea) TO wk_app;
GRANT USAGE ON TYPE vault.reseal_in TO wk_app;
