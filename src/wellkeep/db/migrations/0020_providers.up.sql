-- Identity providers of tenants (OpenID Connect), whom they vouched for, and sign-ins that are under way there.
--
-- Who somebody is at a provider is stored as a digest of issuer and subject; a sign-in under way as digests of what goes
-- through the provider (`state`) and of what stays with the browser. Neither is of use to who reads a copy of these
-- tables, and each is good once. The client's secret is sealed under a key that is not here.
CREATE TABLE access.provider (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$'),
  issuer text NOT NULL CHECK (issuer ~ '^https://[^?#@\s]+$' AND octet_length(issuer) <= 500),
  discovery text NOT NULL CHECK (discovery ~ '^https://[^#@\s]+$' AND octet_length(discovery) <= 700),
  client_id text NOT NULL CHECK (octet_length(client_id) BETWEEN 1 AND 255),
  sealed bytea CHECK (octet_length(sealed) BETWEEN 60 AND 1400),
  places text[] NOT NULL CHECK (cardinality(places) BETWEEN 1 AND 4),
  scopes text[] NOT NULL DEFAULT '{}' CHECK (cardinality(scopes) <= 16),
  second_factor text[] NOT NULL DEFAULT '{}' CHECK (cardinality(second_factor) <= 16),
  prompt text CHECK (prompt IN ('login', 'select_account')),
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name)
);
COMMENT ON TABLE access.provider IS
  'Identity providers that a tenant''s people may sign in with; the client secret is sealed; `second_factor` are the values of amr and acr that say that one was shown.';
CALL wk.protect('access.provider', 'wk_app');
REVOKE ALL ON access.provider FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON access.provider TO wk_app;
GRANT UPDATE (places) ON access.provider TO wk_app; -- without it no row is locked against being removed meanwhile

CREATE TABLE access.provider_role (
  tenant_id uuid NOT NULL,
  provider_id uuid NOT NULL,
  claim text NOT NULL CHECK (octet_length(claim) BETWEEN 1 AND 200),
  value text NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 400),
  role text NOT NULL CHECK (role ~ '^[a-z][a-z0-9_]{0,62}$'),
  PRIMARY KEY (tenant_id, provider_id, claim, value, role),
  FOREIGN KEY (tenant_id, provider_id) REFERENCES access.provider (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE access.provider_role IS 'Which value of which claim of a provider gives which role.';
CALL wk.protect('access.provider_role', 'wk_app');
REVOKE ALL ON access.provider_role FROM PUBLIC;
GRANT SELECT, INSERT ON access.provider_role TO wk_app;

CREATE TABLE access.identity (
  tenant_id uuid NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  person_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, digest),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX identity_person ON access.identity (tenant_id, person_id);
COMMENT ON TABLE access.identity IS 'Who somebody is at an issuer: SHA-256 of issuer and subject, and the person here.';
CALL wk.protect('access.identity', 'wk_app');
REVOKE ALL ON access.identity FROM PUBLIC;
GRANT SELECT, INSERT ON access.identity TO wk_app;

CREATE TABLE access.pending_sign_in (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  provider_id uuid NOT NULL,
  state bytea NOT NULL CHECK (octet_length(state) = 32),
  browser bytea NOT NULL CHECK (octet_length(browser) = 32),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, provider_id) REFERENCES access.provider (tenant_id, id) ON DELETE CASCADE,
  CHECK (expires_at > created_at AND expires_at <= created_at + interval '10 minutes')
);
CREATE INDEX pending_sign_in_id ON access.pending_sign_in (id);
CREATE INDEX pending_sign_in_age ON access.pending_sign_in (tenant_id, expires_at);
COMMENT ON TABLE access.pending_sign_in IS
  'Sign-ins that somebody began at a provider: digests of the state and of the browser''s cookie, ten minutes, gone once used.';
CALL wk.protect('access.pending_sign_in', 'wk_app');
CREATE POLICY lookup ON access.pending_sign_in FOR SELECT TO wk_auth USING (true);
REVOKE ALL ON access.pending_sign_in FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON access.pending_sign_in TO wk_app;
GRANT SELECT (tenant_id, id) ON access.pending_sign_in TO wk_auth;

CREATE TABLE access.logout_token (
  tenant_id uuid NOT NULL,
  provider_id uuid NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  identity bytea CHECK (octet_length(identity) = 32),
  provider_session text,
  seen_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, provider_id, digest),
  FOREIGN KEY (tenant_id, provider_id) REFERENCES access.provider (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE access.logout_token IS 'Logout tokens that were taken, by the digest of their id, and whose sign-ins under way they end; for as long as one could come again.';
CALL wk.protect('access.logout_token', 'wk_app');
REVOKE ALL ON access.logout_token FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON access.logout_token TO wk_app;

CREATE INDEX session_provider_session ON access.session (tenant_id, provider_id, provider_session) WHERE provider_id IS NOT NULL;

-- A sign-in that ends after its provider was removed has no provider to name, so it begins no session.
ALTER TABLE access.session ADD CONSTRAINT session_provider
  FOREIGN KEY (tenant_id, provider_id) REFERENCES access.provider (tenant_id, id) ON DELETE SET NULL (provider_id);
ALTER TABLE access.ticket ADD CONSTRAINT ticket_provider
  FOREIGN KEY (tenant_id, provider_id) REFERENCES access.provider (tenant_id, id) ON DELETE CASCADE;
