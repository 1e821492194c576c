-- Wrapped keys and nothing else: no column here opens anything without the KMS (and, for subject keys, the epoch key).
CREATE SCHEMA keys;

CREATE TABLE keys.tenant_key (
    tenant_id   uuid        NOT NULL,
    purpose     text        NOT NULL
        CHECK (purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON', 'WRAP', 'DATA', 'INDEX', 'FILE', 'BACKUP', 'MAC')),
    epoch       integer     NOT NULL CHECK (epoch BETWEEN 1 AND CASE WHEN purpose = 'INDEX' THEN 255 ELSE 65535 END),
    kid         bytea       NOT NULL CHECK (octet_length(kid) = 16),
    commit_hash bytea       NOT NULL CHECK (octet_length(commit_hash) = 32 AND substring(commit_hash FROM 1 FOR 16) = kid),
    wrapped     bytea       NOT NULL,
    kms_epoch   integer     NOT NULL DEFAULT 0,
    root        text        NOT NULL CHECK (root ~ '^[a-z0-9:/._-]{1,200}$'),
    state       text        NOT NULL DEFAULT 'active'
        CHECK (state IN ('active', 'decrypt_only', 'retired', 'destroyed')),
    seals       bigint      NOT NULL DEFAULT 0
        CHECK (seals BETWEEN 0 AND CASE WHEN purpose = 'DATA' THEN 281474976710656 ELSE 4294967296 END),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, purpose, epoch),
    UNIQUE (tenant_id, kid),
    CHECK (CASE WHEN state = 'destroyed' THEN wrapped = '' ELSE octet_length(wrapped) BETWEEN 40 AND 8192 END),
    -- A tenant's key is split between the root key and the key of a deployment's epoch; the deployment's own are not.
    CHECK (CASE WHEN purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON') THEN kms_epoch = 0
                ELSE kms_epoch >= 0 END)
);

CREATE TABLE keys.subject_key (
    tenant_id  uuid        NOT NULL,
    subject_id uuid        NOT NULL,
    generation integer     NOT NULL CHECK (generation >= 1),
    kid        bytea       NOT NULL CHECK (octet_length(kid) = 16),
    wrapped    bytea       NOT NULL,
    wrap_epoch integer     NOT NULL CHECK (wrap_epoch BETWEEN 1 AND 65535),
    state      text        NOT NULL DEFAULT 'active'
        CHECK (state IN ('active', 'decrypt_only', 'retired', 'destroyed')),
    leased     bigint      NOT NULL DEFAULT 4096 CHECK (leased BETWEEN 4096 AND 4294967296),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, subject_id, generation),
    UNIQUE (tenant_id, kid),
    CHECK (CASE WHEN state = 'destroyed' THEN wrapped = '' ELSE octet_length(wrapped) BETWEEN 40 AND 256 END)
);

CALL wk.protect('keys.tenant_key', 'wk_app', 'wk_jobs');
CALL wk.protect('keys.subject_key', 'wk_app', 'wk_jobs');

-- FORCE binds the owner as well; the functions on the deployment's own keys below need exactly these rows.
CREATE POLICY deployment_keys ON keys.tenant_key FOR SELECT TO wk_owner
    USING (tenant_id = wk.platform() AND purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON'));
CREATE POLICY deployment_keys_made ON keys.tenant_key FOR INSERT TO wk_owner
    WITH CHECK (tenant_id = wk.platform() AND purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON'));

-- The deployment's keys come in through their own function alone, whatever context a session of ours holds.
CREATE POLICY tenant_purposes ON keys.tenant_key AS RESTRICTIVE FOR INSERT TO wk_app, wk_jobs
    WITH CHECK (purpose IN ('WRAP', 'DATA', 'INDEX', 'FILE', 'BACKUP', 'MAC'));

-- A count of seals that went back would let a key be used past its budget.
CREATE FUNCTION keys.counts_only_grow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'wellkeep: a count of seals does not go back' USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER seals_only_grow BEFORE UPDATE OF seals ON keys.tenant_key
    FOR EACH ROW WHEN (NEW.seals < OLD.seals) EXECUTE FUNCTION keys.counts_only_grow();
CREATE TRIGGER leases_only_grow BEFORE UPDATE OF leased ON keys.subject_key
    FOR EACH ROW WHEN (NEW.leased < OLD.leased) EXECUTE FUNCTION keys.counts_only_grow();

-- A key's life has one direction. What is destroyed has no wrapped bytes left, whatever is written back.
CREATE FUNCTION keys.lives_only_forward() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'wellkeep: a key does not return to an earlier state' USING ERRCODE = 'check_violation';
END
$$;
CREATE FUNCTION keys.rank(state text) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN array_position(ARRAY['active', 'decrypt_only', 'retired', 'destroyed'], state);
GRANT EXECUTE ON FUNCTION keys.rank(text) TO wk_app, wk_jobs;
CREATE TRIGGER lives_only_forward BEFORE UPDATE OF state ON keys.tenant_key
    FOR EACH ROW WHEN (NEW.state <> OLD.state AND keys.rank(NEW.state) < keys.rank(OLD.state))
    EXECUTE FUNCTION keys.lives_only_forward();
CREATE TRIGGER lives_only_forward BEFORE UPDATE OF state ON keys.subject_key
    FOR EACH ROW WHEN (NEW.state <> OLD.state AND keys.rank(NEW.state) < keys.rank(OLD.state))
    EXECUTE FUNCTION keys.lives_only_forward();

GRANT USAGE ON SCHEMA keys TO wk_app, wk_jobs, wk_migrate, wk_auth, wk_ledger;
GRANT SELECT, INSERT ON keys.tenant_key, keys.subject_key TO wk_app, wk_jobs;
GRANT UPDATE (seals) ON keys.tenant_key TO wk_app, wk_jobs;
GRANT UPDATE (leased) ON keys.subject_key TO wk_app, wk_jobs;

-- SEAL, CONTEXT and CURSOR are needed before any tenant context can be minted, hence a door of their own: wrapped rows.
CREATE FUNCTION keys.deployment_keys()
RETURNS TABLE (purpose text, epoch integer, kid bytea, commit_hash bytea, wrapped bytea, root text, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT k.purpose, k.epoch, k.kid, k.commit_hash, k.wrapped, k.root, k.state
    FROM keys.tenant_key AS k
    WHERE k.tenant_id = wk.platform() AND k.purpose IN ('SEAL', 'CONTEXT', 'CURSOR', 'CHECKPOINT', 'REASON')
    ORDER BY k.purpose, k.epoch
$$;
GRANT EXECUTE ON FUNCTION keys.deployment_keys() TO wk_app, wk_jobs, wk_migrate, wk_auth, wk_ledger;

-- Whoever comes second adds nothing and reads what the first one stored.
CREATE FUNCTION keys.add_deployment_key(
    purpose text, epoch integer, kid bytea, commit_hash bytea, wrapped bytea, root text)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO keys.tenant_key (tenant_id, purpose, epoch, kid, commit_hash, wrapped, root)
    VALUES (wk.platform(), add_deployment_key.purpose, add_deployment_key.epoch,
            add_deployment_key.kid, add_deployment_key.commit_hash, add_deployment_key.wrapped, add_deployment_key.root)
    ON CONFLICT ON CONSTRAINT tenant_key_pkey DO NOTHING
$$;
GRANT EXECUTE ON FUNCTION keys.add_deployment_key(text, integer, bytea, bytea, bytea, text) TO wk_migrate;

-- One block of 4,096 seals under a subject key; false at the budget of 2^32 (random 96-bit nonces, NIST SP 800-38D 8.3).
CREATE FUNCTION keys.lease_subject(subject_kid bytea)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
-- By the index, also where the plan was made while the table was empty.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    UPDATE keys.subject_key AS k SET leased = k.leased + 4096
    WHERE k.tenant_id = wk.tenant() AND k.kid = lease_subject.subject_kid
      AND k.state = 'active' AND k.leased + 4096 <= 4294967296;
    RETURN FOUND;
END
$$;
GRANT EXECUTE ON FUNCTION keys.lease_subject(bytea) TO wk_app, wk_jobs;

-- The same for a tenant's key. DATA has nonces of 192 bits (XAES-256-GCM): 2^48 is a stop for counting, not a bound.
CREATE FUNCTION keys.lease_tenant(key_purpose text, key_kid bytea, block bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE keys.tenant_key AS k SET seals = k.seals + lease_tenant.block
    WHERE k.tenant_id = wk.tenant() AND k.purpose = lease_tenant.key_purpose AND k.kid = lease_tenant.key_kid
      AND k.state = 'active' AND lease_tenant.block BETWEEN 1 AND 65536
      AND k.seals + lease_tenant.block
          <= CASE WHEN k.purpose = 'DATA' THEN 281474976710656 ELSE 4294967296 END;
    RETURN FOUND;
END
$$;
GRANT EXECUTE ON FUNCTION keys.lease_tenant(text, bytea, bigint) TO wk_app, wk_jobs;
