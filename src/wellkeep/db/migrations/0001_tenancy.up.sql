-- The tenant wall: who the caller is, proven by a signature that no SQL in our own session can make.
--
-- A policy reads   tenant_id = (SELECT wk.tenant())   and wk.tenant() believes only a token
--
--     wkt1.<tenant, 32 hex digits>.<expiry, unix seconds>.<backend pid>.<HMAC-SHA256, 64 hex digits>
--
-- over "wk/context/v1\n" and everything before the last dot. The key lies in a table that only the owner reads, as the
-- two pads of HMAC (RFC 2104), because core PostgreSQL has sha256() and no hmac().

-- What later migrations make is closed until a GRANT opens it.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;

CREATE FUNCTION wk.platform() RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN '00000000-0000-7000-8000-000000000000'::uuid;
COMMENT ON FUNCTION wk.platform() IS 'The tenant of the deployment itself.';
GRANT EXECUTE ON FUNCTION wk.platform() TO wk_migrate, wk_app, wk_ledger, wk_auth, wk_jobs, wk_backup;

-- ---------------------------------------------------------------------------------------------- the signed context

CREATE TABLE wk.context_key (
  id smallint PRIMARY KEY CHECK (id IN (1, 2)),
  ipad bytea NOT NULL CHECK (length(ipad) = 64),
  opad bytea NOT NULL CHECK (length(opad) = 64),
  valid_until timestamptz NOT NULL
);
COMMENT ON TABLE wk.context_key IS
  'Key of the tenant tokens: 1 the current one, 2 the one before, for the tokens that are under way. Read by the owner alone.';

CREATE FUNCTION wk.install_context_key(new_ipad bytea, new_opad bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  LOCK TABLE wk.context_key IN SHARE ROW EXCLUSIVE MODE;
  IF EXISTS (SELECT 1 FROM wk.context_key WHERE id = 1 AND ipad = new_ipad AND opad = new_opad) THEN
    RETURN;
  END IF;
  DELETE FROM wk.context_key WHERE id = 2;
  UPDATE wk.context_key SET id = 2, valid_until = clock_timestamp() + interval '2 minutes' WHERE id = 1;
  INSERT INTO wk.context_key (id, ipad, opad, valid_until) VALUES (1, new_ipad, new_opad, 'infinity');
END
$body$;
COMMENT ON FUNCTION wk.install_context_key(bytea, bytea) IS
  'Make a key the current one; the one before stays good for two minutes. Installing the same key changes nothing.';
GRANT EXECUTE ON FUNCTION wk.install_context_key(bytea, bytea) TO wk_migrate;

CREATE FUNCTION wk.tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  token constant text := current_setting('wk.token', true);
  signed constant text := left(token, -65);
  message constant bytea := convert_to(E'wk/context/v1\n' || signed, 'UTF8');
  -- Both sides are hashed before they are compared, so the time taken tells nothing about the right MAC.
  given constant bytea := sha256(convert_to(right(token, 64), 'UTF8'));
  remaining double precision;
BEGIN
  PERFORM FROM wk.context_key AS key
    WHERE key.valid_until > clock_timestamp()
      AND sha256(convert_to(encode(sha256(key.opad || sha256(key.ipad || message)), 'hex'), 'UTF8')) = given;
  -- What follows reads parts that we signed ourselves: only a token of ours gets here.
  IF FOUND AND split_part(signed, '.', 4) = pg_backend_pid()::text THEN
    remaining := split_part(signed, '.', 3)::bigint - date_part('epoch', clock_timestamp());
    -- 60 seconds at most, and 5 for clocks that differ.
    IF remaining > 0 AND remaining <= 65 THEN
      RETURN split_part(signed, '.', 2)::uuid;
    END IF;
  END IF;
  RAISE EXCEPTION 'wellkeep: no valid tenant context' USING ERRCODE = 'insufficient_privilege';
END
$body$;
COMMENT ON FUNCTION wk.tenant() IS
  'The tenant that this transaction was entered for; raises 42501 on a token that is absent, forged, expired or another backend''s.';
GRANT EXECUTE ON FUNCTION wk.tenant() TO wk_app, wk_ledger, wk_auth, wk_jobs, wk_backup;

CREATE FUNCTION wk.enter(token text) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.set_config('wk.token', token, true);
END;
COMMENT ON FUNCTION wk.enter(text) IS 'Set the tenant token until the end of this transaction.';
GRANT EXECUTE ON FUNCTION wk.enter(text) TO wk_app, wk_ledger, wk_auth, wk_jobs, wk_backup;

-- The one template of the wall. (On Citus: no sub-select, so this body changes and nothing else does.)
CREATE PROCEDURE wk.protect(target regclass, VARIADIC roles name[])
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  grantees constant text := (SELECT string_agg(format('%I', role), ', ') FROM unnest(roles) AS role);
  first_column name;
BEGIN
  SELECT attribute.attname INTO first_column
    FROM pg_constraint AS constrained
    JOIN pg_attribute AS attribute
      ON attribute.attrelid = constrained.conrelid AND attribute.attnum = constrained.conkey[1]
    WHERE constrained.conrelid = target AND constrained.contype = 'p';
  IF first_column IS DISTINCT FROM 'tenant_id' THEN
    RAISE EXCEPTION 'the primary key of % must begin with tenant_id', target;
  END IF;
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
  EXECUTE format(
    'CREATE POLICY tenant ON %s FOR ALL TO %s '
    'USING (tenant_id = (SELECT wk.tenant())) WITH CHECK (tenant_id = (SELECT wk.tenant()))', target, grantees);
END
$body$;
COMMENT ON PROCEDURE wk.protect(regclass, name[]) IS
  'Put a table behind the tenant wall for these roles. Partitions need a call each, or no grants.';

-- ------------------------------------------------------------------------------------- the deployment, the tenants

CREATE TABLE wk.deployment (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  id uuid NOT NULL,
  environment text NOT NULL CHECK (environment ~ '^[a-z][a-z0-9-]{0,31}$'),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE wk.deployment IS 'Whose database this is: one row, compared at every start.';
GRANT SELECT ON wk.deployment TO wk_migrate, wk_app, wk_ledger, wk_auth, wk_jobs, wk_backup;

CREATE TABLE wk.tenants (
  id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  kind text NOT NULL CHECK (kind IN ('live', 'synthetic', 'platform')),
  environment text NOT NULL,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'closed')),
  settings jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK ((kind = 'platform') = (id = '00000000-0000-7000-8000-000000000000'))
);
COMMENT ON TABLE wk.tenants IS 'The tenants. A name is an identifier of ours, never a person''s.';
ALTER TABLE wk.tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
GRANT SELECT ON wk.tenants TO wk_app, wk_auth;

CREATE POLICY tenant ON wk.tenants FOR SELECT TO wk_app USING (id = (SELECT wk.tenant()));
CREATE POLICY lookup ON wk.tenants FOR SELECT TO wk_auth USING (true);
-- FORCE binds the owner too: these are what the functions below need, under the platform's context alone.
CREATE POLICY platform_reads ON wk.tenants FOR SELECT TO wk_owner
  USING ((SELECT wk.tenant()) = wk.platform());
CREATE POLICY platform_creates ON wk.tenants FOR INSERT TO wk_owner
  WITH CHECK (CASE WHEN kind = 'platform' THEN true ELSE (SELECT wk.tenant()) = wk.platform() END);
CREATE POLICY platform_closes ON wk.tenants FOR UPDATE TO wk_owner
  USING (kind <> 'platform' AND (SELECT wk.tenant()) = wk.platform())
  WITH CHECK (kind <> 'platform' AND (SELECT wk.tenant()) = wk.platform());

CREATE FUNCTION wk.install_deployment(new_id uuid, new_environment text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  LOCK TABLE wk.deployment IN SHARE ROW EXCLUSIVE MODE;
  IF EXISTS (SELECT 1 FROM wk.deployment WHERE id = new_id AND environment = new_environment) THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT 1 FROM wk.deployment) THEN
    RAISE EXCEPTION 'wellkeep: this database belongs to another deployment' USING ERRCODE = 'WK001';
  END IF;
  INSERT INTO wk.deployment (id, environment) VALUES (new_id, new_environment);
  INSERT INTO wk.tenants (id, name, kind, environment)
    VALUES (wk.platform(), 'platform', 'platform', new_environment);
END
$body$;
COMMENT ON FUNCTION wk.install_deployment(uuid, text) IS
  'Mark this database as a deployment''s and make the platform tenant; WK001 where it is another''s already.';
GRANT EXECUTE ON FUNCTION wk.install_deployment(uuid, text) TO wk_migrate;

CREATE FUNCTION wk.require_platform() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  IF wk.tenant() <> wk.platform() THEN
    RAISE EXCEPTION 'wellkeep: only the platform tenant may do this' USING ERRCODE = 'insufficient_privilege';
  END IF;
END
$body$;
COMMENT ON FUNCTION wk.require_platform() IS 'Raise 42501 unless the platform tenant''s context was entered.';

CREATE FUNCTION wk.create_tenant(new_id uuid, new_name text, new_kind text, new_environment text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM wk.require_platform();
  IF new_environment IS DISTINCT FROM (SELECT environment FROM wk.deployment) THEN
    RAISE EXCEPTION 'wellkeep: this database belongs to another environment' USING ERRCODE = 'WK001';
  END IF;
  IF new_kind = 'platform' THEN
    RAISE EXCEPTION 'wellkeep: there is one platform tenant' USING ERRCODE = 'check_violation';
  END IF;
  INSERT INTO wk.tenants (id, name, kind, environment) VALUES (new_id, new_name, new_kind, new_environment);
END
$body$;
COMMENT ON FUNCTION wk.create_tenant(uuid, text, text, text) IS
  'Make a tenant, live or synthetic, under the platform''s context; 23505 where the id or name is taken.';
GRANT EXECUTE ON FUNCTION wk.create_tenant(uuid, text, text, text) TO wk_app;

CREATE FUNCTION wk.list_tenants() RETURNS SETOF wk.tenants
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM wk.require_platform();
  RETURN QUERY SELECT * FROM wk.tenants ORDER BY id;
END
$body$;
COMMENT ON FUNCTION wk.list_tenants() IS 'All tenants, under the platform''s context.';
GRANT EXECUTE ON FUNCTION wk.list_tenants() TO wk_app;

CREATE FUNCTION wk.close_tenant(closing uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM wk.require_platform();
  UPDATE wk.tenants SET state = 'closed' WHERE id = closing AND state = 'active';
  RETURN FOUND;
END
$body$;
COMMENT ON FUNCTION wk.close_tenant(uuid) IS
  'Close an active tenant, under the platform''s context; false where there is none.';
GRANT EXECUTE ON FUNCTION wk.close_tenant(uuid) TO wk_app;
