CREATE OR REPLACE FUNCTION access.stands(credential uuid) RETURNS boolean
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
CREATE OR REPLACE FUNCTION access.follow_tenant() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.api_key SET tenant_closed = (NEW.state = 'closed') WHERE tenant_id = NEW.id;
  RETURN NULL;
END
$body$;
DROP TABLE access.tenant_rules;
DROP TABLE access.session;
DROP TABLE access.role_grant;
DROP TABLE access.person;
DROP FUNCTION access.end_sessions();
DROP FUNCTION access.keep_ended();
