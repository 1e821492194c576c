CREATE OR REPLACE FUNCTION access.stands(credential uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  IF credential IS NULL OR EXISTS (
    SELECT FROM access.api_key AS key
    WHERE key.id = credential AND key.revoked_at IS NULL AND NOT key.tenant_closed AND key.expires_at > clock_timestamp()
  ) THEN
    RETURN true;
  END IF;
  RETURN EXISTS (
    SELECT FROM access.session AS s
    WHERE s.id = credential AND s.ended_at IS NULL AND NOT s.tenant_closed
      AND s.expires_at > clock_timestamp() AND s.idle_until > clock_timestamp()
  );
END
$body$;
COMMENT ON FUNCTION access.stands(uuid) IS
  'Whether a credential (an API key, a session) of the entered tenant, which is open, still stands; null, which local operators and the system have, always does.';
DROP TRIGGER end_stepping_in ON wk.tenants;
DROP TRIGGER end_stepping_in ON access.person;
DROP TRIGGER end_stepping_in ON access.role_grant;
DROP TRIGGER end_stepping_in ON access.session;
DROP FUNCTION access.glasses(uuid);
DROP TABLE access.break_glass;
DROP FUNCTION access.all_impersonations();
DROP FUNCTION access.may_step_in(uuid);
DROP TABLE access.impersonation;
DROP TABLE access.impersonation_permit;
DROP FUNCTION access.end_with_tenant();
DROP FUNCTION access.end_with_person();
DROP FUNCTION access.end_with_session();
DROP FUNCTION access.staff_stands(uuid);
DROP POLICY staff_stands ON access.session;
DROP POLICY staff_locks ON access.person;
DROP POLICY staff_reads ON access.person;
