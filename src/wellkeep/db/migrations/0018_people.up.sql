-- People: who they are, what roles they were granted, and where they are signed in.
--
-- A person belongs to one tenant, staff of the deployment to the platform's. A session is known by its id and the digest
-- of a secret; it stands while nobody ended it, its time is not over and it was not left idle. Taking a role away, and
-- disabling a person, end the sessions in the same transaction, by triggers, so that no way of doing it can forget it.
CREATE TABLE access.person (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  email text COLLATE "C" NOT NULL CHECK (octet_length(email) BETWEEN 3 AND 254 AND email = lower(email) AND email LIKE '_%@_%'),
  name text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 400),
  state text NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'active', 'disabled')),
  invited_by text NOT NULL,
  created_at timestamptz NOT NULL,
  joined_at timestamptz,
  disabled_at timestamptz,
  last_seen_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, email),
  CHECK ((state = 'disabled') = (disabled_at IS NOT NULL))
);
CREATE INDEX person_id ON access.person (id);
COMMENT ON TABLE access.person IS 'People who may sign in: staff of a tenant, or of the deployment. Never a patient.';
CALL wk.protect('access.person', 'wk_app');
CREATE POLICY lookup ON access.person FOR SELECT TO wk_auth USING (true);
REVOKE ALL ON access.person FROM PUBLIC;
GRANT SELECT, INSERT ON access.person TO wk_app;
GRANT UPDATE (email, name, state, joined_at, disabled_at, last_seen_at) ON access.person TO wk_app;
GRANT SELECT (tenant_id, id, state) ON access.person TO wk_auth;

CREATE TABLE access.role_grant (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  role text NOT NULL CHECK (role ~ '^[a-z][a-z0-9_]{0,62}$'),
  granted_by text NOT NULL,
  granted_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  last_used_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
  CHECK (expires_at > granted_at)
);
CREATE UNIQUE INDEX role_grant_one ON access.role_grant (tenant_id, person_id, role) WHERE revoked_at IS NULL;
COMMENT ON TABLE access.role_grant IS 'Which roles a person was granted, by whom, until when; a revoked one stays, and stays revoked.';
CALL wk.protect('access.role_grant', 'wk_app');
CREATE POLICY lookup ON access.role_grant FOR SELECT TO wk_auth USING (true);
REVOKE ALL ON access.role_grant FROM PUBLIC;
GRANT SELECT, INSERT ON access.role_grant TO wk_app;
GRANT UPDATE (revoked_at, revoked_by, last_used_at) ON access.role_grant TO wk_app;
GRANT SELECT (tenant_id, id, person_id, role, expires_at, revoked_at) ON access.role_grant TO wk_auth;
CREATE TRIGGER keep_revoked BEFORE UPDATE OF revoked_at ON access.role_grant
  FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
  EXECUTE FUNCTION access.keep_revoked();

CREATE TABLE access.session (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  method text NOT NULL CHECK (method IN ('password', 'passkey', 'provider')),
  provider_id uuid,
  provider_session text,
  mfa boolean NOT NULL DEFAULT false,
  proved_at timestamptz,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  idle interval NOT NULL CHECK (idle > interval '0'),
  idle_until timestamptz NOT NULL,
  ip inet,
  agent text CHECK (agent ~ '^[0-9a-f]{16}$'),
  ended_at timestamptz,
  ended_because text CHECK (ended_because ~ '^[a-z][a-z-]{0,31}$'),
  tenant_closed boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  CHECK (expires_at > created_at),
  CHECK (mfa = (proved_at IS NOT NULL)),
  CHECK ((ended_at IS NULL) = (ended_because IS NULL))
);
CREATE INDEX session_id ON access.session (id);
CREATE INDEX session_person ON access.session (tenant_id, person_id, id) WHERE ended_at IS NULL;
COMMENT ON TABLE access.session IS
  'Where people are signed in: the SHA-256 digest of a secret alone; `proved_at` is when a second factor was last shown.';
CALL wk.protect('access.session', 'wk_app');
CREATE POLICY lookup ON access.session FOR SELECT TO wk_auth USING (true);
REVOKE ALL ON access.session FROM PUBLIC;
GRANT SELECT (tenant_id, id, person_id, method, provider_id, provider_session, mfa, proved_at, created_at, expires_at, idle,
  idle_until, ip, agent, ended_at, ended_because, tenant_closed) ON access.session TO wk_app;
GRANT INSERT (tenant_id, id, person_id, digest, method, provider_id, provider_session, mfa, proved_at, created_at, expires_at,
  idle, idle_until, ip, agent) ON access.session TO wk_app;
GRANT UPDATE (idle_until, ended_at, ended_because) ON access.session TO wk_app;
GRANT SELECT (tenant_id, id, person_id, digest, mfa, proved_at, expires_at, idle_until, ended_at) ON access.session TO wk_auth;

CREATE FUNCTION access.keep_ended() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RAISE EXCEPTION 'wellkeep: an ended session stays ended' USING ERRCODE = 'WK020';
END
$body$;
COMMENT ON FUNCTION access.keep_ended() IS 'Refuse to touch a session that has ended; WK020.';
CREATE TRIGGER keep_ended BEFORE UPDATE OF ended_at, idle_until ON access.session
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION access.keep_ended();

CREATE FUNCTION access.end_sessions() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.session SET ended_at = clock_timestamp(), ended_because = TG_ARGV[0]
    WHERE tenant_id = NEW.tenant_id AND ended_at IS NULL
      AND person_id = (CASE TG_ARGV[0] WHEN 'disabled' THEN to_jsonb(NEW) ->> 'id' ELSE to_jsonb(NEW) ->> 'person_id' END)::uuid;
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.end_sessions() IS 'End the sessions of a person who was disabled or lost a role, in the same transaction.';
CREATE TRIGGER end_sessions AFTER UPDATE OF revoked_at ON access.role_grant
  FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION access.end_sessions('role-revoked');
CREATE TRIGGER end_sessions AFTER UPDATE OF state ON access.person
  FOR EACH ROW WHEN (NEW.state = 'disabled' AND OLD.state <> 'disabled') EXECUTE FUNCTION access.end_sessions('disabled');

-- As with keys: a closed tenant's sessions do not stand, without asking wk.tenants for every element of every batch.
CREATE POLICY platform_reads ON access.session FOR SELECT TO wk_owner USING ((SELECT wk.tenant()) = wk.platform());
CREATE POLICY platform_closes ON access.session FOR UPDATE TO wk_owner USING ((SELECT wk.tenant()) = wk.platform());
CREATE OR REPLACE FUNCTION access.follow_tenant() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.api_key SET tenant_closed = (NEW.state = 'closed') WHERE tenant_id = NEW.id;
  UPDATE access.session SET tenant_closed = (NEW.state = 'closed') WHERE tenant_id = NEW.id AND ended_at IS NULL;
  RETURN NULL;
END
$body$;

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

-- What a tenant decides about its own people. No row: the defaults. None of it loosens what the policy demands.
CREATE TABLE access.tenant_rules (
  tenant_id uuid NOT NULL PRIMARY KEY,
  second_factor boolean NOT NULL DEFAULT false,
  care_team text[] NOT NULL DEFAULT '{}' CHECK (cardinality(care_team) <= 64),
  session_idle interval NOT NULL DEFAULT interval '30 minutes' CHECK (session_idle BETWEEN interval '1 minute' AND interval '24 hours'),
  session_length interval NOT NULL DEFAULT interval '12 hours'
    CHECK (session_length BETWEEN interval '5 minutes' AND interval '30 days'),
  glass_length interval NOT NULL DEFAULT interval '1 hour' CHECK (glass_length BETWEEN interval '5 minutes' AND interval '24 hours'),
  glass_unreviewed integer NOT NULL DEFAULT 3 CHECK (glass_unreviewed BETWEEN 1 AND 100),
  review_days integer NOT NULL DEFAULT 90 CHECK (review_days BETWEEN 7 AND 366),
  changed_at timestamptz NOT NULL,
  changed_by text NOT NULL
);
COMMENT ON TABLE access.tenant_rules IS
  'What a tenant demands of its own people: a second factor of all, roles bound to the care team, how long sessions and broken glasses last, how many unreviewed uses block it, how often access is reviewed.';
CALL wk.protect('access.tenant_rules', 'wk_app');
REVOKE ALL ON access.tenant_rules FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON access.tenant_rules TO wk_app;
