-- The life of keys: epochs of the deployment, news between workers, rotations under way.
--
-- A tenant key needs the root key and the key of the deployment's epoch that stands in `kms_epoch`. An epoch's key lies
-- outside of PostgreSQL and of its backups; destroying it makes everything worthless that was wrapped under it and is
-- not wrapped anew. Which epoch is the current one is said here, never by which keys exist.

CREATE TABLE keys.epoch (
    epoch        integer     PRIMARY KEY CHECK (epoch >= 1),
    state        text        NOT NULL DEFAULT 'active'
        CHECK (state IN ('active', 'decrypt_only', 'retired', 'destroyed')),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at   timestamptz,
    destroy_at   timestamptz,
    destroyed_at timestamptz,
    ordered_at   timestamptz,
    CHECK ((state IN ('retired', 'destroyed')) = (retired_at IS NOT NULL AND destroy_at IS NOT NULL)),
    CHECK ((state = 'destroyed') = (destroyed_at IS NOT NULL))
);
-- `destroy_at` is when the destruction is ordered; once it is (`ordered_at`), when the key service says the key is gone.
COMMENT ON TABLE keys.epoch IS
    'The epochs of the deployment''s outer keys. Retired: nothing is wrapped under it any more. Destroyed: from then on, no backup either opens under it.';
CREATE UNIQUE INDEX epoch_active ON keys.epoch (state) WHERE state = 'active';
INSERT INTO keys.epoch (epoch) VALUES (1);
CREATE TRIGGER lives_only_forward BEFORE UPDATE OF state ON keys.epoch
    FOR EACH ROW WHEN (NEW.state <> OLD.state AND keys.rank(NEW.state) < keys.rank(OLD.state))
    EXECUTE FUNCTION keys.lives_only_forward();

-- Whatever the owner's functions below ask of all tenants is asked of this table alone, in numbers.
CREATE POLICY epochs_counted ON keys.tenant_key FOR SELECT TO wk_owner USING (true);

CREATE FUNCTION keys.epochs() RETURNS SETOF keys.epoch
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM keys.epoch ORDER BY epoch $$;
COMMENT ON FUNCTION keys.epochs() IS 'All epochs, the oldest first.';
GRANT EXECUTE ON FUNCTION keys.epochs() TO wk_app, wk_jobs, wk_migrate;

CREATE FUNCTION keys.current_epoch() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT epoch FROM keys.epoch WHERE state = 'active' $$;
COMMENT ON FUNCTION keys.current_epoch() IS 'The epoch that new wrappings belong to.';
GRANT EXECUTE ON FUNCTION keys.current_epoch() TO wk_app, wk_jobs, wk_migrate;

CREATE FUNCTION keys.epoch_rows(of_epoch integer) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT count(*) FROM keys.tenant_key AS k WHERE k.kms_epoch = of_epoch AND k.state <> 'destroyed' $$;
COMMENT ON FUNCTION keys.epoch_rows(integer) IS 'How many keys of all tenants are wrapped under an epoch.';
GRANT EXECUTE ON FUNCTION keys.epoch_rows(integer) TO wk_app, wk_jobs;

-- An epoch that rows still come to can't be retired: whoever writes one holds the epoch's row meanwhile.
CREATE FUNCTION keys.hold_epoch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM 1 FROM keys.epoch AS e WHERE e.epoch = NEW.kms_epoch AND e.state IN ('active', 'decrypt_only') FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'wellkeep: nothing is wrapped under this epoch any more' USING ERRCODE = 'WK030';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER hold_epoch BEFORE INSERT ON keys.tenant_key
    FOR EACH ROW WHEN (NEW.kms_epoch > 0) EXECUTE FUNCTION keys.hold_epoch();
CREATE TRIGGER hold_epoch_again BEFORE UPDATE OF kms_epoch ON keys.tenant_key
    FOR EACH ROW WHEN (NEW.kms_epoch <> OLD.kms_epoch) EXECUTE FUNCTION keys.hold_epoch();

CREATE FUNCTION keys.begin_epoch(next integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM wk.require_platform();
    LOCK TABLE keys.epoch IN SHARE ROW EXCLUSIVE MODE;
    IF next <> (SELECT max(e.epoch) + 1 FROM keys.epoch AS e) THEN
        RETURN false;
    END IF;
    UPDATE keys.epoch AS e SET state = 'decrypt_only' WHERE e.state = 'active';
    INSERT INTO keys.epoch (epoch) VALUES (next);
    RETURN true;
END
$$;
COMMENT ON FUNCTION keys.begin_epoch(integer) IS
    'Make the next epoch the current one, under the platform''s context, after its key exists; false where it is not the next.';
GRANT EXECUTE ON FUNCTION keys.begin_epoch(integer) TO wk_app, wk_jobs;

CREATE FUNCTION keys.retire_epoch(of_epoch integer, destroy timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM wk.require_platform();
    PERFORM 1 FROM keys.epoch AS e WHERE e.epoch = of_epoch AND e.state = 'decrypt_only' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF keys.epoch_rows(of_epoch) > 0 THEN
        RAISE EXCEPTION 'wellkeep: keys are still wrapped under this epoch' USING ERRCODE = 'WK031';
    END IF;
    UPDATE keys.epoch AS e SET state = 'retired', retired_at = clock_timestamp(), destroy_at = destroy
        WHERE e.epoch = of_epoch;
    RETURN true;
END
$$;
COMMENT ON FUNCTION keys.retire_epoch(integer, timestamptz) IS
    'Retire an epoch under which nothing is wrapped any more, and say when its key is destroyed; WK031 where something is, false where it is current or retired.';
GRANT EXECUTE ON FUNCTION keys.retire_epoch(integer, timestamptz) TO wk_app, wk_jobs;

CREATE FUNCTION keys.destroyed_epoch(of_epoch integer, at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM wk.require_platform();
    UPDATE keys.epoch AS e SET state = 'destroyed', destroyed_at = at WHERE e.epoch = of_epoch AND e.state = 'retired';
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION keys.destroyed_epoch(integer, timestamptz) IS
    'Note from when on nothing opens under a retired epoch''s key, which was destroyed outside.';
GRANT EXECUTE ON FUNCTION keys.destroyed_epoch(integer, timestamptz) TO wk_app, wk_jobs;

CREATE FUNCTION keys.postpone_epoch(of_epoch integer, until timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM wk.require_platform();
    UPDATE keys.epoch AS e SET destroy_at = until, ordered_at = clock_timestamp()
        WHERE e.epoch = of_epoch AND e.state = 'retired' AND (e.destroy_at IS DISTINCT FROM until OR e.ordered_at IS NULL);
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION keys.postpone_epoch(integer, timestamptz) IS
    'Note when a retired epoch''s key, whose destruction was ordered outside, is to be no more; false where that is known.';
GRANT EXECUTE ON FUNCTION keys.postpone_epoch(integer, timestamptz) TO wk_app, wk_jobs;

-- News ------------------------------------------------------------------------------------------------------------

-- One row a tenant: that its keys changed, or that the key management service says no. Each process asks twice a second.
CREATE TABLE keys.signal (
    tenant_id  uuid        PRIMARY KEY,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);
CREATE INDEX signal_changed_at ON keys.signal (changed_at);
CALL wk.protect('keys.signal', 'wk_app', 'wk_jobs');
CREATE POLICY signals ON keys.signal TO wk_owner USING (true) WITH CHECK (true);
GRANT SELECT ON keys.signal TO wk_app, wk_jobs;

CREATE FUNCTION keys.signals(since timestamptz) RETURNS SETOF keys.signal
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY SELECT * FROM keys.signal AS s WHERE s.changed_at >= since ORDER BY s.changed_at;
END
$$;
COMMENT ON FUNCTION keys.signals(timestamptz) IS 'What is new about tenants'' keys since then: ids and times.';
GRANT EXECUTE ON FUNCTION keys.signals(timestamptz) TO wk_app, wk_jobs;

CREATE FUNCTION keys.signal_changed() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO keys.signal AS s (tenant_id) VALUES (wk.tenant())
    ON CONFLICT (tenant_id) DO UPDATE SET changed_at = clock_timestamp()
$$;
COMMENT ON FUNCTION keys.signal_changed() IS 'Tell all processes that the entered tenant''s keys are to be read again.';
GRANT EXECUTE ON FUNCTION keys.signal_changed() TO wk_app, wk_jobs;

CREATE FUNCTION keys.signal_revoked(revoked boolean) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO keys.signal AS s (tenant_id, revoked_at)
    VALUES (wk.tenant(), CASE WHEN signal_revoked.revoked THEN clock_timestamp() END)
    ON CONFLICT (tenant_id) DO UPDATE SET changed_at = clock_timestamp(), revoked_at = excluded.revoked_at
$$;
COMMENT ON FUNCTION keys.signal_revoked(boolean) IS
    'Tell all processes that the key management service revoked the entered tenant''s keys, or that it gives them again.';
GRANT EXECUTE ON FUNCTION keys.signal_revoked(boolean) TO wk_app, wk_jobs;

-- Rotations -------------------------------------------------------------------------------------------------------

-- A rotation of one tenant's keys, or under the platform tenant one of the whole deployment's. `place` is where the walk
-- goes on, in ids alone.
CREATE TABLE keys.rotation (
    tenant_id     uuid        NOT NULL,
    id            uuid        NOT NULL,
    tier          text        NOT NULL CHECK (tier IN ('root', 'epoch', 'subject', 'data', 'index', 'field')),
    state         text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed', 'stopped')),
    target        integer     CHECK (target >= 0),
    collection_id integer,
    field_id      integer,
    place         bytea       CHECK (octet_length(place) <= 256),
    done          bigint      NOT NULL DEFAULT 0 CHECK (done >= 0),
    total         bigint      CHECK (total >= 0),
    conflicts     bigint      NOT NULL DEFAULT 0 CHECK (conflicts >= 0),
    error         text        CHECK (error ~ '^[a-z][a-z-]{0,63}$'),
    requested_by  text        NOT NULL CHECK (requested_by ~ '^[a-z0-9][a-z0-9:._-]{0,127}$'),
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX rotation_running ON keys.rotation (tenant_id, tier) WHERE state = 'running';
CALL wk.protect('keys.rotation', 'wk_app', 'wk_jobs');
GRANT SELECT, INSERT ON keys.rotation TO wk_app, wk_jobs;
GRANT UPDATE (state, target, place, done, total, conflicts, error, updated_at, finished_at) ON keys.rotation TO wk_app, wk_jobs;

-- What rotation and erasure do to the rows themselves; the deployment's own keys stay out of reach.
GRANT UPDATE (wrapped, root, kms_epoch, state) ON keys.tenant_key TO wk_app, wk_jobs;
GRANT UPDATE (wrapped, wrap_epoch, state) ON keys.subject_key TO wk_app, wk_jobs;
GRANT DELETE ON keys.tenant_key, keys.subject_key TO wk_app;
CREATE POLICY tenant_purposes_changed ON keys.tenant_key AS RESTRICTIVE FOR UPDATE TO wk_app, wk_jobs
    USING (purpose IN ('WRAP', 'DATA', 'INDEX', 'FILE', 'BACKUP', 'MAC'));
CREATE POLICY tenant_purposes_deleted ON keys.tenant_key AS RESTRICTIVE FOR DELETE TO wk_app
    USING (purpose IN ('WRAP', 'DATA', 'INDEX', 'FILE', 'BACKUP', 'MAC'));
