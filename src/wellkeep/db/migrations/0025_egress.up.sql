-- What may be connected to, beside the settings file: proposed by one person, approved by another, in force everywhere soon.
--
-- A row says for good what was proposed; what becomes of it moves forward alone. It belongs to the platform's tenant:
-- where the deployment connects to is nobody else's to decide, and the tenants that a place serves are shown it.
CREATE TABLE access.egress_place (
  tenant_id uuid NOT NULL CHECK (tenant_id = '00000000-0000-7000-8000-000000000000'),
  id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z][a-z_]{0,60}[0-9]{0,2}$'),
  host text NOT NULL CHECK (host ~ '^[0-9A-Za-z:._-]{1,253}$'),
  ports integer[] NOT NULL CHECK (cardinality(ports) BETWEEN 1 AND 16 AND 1 <= ALL (ports) AND 65535 >= ALL (ports)),
  networks text[] NOT NULL DEFAULT '{}' CHECK (cardinality(networks) <= 16),
  serves uuid[] NOT NULL DEFAULT '{}' CHECK (cardinality(serves) <= 1000),
  state text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'approved', 'withdrawn')),
  proposed_by text NOT NULL,
  proposed_at timestamptz NOT NULL,
  approved_by text,
  approved_at timestamptz,
  withdrawn_by text,
  withdrawn_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK ((approved_by IS NULL) = (approved_at IS NULL) AND approved_by IS DISTINCT FROM proposed_by),
  CHECK ((withdrawn_by IS NULL) = (withdrawn_at IS NULL)),
  CHECK (CASE state
    WHEN 'proposed' THEN approved_at IS NULL AND withdrawn_at IS NULL
    WHEN 'approved' THEN approved_at IS NOT NULL AND withdrawn_at IS NULL
    ELSE withdrawn_at IS NOT NULL END)
);
CREATE UNIQUE INDEX egress_place_proposed ON access.egress_place (tenant_id, name) WHERE state = 'proposed';
CREATE UNIQUE INDEX egress_place_approved ON access.egress_place (tenant_id, name) WHERE state = 'approved';
COMMENT ON TABLE access.egress_place IS
  'Places outside that may be connected to, beside those of the settings file: in force where they are approved.';
CALL wk.protect('access.egress_place', 'wk_app');
CREATE POLICY in_force ON access.egress_place FOR SELECT TO wk_owner USING (state = 'approved');
REVOKE ALL ON access.egress_place FROM PUBLIC;
GRANT SELECT ON access.egress_place TO wk_app;
GRANT INSERT (tenant_id, id, name, host, ports, networks, serves, proposed_by, proposed_at) ON access.egress_place TO wk_app;
GRANT UPDATE (state, approved_by, approved_at, withdrawn_by, withdrawn_at) ON access.egress_place TO wk_app;

CREATE FUNCTION access.keep_withdrawn() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RAISE EXCEPTION 'wellkeep: a place that was withdrawn is proposed anew' USING ERRCODE = 'WK020';
END
$body$;
COMMENT ON FUNCTION access.keep_withdrawn() IS 'Refuse to bring back a place that was withdrawn; WK020.';
CREATE TRIGGER keep_withdrawn BEFORE UPDATE ON access.egress_place
  FOR EACH ROW WHEN (OLD.state = 'withdrawn' OR NEW.state = 'proposed') EXECUTE FUNCTION access.keep_withdrawn();

-- Every process asks, under no tenant's context: what it may connect to is the same whoever it works for.
CREATE FUNCTION access.egress_in_force()
RETURNS TABLE (name text, host text, ports integer[], networks text[], serves uuid[], approved_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RETURN QUERY SELECT p.name, p.host, p.ports, p.networks, p.serves, p.approved_at
    FROM access.egress_place AS p WHERE p.state = 'approved' ORDER BY p.name;
END
$body$;
COMMENT ON FUNCTION access.egress_in_force() IS 'The places that were approved and not withdrawn since.';
GRANT EXECUTE ON FUNCTION access.egress_in_force() TO wk_app, wk_jobs;

ALTER TABLE access.approval DROP CONSTRAINT approval_action_check;
ALTER TABLE access.approval ADD CONSTRAINT approval_action_check
  CHECK (action IN ('tenant.erase', 'epoch.destroy', 'key.destroy', 'hold.lift', 'egress.list'));
