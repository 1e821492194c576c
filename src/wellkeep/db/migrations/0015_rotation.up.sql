-- Rotation: nothing is wrapped under a key that is gone, and no key goes while anything is wrapped under it.
--
-- Both hold the key's row: who wraps shares it until commit, who retires has it alone. So a row that is on its way is
-- either seen by the count, or comes after the key is gone and is refused (WK032).

ALTER TABLE keys.subject_key SET (fillfactor = 70);

-- To hold a row is to be allowed to change it; what comes out of a change is still refused.
CREATE POLICY keys_held ON keys.tenant_key FOR UPDATE TO wk_owner USING (true) WITH CHECK (false);

CREATE FUNCTION keys.stand(owner uuid, key_purpose text, key_epoch integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    PERFORM 1 FROM keys.tenant_key AS k
        WHERE k.tenant_id = owner AND k.purpose = key_purpose AND k.epoch = key_epoch
          AND k.state IN ('active', 'decrypt_only') FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'wellkeep: nothing is wrapped under this key any more' USING ERRCODE = 'WK032';
    END IF;
END
$$;
COMMENT ON FUNCTION keys.stand(uuid, text, integer) IS
    'For the triggers below alone: keep a key from being retired until commit; WK032 where it is already.';

-- One trigger a statement, for one statement brings up to a thousand rows that are wrapped under the same key.
CREATE FUNCTION keys.subject_keys_stand() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT DISTINCT n.tenant_id, n.wrap_epoch FROM new_rows AS n WHERE n.state <> 'destroyed' LOOP
        PERFORM keys.stand(made.tenant_id, 'WRAP', made.wrap_epoch);
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER wrapping_stands AFTER INSERT ON keys.subject_key REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keys.subject_keys_stand();
CREATE TRIGGER wrapping_stands_again AFTER UPDATE ON keys.subject_key REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keys.subject_keys_stand();

CREATE FUNCTION keys.streams_stand() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM keys.stand(NEW.tenant_id, 'FILE', NEW.epoch);
    RETURN NULL;
END
$$;
CREATE TRIGGER wrapping_stands AFTER INSERT ON vault.blob
    FOR EACH ROW EXECUTE FUNCTION keys.streams_stand();
CREATE TRIGGER wrapping_stands_again AFTER UPDATE OF epoch, wrapped ON vault.blob
    FOR EACH ROW EXECUTE FUNCTION keys.streams_stand();
GRANT UPDATE (wrapped, epoch) ON vault.blob TO wk_app;

CREATE FUNCTION keys.carries(owner uuid, key_purpose text, key_epoch integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF key_purpose = 'WRAP' THEN
        RETURN EXISTS (SELECT FROM keys.subject_key AS s
                       WHERE s.tenant_id = owner AND s.wrap_epoch = key_epoch AND s.state <> 'destroyed');
    ELSIF key_purpose = 'FILE' THEN
        RETURN EXISTS (SELECT FROM vault.blob AS b WHERE b.tenant_id = owner AND b.epoch = key_epoch);
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION keys.carries(uuid, text, integer) IS
    'Whether anything is still wrapped under a tenant''s key that wraps others.';
GRANT EXECUTE ON FUNCTION keys.carries(uuid, text, integer) TO wk_app, wk_jobs;

CREATE FUNCTION keys.nothing_left() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM 1 FROM keys.tenant_key AS k
        WHERE k.tenant_id = OLD.tenant_id AND k.purpose = OLD.purpose AND k.epoch = OLD.epoch FOR UPDATE;
    IF keys.carries(OLD.tenant_id, OLD.purpose, OLD.epoch) THEN
        RAISE EXCEPTION 'wellkeep: something is still wrapped under this key' USING ERRCODE = 'WK033';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER nothing_left BEFORE UPDATE OF state ON keys.tenant_key
    FOR EACH ROW WHEN (OLD.purpose IN ('WRAP', 'FILE') AND NEW.state IN ('retired', 'destroyed')
                       AND NEW.state <> OLD.state)
    EXECUTE FUNCTION keys.nothing_left();
CREATE TRIGGER nothing_left_behind BEFORE DELETE ON keys.tenant_key
    FOR EACH ROW WHEN (OLD.purpose IN ('WRAP', 'FILE') AND OLD.state <> 'destroyed')
    EXECUTE FUNCTION keys.nothing_left();

-- The deployment's own keys under another root key: the same keys, whoever comes second changes nothing.
CREATE POLICY deployment_keys_rewrapped ON keys.tenant_key FOR UPDATE TO wk_owner
    USING (tenant_id = wk.platform() AND purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON'))
    WITH CHECK (tenant_id = wk.platform() AND purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON'));
CREATE FUNCTION keys.rewrap_deployment_key(
    key_purpose text, key_epoch integer, before bytea, after bytea, new_root text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM wk.require_platform();
    UPDATE keys.tenant_key AS k SET wrapped = after, root = new_root
        WHERE k.tenant_id = wk.platform() AND k.purpose = key_purpose AND k.epoch = key_epoch
          AND k.purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON')
          AND k.wrapped = before AND k.state <> 'destroyed';
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION keys.rewrap_deployment_key(text, integer, bytea, bytea, text) IS
    'Put a key of the deployment''s own under another root key, where it still stands as it was read; under the platform''s context.';
GRANT EXECUTE ON FUNCTION keys.rewrap_deployment_key(text, integer, bytea, bytea, text) TO wk_app;

-- What the platform may know of every tenant's keys: everything but the wrapped bytes.
CREATE FUNCTION keys.inventory()
RETURNS TABLE (tenant_id uuid, purpose text, epoch integer, kid bytea, kms_epoch integer, root text, state text,
               seals bigint, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM wk.require_platform();
    RETURN QUERY
        SELECT k.tenant_id, k.purpose, k.epoch, k.kid, k.kms_epoch, k.root, k.state, k.seals, k.created_at
        FROM keys.tenant_key AS k WHERE k.state <> 'destroyed' ORDER BY k.tenant_id, k.purpose, k.epoch;
END
$$;
COMMENT ON FUNCTION keys.inventory() IS
    'All keys of all tenants that are not destroyed, without what they wrap; under the platform''s context.';
GRANT EXECUTE ON FUNCTION keys.inventory() TO wk_app;

CREATE POLICY platform_reads ON keys.rotation FOR SELECT TO wk_owner USING ((SELECT wk.tenant()) = wk.platform());
CREATE FUNCTION keys.rotations(most integer) RETURNS SETOF keys.rotation
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM wk.require_platform();
    RETURN QUERY SELECT * FROM keys.rotation AS r
        ORDER BY r.state = 'running' DESC, r.started_at DESC LIMIT least(greatest(most, 1), 1000);
END
$$;
COMMENT ON FUNCTION keys.rotations(integer) IS
    'The rotations of all tenants, those under way first, then the newest; under the platform''s context.';
GRANT EXECUTE ON FUNCTION keys.rotations(integer) TO wk_app;
