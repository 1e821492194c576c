-- How people get in: invitations, passwords, second factors, recovery codes, and what slows down who guesses.
--
-- Whatever a person could show is stored so that nobody can show it again from a copy of these tables: a link, a ticket
-- and a recovery code as digests, a password as bcrypt under a pepper that is not here, the secret of an authenticator
-- app sealed, a passkey as its public half. Used up is used up, by one statement that two workers can't both win.
GRANT SELECT (ip, agent) ON access.session TO wk_auth;

CREATE TABLE access.invitation (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('join', 'reset')),
  digest bytea CHECK (octet_length(digest) = 32),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  mailed_at timestamptz,
  used_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  CHECK (expires_at > created_at AND expires_at <= created_at + interval '72 hours')
);
CREATE INDEX invitation_id ON access.invitation (id);
CREATE INDEX invitation_person ON access.invitation (tenant_id, person_id) WHERE used_at IS NULL;
COMMENT ON TABLE access.invitation IS
  'Links by which a person sets a password: the digest alone, good once and for three days; none yet while its mail waits.';
CALL wk.protect('access.invitation', 'wk_app');
CREATE POLICY lookup ON access.invitation FOR SELECT TO wk_auth USING (true);
REVOKE ALL ON access.invitation FROM PUBLIC;
GRANT SELECT (tenant_id, id, person_id, kind, created_at, expires_at, mailed_at, used_at) ON access.invitation TO wk_app;
GRANT INSERT (tenant_id, id, person_id, kind, digest, created_at, expires_at) ON access.invitation TO wk_app;
GRANT UPDATE (digest, expires_at, mailed_at, used_at) ON access.invitation TO wk_app;
GRANT SELECT (tenant_id, id, person_id, kind, digest, expires_at, used_at) ON access.invitation TO wk_auth;

CREATE TABLE access.password (
  tenant_id uuid NOT NULL,
  person_id uuid NOT NULL,
  hash text NOT NULL CHECK (hash ~ '^\$2b\$1[2-6]\$[./A-Za-z0-9]{53}$'),
  pepper integer NOT NULL CHECK (pepper BETWEEN 1 AND 65535),
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, person_id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE access.password IS
  'bcrypt over an HMAC of the password; the key of the HMAC follows from a key of the deployment, whose epoch is `pepper`.';
CALL wk.protect('access.password', 'wk_app');
REVOKE ALL ON access.password FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON access.password TO wk_app;

CREATE TABLE access.factor (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('totp', 'passkey')),
  name text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
  sealed bytea CHECK (octet_length(sealed) BETWEEN 60 AND 400),
  last_step bigint,
  credential_id bytea CHECK (octet_length(credential_id) BETWEEN 16 AND 1023),
  public_key bytea CHECK (octet_length(public_key) BETWEEN 32 AND 4096),
  sign_count bigint CHECK (sign_count BETWEEN 0 AND 4294967295),
  created_at timestamptz NOT NULL,
  confirmed_at timestamptz,
  last_used_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  CHECK (CASE kind WHEN 'totp' THEN sealed IS NOT NULL AND credential_id IS NULL
    ELSE sealed IS NULL AND credential_id IS NOT NULL AND public_key IS NOT NULL AND sign_count IS NOT NULL END)
);
CREATE INDEX factor_person ON access.factor (tenant_id, person_id);
CREATE UNIQUE INDEX factor_credential ON access.factor (tenant_id, credential_id);
CREATE INDEX factor_by_credential ON access.factor (credential_id);
COMMENT ON TABLE access.factor IS
  'Second factors: the sealed secret of an app with the last time step it was good for, or a passkey''s public half.';
CALL wk.protect('access.factor', 'wk_app');
CREATE POLICY lookup ON access.factor FOR SELECT TO wk_auth USING (true);
REVOKE ALL ON access.factor FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON access.factor TO wk_app;
GRANT UPDATE (last_step, sign_count, confirmed_at, last_used_at) ON access.factor TO wk_app;
GRANT SELECT (tenant_id, person_id, credential_id) ON access.factor TO wk_auth;

CREATE TABLE access.recovery_code (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  created_at timestamptz NOT NULL,
  used_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX recovery_code_person ON access.recovery_code (tenant_id, person_id);
COMMENT ON TABLE access.recovery_code IS 'Codes for who lost the second factor: 80 random bits each, their digests alone, good once.';
CALL wk.protect('access.recovery_code', 'wk_app');
REVOKE ALL ON access.recovery_code FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON access.recovery_code TO wk_app;
GRANT UPDATE (used_at) ON access.recovery_code TO wk_app;

-- A first factor was shown, and the second is asked for.
CREATE TABLE access.ticket (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  method text NOT NULL CHECK (method IN ('password', 'provider')),
  provider_id uuid,
  provider_session text,
  tries integer NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 5),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ticket_id ON access.ticket (id);
COMMENT ON TABLE access.ticket IS 'Sign-ins that wait for their second factor: five tries, five minutes, gone once used.';
CALL wk.protect('access.ticket', 'wk_app');
CREATE POLICY lookup ON access.ticket FOR SELECT TO wk_auth USING (true);
REVOKE ALL ON access.ticket FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON access.ticket TO wk_app;
GRANT UPDATE (tries) ON access.ticket TO wk_app;
GRANT SELECT (tenant_id, id, person_id, digest, expires_at) ON access.ticket TO wk_auth;
CREATE FUNCTION access.drop_tickets() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  DELETE FROM access.ticket WHERE tenant_id = NEW.tenant_id AND person_id = NEW.id;
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.drop_tickets() IS 'End the sign-ins under way of a person who was disabled, in the same transaction.';
CREATE TRIGGER drop_tickets AFTER UPDATE OF state ON access.person
  FOR EACH ROW WHEN (NEW.state = 'disabled' AND OLD.state <> 'disabled') EXECUTE FUNCTION access.drop_tickets();

-- What a passkey signs: made here, good once. Who signs in with nothing but a passkey is not known yet: the platform's.
CREATE TABLE access.challenge (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid,
  purpose text NOT NULL CHECK (purpose IN ('register', 'sign-in', 'factor', 'step-up')),
  challenge bytea NOT NULL CHECK (octet_length(challenge) = 32),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  CHECK ((person_id IS NULL) = (purpose = 'sign-in'))
);
CREATE INDEX challenge_age ON access.challenge (tenant_id, expires_at);
COMMENT ON TABLE access.challenge IS 'Challenges for passkeys: 32 random bytes, for one purpose, good once and for five minutes.';
CALL wk.protect('access.challenge', 'wk_app');
REVOKE ALL ON access.challenge FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON access.challenge TO wk_app;

-- Who guesses waits. A lane's key is a keyed digest of whom it is about and where from: no address, no e-mail is kept.
-- All lanes are the platform's: a tenant that does not exist is slowed down like one that does.
CREATE TABLE access.throttle (
  tenant_id uuid NOT NULL,
  key bytea NOT NULL CHECK (octet_length(key) = 32),
  failures double precision NOT NULL CHECK (failures >= 0),
  until timestamptz NOT NULL,
  seen_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, key)
);
CREATE INDEX throttle_age ON access.throttle (tenant_id, seen_at);
COMMENT ON TABLE access.throttle IS 'How often was guessed in each lane, and until when it is closed; forgotten after a day.';
CALL wk.protect('access.throttle', 'wk_app');
REVOKE ALL ON access.throttle FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON access.throttle TO wk_app;

CREATE FUNCTION access.take_try(lanes bytea[], free integer[], longest integer[], fades double precision[]) RETURNS integer
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  closed timestamptz;
  moment timestamptz;
BEGIN
  INSERT INTO access.throttle (tenant_id, key, failures, until, seen_at)
    SELECT wk.tenant(), lane, 0, clock_timestamp(), clock_timestamp() FROM unnest(lanes) AS lane ORDER BY lane
    ON CONFLICT DO NOTHING;
  PERFORM FROM access.throttle AS t WHERE t.key = ANY (lanes) ORDER BY t.key FOR UPDATE;
  moment := clock_timestamp();
  -- What a clock wrote that has been set back since closes a lane for no longer than a lane closes.
  UPDATE access.throttle AS t
    SET until = least(t.until, moment + lane.longest * interval '1 second'), seen_at = least(t.seen_at, moment)
    FROM unnest(lanes, longest) AS lane (key, longest)
    WHERE t.key = lane.key AND (t.until > moment + lane.longest * interval '1 second' OR t.seen_at > moment);
  SELECT max(t.until) INTO closed FROM access.throttle AS t WHERE t.key = ANY (lanes);
  IF closed > moment THEN
    RETURN ceil(extract(epoch FROM closed - moment));
  END IF;
  UPDATE access.throttle AS t
    SET failures = counted.failures, seen_at = moment,
      until = CASE WHEN counted.failures <= counted.free - 1 THEN moment
        ELSE moment + least(power(2, least(counted.failures - counted.free, 20)), counted.longest) * interval '1 second' END
    FROM (
      SELECT old.key, lane.free, lane.longest,
        1 + CASE
          WHEN lane.fades > 0 THEN greatest(0, old.failures - lane.fades * extract(epoch FROM moment - old.seen_at))
          WHEN old.seen_at < moment - interval '1 hour' THEN 0
          ELSE old.failures END AS failures
      FROM unnest(lanes, free, longest, fades) AS lane (key, free, longest, fades)
      JOIN access.throttle AS old ON old.key = lane.key
    ) AS counted
    WHERE t.key = counted.key;
  RETURN 0;
END
$body$;
COMMENT ON FUNCTION access.take_try(bytea[], integer[], integer[], double precision[]) IS
  'Count a try in each lane before it is made; or, where one is closed, count nothing and return the seconds to wait.';
REVOKE ALL ON FUNCTION access.take_try(bytea[], integer[], integer[], double precision[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.take_try(bytea[], integer[], integer[], double precision[]) TO wk_app;
