-- Stepping into a customer's account, and breaking the glass of one patient: with a reason, for a time, in full view.
--
-- Both are rows of the tenant whose data is at stake, so that it sees them, and can end them, without asking anybody. All
-- times are the database's. What is over is over: nothing here is prolonged, and an end is never taken back. A reason is
-- free text: it lies here sealed, its hash is in the entry, and the row goes with the patient or the tenant that it is about.

-- ------------------------------------------------------------------------------------------------------ stepping in

CREATE TABLE access.impersonation_permit (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid,
  given_by uuid NOT NULL,
  given_at timestamptz NOT NULL,
  until timestamptz NOT NULL,
  withdrawn_at timestamptz,
  withdrawn_by text,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, given_by) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  CHECK (until > given_at AND until <= given_at + interval '7 days'),
  CHECK ((withdrawn_at IS NULL) = (withdrawn_by IS NULL))
);
COMMENT ON TABLE access.impersonation_permit IS
  'A person of the tenant lets staff who step in see what is unmasked: in the account of one person or (null) of all, for seven days at most.';
CALL wk.protect('access.impersonation_permit', 'wk_app');
REVOKE ALL ON access.impersonation_permit FROM PUBLIC;
GRANT SELECT, INSERT ON access.impersonation_permit TO wk_app;
GRANT UPDATE (withdrawn_at, withdrawn_by) ON access.impersonation_permit TO wk_app;
CREATE TRIGGER keep_withdrawn BEFORE UPDATE OF withdrawn_at ON access.impersonation_permit
  FOR EACH ROW WHEN (OLD.withdrawn_at IS NOT NULL) EXECUTE FUNCTION access.keep_revoked();

-- `staff_session` is the session, in the platform's tenant, that it was begun with and does not outlive.
CREATE TABLE access.impersonation (
  tenant_id uuid NOT NULL CHECK (tenant_id <> '00000000-0000-7000-8000-000000000000'),
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  staff_id uuid NOT NULL,
  staff_name text NOT NULL CHECK (octet_length(staff_name) BETWEEN 1 AND 400),
  staff_session uuid NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  permit_id uuid,
  masked boolean NOT NULL GENERATED ALWAYS AS (permit_id IS NULL) STORED,
  reason bytea NOT NULL CHECK (length(reason) BETWEEN 61 AND 16384 AND substring(reason FROM 1 FOR 2) = 'WK'),
  reason_digest bytea NOT NULL CHECK (octet_length(reason_digest) = 32),
  started_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL,
  ended_at timestamptz,
  ended_by text,
  ended_because text CHECK (ended_because ~ '^[a-z][a-z-]{0,31}$'),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, permit_id) REFERENCES access.impersonation_permit (tenant_id, id),
  CHECK (ends_at > started_at AND ends_at <= started_at + interval '15 minutes'),
  CHECK ((ended_at IS NULL) = (ended_because IS NULL) AND (ended_at IS NULL) = (ended_by IS NULL))
);
CREATE INDEX impersonation_id ON access.impersonation (id);
CREATE INDEX impersonation_staff ON access.impersonation (staff_id) WHERE ended_at IS NULL;
CREATE INDEX impersonation_session ON access.impersonation (staff_session) WHERE ended_at IS NULL;
COMMENT ON TABLE access.impersonation IS
  'Staff of the deployment in the account of a person of this tenant: why, for how long, masked or not, and how it ended.';
CALL wk.protect('access.impersonation', 'wk_app');
CREATE POLICY lookup ON access.impersonation FOR SELECT TO wk_auth USING (true);
-- FORCE binds the owner too: its functions look for what one of the staff has open, and end it with their session.
CREATE POLICY staff_reads ON access.impersonation FOR SELECT TO wk_owner USING (true);
CREATE POLICY staff_ends ON access.impersonation FOR UPDATE TO wk_owner
  USING (ended_at IS NULL) WITH CHECK (ended_at IS NOT NULL);
REVOKE ALL ON access.impersonation FROM PUBLIC;
GRANT SELECT (tenant_id, id, person_id, staff_id, staff_name, staff_session, permit_id, masked, reason, reason_digest, started_at,
  ends_at, ended_at, ended_by, ended_because) ON access.impersonation TO wk_app;
GRANT INSERT (tenant_id, id, person_id, staff_id, staff_name, staff_session, digest, permit_id, reason, reason_digest, started_at,
  ends_at) ON access.impersonation TO wk_app;
GRANT UPDATE (ended_at, ended_by, ended_because) ON access.impersonation TO wk_app;
GRANT SELECT (tenant_id, id, person_id, staff_id, staff_session, digest, masked, ends_at, ended_at) ON access.impersonation TO wk_auth;
CREATE TRIGGER keep_ended BEFORE UPDATE OF ended_at ON access.impersonation
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION access.keep_ended();

CREATE POLICY staff_stands ON access.session FOR SELECT TO wk_owner USING (tenant_id = wk.platform());
CREATE FUNCTION access.staff_stands(of_session uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RETURN EXISTS (
    SELECT FROM access.session AS s
    WHERE s.tenant_id = wk.platform() AND s.id = of_session AND s.ended_at IS NULL AND NOT s.tenant_closed
      AND s.expires_at > clock_timestamp() AND s.idle_until > clock_timestamp()
  );
END
$body$;
COMMENT ON FUNCTION access.staff_stands(uuid) IS
  'Whether a session of the platform''s staff still stands: what they opened with it in a tenant ends with it.';
GRANT EXECUTE ON FUNCTION access.staff_stands(uuid) TO wk_app, wk_auth;

-- One at a time, whichever the tenant: who asks locks the person of the staff until the transaction ends.
CREATE POLICY staff_reads ON access.person FOR SELECT TO wk_owner USING (tenant_id = wk.platform());
CREATE POLICY staff_locks ON access.person FOR UPDATE TO wk_owner USING (tenant_id = wk.platform()) WITH CHECK (false);
CREATE FUNCTION access.may_step_in(staff uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM FROM access.person AS p WHERE p.tenant_id = wk.platform() AND p.id = staff AND p.state = 'active' FOR NO KEY UPDATE;
  RETURN FOUND AND NOT EXISTS (
    SELECT FROM access.impersonation AS i
    WHERE i.staff_id = staff AND i.ended_at IS NULL AND i.ends_at > clock_timestamp() AND access.staff_stands(i.staff_session)
  );
END
$body$;
COMMENT ON FUNCTION access.may_step_in(uuid) IS
  'Whether this one of the staff is in nobody''s account now; who asks holds a lock on the answer until the transaction ends.';
GRANT EXECUTE ON FUNCTION access.may_step_in(uuid) TO wk_app;

CREATE FUNCTION access.all_impersonations() RETURNS TABLE (
  tenant_id uuid, id uuid, person_id uuid, staff_id uuid, staff_name text, staff_session uuid, masked boolean,
  started_at timestamptz, ends_at timestamptz, ended_at timestamptz, ended_by text, ended_because text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM wk.require_platform();
  RETURN QUERY SELECT i.tenant_id, i.id, i.person_id, i.staff_id, i.staff_name, i.staff_session, i.masked, i.started_at, i.ends_at,
      i.ended_at, i.ended_by, i.ended_because
    FROM access.impersonation AS i ORDER BY i.id DESC LIMIT 1000;
END
$body$;
COMMENT ON FUNCTION access.all_impersonations() IS
  'The newest thousand of all tenants'' impersonations without their reasons, under the platform''s context.';
GRANT EXECUTE ON FUNCTION access.all_impersonations() TO wk_app;

CREATE FUNCTION access.end_with_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.impersonation SET ended_at = NEW.ended_at, ended_by = 'system:session', ended_because = 'session-ended'
    WHERE staff_session = NEW.id AND ended_at IS NULL;
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.end_with_session() IS
  'End what one of the staff has open in a tenant with the session it was opened with, in the same transaction.';
CREATE TRIGGER end_stepping_in AFTER UPDATE OF ended_at ON access.session
  FOR EACH ROW WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL AND NEW.tenant_id = '00000000-0000-7000-8000-000000000000')
  EXECUTE FUNCTION access.end_with_session();

-- The account that was stepped into loses a role, or is disabled: what staff do in it ends as its own sessions do.
CREATE FUNCTION access.end_with_person() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.impersonation SET ended_at = clock_timestamp(), ended_by = 'system:person', ended_because = TG_ARGV[0]
    WHERE tenant_id = NEW.tenant_id AND ended_at IS NULL
      AND person_id = (CASE TG_ARGV[0] WHEN 'disabled' THEN to_jsonb(NEW) ->> 'id' ELSE to_jsonb(NEW) ->> 'person_id' END)::uuid;
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.end_with_person() IS
  'End what staff do in the account of a person who was disabled or lost a role, in the same transaction.';
CREATE TRIGGER end_stepping_in AFTER UPDATE OF revoked_at ON access.role_grant
  FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION access.end_with_person('role-revoked');
CREATE TRIGGER end_stepping_in AFTER UPDATE OF state ON access.person
  FOR EACH ROW WHEN (NEW.state = 'disabled' AND OLD.state <> 'disabled') EXECUTE FUNCTION access.end_with_person('disabled');

CREATE FUNCTION access.end_with_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.impersonation SET ended_at = clock_timestamp(), ended_by = 'system:tenant', ended_because = 'tenant-closed'
    WHERE tenant_id = NEW.id AND ended_at IS NULL;
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.end_with_tenant() IS 'End what staff do in a tenant that is closed, in the same transaction.';
CREATE TRIGGER end_stepping_in AFTER UPDATE OF state ON wk.tenants
  FOR EACH ROW WHEN (NEW.state = 'closed' AND OLD.state <> 'closed') EXECUTE FUNCTION access.end_with_tenant();

-- A key is asked about first, as before: it is what nearly every call comes with.
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
  IF EXISTS (
    SELECT FROM access.session AS s
    WHERE s.id = credential AND s.ended_at IS NULL AND NOT s.tenant_closed
      AND s.expires_at > clock_timestamp() AND s.idle_until > clock_timestamp()
  ) THEN
    RETURN true;
  END IF;
  RETURN EXISTS (
    SELECT FROM access.impersonation AS i
    WHERE i.id = credential AND i.ended_at IS NULL AND i.ends_at > clock_timestamp() AND access.staff_stands(i.staff_session)
  );
END
$body$;
COMMENT ON FUNCTION access.stands(uuid) IS
  'Whether a credential (an API key, a session, an impersonation) of the entered tenant, which is open, still stands; null, which local operators and the system have, always does.';

-- -------------------------------------------------------------------------------------------------- the broken glass

-- `again`: it was broken while another of the same person's waited for its review. `seen` is how many entries of the
-- ledger stood under it when it was reviewed.
CREATE TABLE access.break_glass (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  subject_id uuid NOT NULL,
  again boolean NOT NULL,
  reason bytea NOT NULL CHECK (length(reason) BETWEEN 61 AND 16384 AND substring(reason FROM 1 FOR 2) = 'WK'),
  reason_digest bytea NOT NULL CHECK (octet_length(reason_digest) = 32),
  broken_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL,
  ended_at timestamptz,
  reviewed_at timestamptz,
  reviewed_by text,
  verdict text CHECK (verdict IN ('justified', 'not-justified')),
  note bytea CHECK (length(note) BETWEEN 61 AND 16384 AND substring(note FROM 1 FOR 2) = 'WK'),
  note_digest bytea CHECK (octet_length(note_digest) = 32),
  seen integer CHECK (seen >= 0),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  CHECK (ends_at > broken_at AND ends_at <= broken_at + interval '24 hours'),
  CHECK (ended_at >= broken_at),
  CHECK ((reviewed_at IS NULL) = (reviewed_by IS NULL) AND (reviewed_at IS NULL) = (verdict IS NULL)
    AND (reviewed_at IS NULL) = (note_digest IS NULL) AND (reviewed_at IS NULL) = (seen IS NULL)),
  CHECK (reviewed_by <> 'person:' || person_id::text)
);
CREATE INDEX break_glass_person ON access.break_glass (tenant_id, person_id) WHERE reviewed_at IS NULL OR ended_at IS NULL;
COMMENT ON TABLE access.break_glass IS
  'Who broke the glass of which patient, why, until when, and what somebody else said of it afterwards.';
CALL wk.protect('access.break_glass', 'wk_app');
REVOKE ALL ON access.break_glass FROM PUBLIC;
GRANT SELECT ON access.break_glass TO wk_app;
GRANT INSERT (tenant_id, id, person_id, subject_id, again, reason, reason_digest, broken_at, ends_at) ON access.break_glass TO wk_app;
GRANT UPDATE (ended_at, reviewed_at, reviewed_by, verdict, note, note_digest, seen) ON access.break_glass TO wk_app;
CREATE TRIGGER keep_ended BEFORE UPDATE OF ended_at ON access.break_glass
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION access.keep_ended();
CREATE TRIGGER keep_reviewed BEFORE UPDATE OF reviewed_at, reviewed_by, verdict, note_digest, seen ON access.break_glass
  FOR EACH ROW WHEN (OLD.reviewed_at IS NOT NULL) EXECUTE FUNCTION access.keep_revoked();

CREATE FUNCTION access.glasses(person uuid) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  owner constant uuid := wk.tenant();
BEGIN
  RETURN QUERY SELECT DISTINCT unnest(ARRAY[g.subject_id, s.merged_into]) AS subject
    FROM access.break_glass AS g JOIN vault.subject AS s ON s.tenant_id = owner AND s.id = g.subject_id
    WHERE g.tenant_id = owner AND g.person_id = person AND g.ended_at IS NULL AND g.ends_at > clock_timestamp();
END
$body$;
COMMENT ON FUNCTION access.glasses(uuid) IS
  'The patients of the entered tenant whose glass this person broke and that is open now; who was merged since is found under both ids.';
GRANT EXECUTE ON FUNCTION access.glasses(uuid) TO wk_app;
