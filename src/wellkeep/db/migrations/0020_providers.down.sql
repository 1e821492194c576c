ALTER TABLE access.ticket DROP CONSTRAINT ticket_provider;
ALTER TABLE access.session DROP CONSTRAINT session_provider;
DROP INDEX access.session_provider_session;
DROP TABLE access.logout_token;
DROP TABLE access.pending_sign_in;
DROP TABLE access.identity;
DROP TABLE access.provider_role;
DROP TABLE access.provider;
