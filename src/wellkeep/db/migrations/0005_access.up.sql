-- API keys, and the question that every batched function asks: does this credential still stand?
--
-- A key is looked up by its id before its tenant is known, by wk_auth, which sees what it must compare and nothing else.
-- wk_app manages keys under the tenant's context and can't read a digest. A key that was revoked stays revoked.
-- A key of a closed tenant does not stand. The closing marks the keys in its own transaction, because asking wk.tenants
-- for every element of every batch would cost a second signed context (11 microseconds beside 13).
CREATE SCHEMA access AUTHORIZATION wk_owner;
GRANT USAGE ON SCHEMA access TO wk_app, wk_auth;

CREATE TABLE access.api_key (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  prefix text NOT NULL CHECK (prefix ~ '^wk_[a-z][a-z0-9]{1,15}_[0-9a-f]{32}$'),
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  roles text[] NOT NULL CHECK (cardinality(roles) BETWEEN 1 AND 16),
  scopes text[] CHECK (cardinality(scopes) <= 64),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  last_used_at timestamptz,
  revoked_at timestamptz,
  tenant_closed boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant_id, id),
  CHECK (expires_at > created_at AND expires_at <= created_at + interval '400 days')
);
CREATE INDEX api_key_id ON access.api_key (id);
COMMENT ON TABLE access.api_key IS
  'API keys: the SHA-256 digest alone. 256 random bits need no slow hash, and nobody reads a key back.';

CALL wk.protect('access.api_key', 'wk_app');
CREATE POLICY lookup ON access.api_key FOR SELECT TO wk_auth USING (true);

REVOKE ALL ON access.api_key FROM PUBLIC;
GRANT SELECT (tenant_id, id, name, prefix, roles, scopes, created_at, expires_at, last_used_at, revoked_at,
  tenant_closed) ON access.api_key TO wk_app;
GRANT INSERT (tenant_id, id, name, prefix, digest, roles, scopes, created_at, expires_at) ON access.api_key TO wk_app;
GRANT UPDATE (last_used_at, revoked_at) ON access.api_key TO wk_app;
GRANT SELECT (tenant_id, id, digest, roles, scopes, expires_at, revoked_at) ON access.api_key TO wk_auth;

CREATE FUNCTION access.keep_revoked() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RAISE EXCEPTION 'wellkeep: a revoked key stays revoked' USING ERRCODE = 'WK020';
END
$body$;
COMMENT ON FUNCTION access.keep_revoked() IS 'Refuse to touch the date of a revocation; WK020.';
CREATE TRIGGER keep_revoked BEFORE UPDATE OF revoked_at ON access.api_key
  FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
  EXECUTE FUNCTION access.keep_revoked();

-- FORCE binds the owner too: what the closing of a tenant needs, under the platform's context alone.
CREATE POLICY platform_reads ON access.api_key FOR SELECT TO wk_owner USING ((SELECT wk.tenant()) = wk.platform());
CREATE POLICY platform_closes ON access.api_key FOR UPDATE TO wk_owner USING ((SELECT wk.tenant()) = wk.platform());

CREATE FUNCTION access.follow_tenant() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.api_key SET tenant_closed = (NEW.state = 'closed') WHERE tenant_id = NEW.id;
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.follow_tenant() IS 'Mark the keys of a tenant whose state changes, in the same transaction.';
CREATE TRIGGER follow_tenant AFTER UPDATE OF state ON wk.tenants
  FOR EACH ROW WHEN (NEW.state IS DISTINCT FROM OLD.state) EXECUTE FUNCTION access.follow_tenant();

-- A setting of a tenant that bears on access; here, because who sets it stands at the same door as who closes a tenant.
CREATE FUNCTION access.demand_purpose(changing uuid, demanded boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM wk.require_platform();
  UPDATE wk.tenants SET settings = jsonb_set(settings, '{purpose_required}', to_jsonb(demanded))
    WHERE id = changing AND state = 'active';
  RETURN FOUND;
END
$body$;
COMMENT ON FUNCTION access.demand_purpose(uuid, boolean) IS
  'Say whether reads in an active tenant must declare a purpose of use, under the platform''s context; false where there is none.';
GRANT EXECUTE ON FUNCTION access.demand_purpose(uuid, boolean) TO wk_app;

-- plpgsql, for its plan is kept for the session: this runs once for every element of every batch.
CREATE FUNCTION access.stands(credential uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RETURN credential IS NULL OR EXISTS (
    SELECT FROM access.api_key AS key
    WHERE key.id = credential AND key.revoked_at IS NULL AND NOT key.tenant_closed AND key.expires_at > clock_timestamp()
  );
END
$body$;
COMMENT ON FUNCTION access.stands(uuid) IS
  'Whether a credential of the entered tenant, which is open, still stands; null, which local operators and the system have, always does.';
GRANT EXECUTE ON FUNCTION access.stands(uuid) TO wk_app;

CREATE FUNCTION access.admit(token text, credential uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  IF token IS NULL OR token !~ '^wkt1\.[0-9a-f]{32}\.' THEN
    RAISE EXCEPTION 'wellkeep: no valid tenant context' USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM wk.enter(token);
  RETURN CASE WHEN access.stands(credential) THEN split_part(token, '.', 2)::uuid END;
END
$body$;
COMMENT ON FUNCTION access.admit(text, uuid) IS
  'Enter a token and return its tenant, read without belief: null where the credential stands no longer. What uses it passes the policies, which verify.';
GRANT EXECUTE ON FUNCTION access.admit(text, uuid) TO wk_app;
