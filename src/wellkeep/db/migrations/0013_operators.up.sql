-- Operators: who is logged in to the database past the application, and up to where PostgreSQL's own log was read for it.
--
-- What is seen is entered in the root log, under an id that follows from the session: so nothing is kept here but a place
-- in a file. Statements of other sessions, which pg_read_all_stats shows too, leave no function of ours.

CREATE TABLE access.session_watch (
    tenant_id  uuid        NOT NULL PRIMARY KEY CHECK (tenant_id = wk.platform()),
    since      timestamptz NOT NULL,
    log        text        COLLATE "C" CHECK (log ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    read       bigint      NOT NULL DEFAULT 0 CHECK (read >= 0),
    watched_at timestamptz
);
COMMENT ON TABLE access.session_watch IS
    'One row, whose lock is the turn to watch: since when sessions are watched, and how far PostgreSQL''s log was read.';
INSERT INTO access.session_watch (tenant_id, since) VALUES (wk.platform(), clock_timestamp());

CALL wk.protect('access.session_watch', 'wk_app');
CREATE POLICY watching ON access.session_watch TO wk_owner USING (true) WITH CHECK (true);
REVOKE ALL ON access.session_watch FROM PUBLIC;
GRANT USAGE ON SCHEMA access TO wk_jobs, wk_migrate;

CREATE FUNCTION access.watch_from_now() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    UPDATE access.session_watch AS w SET since = clock_timestamp() WHERE w.watched_at IS NULL
$body$;
COMMENT ON FUNCTION access.watch_from_now() IS
    'End the set-up: sessions from now on are watched. Changes nothing once anybody has watched.';

CREATE FUNCTION access.take_watch() RETURNS TABLE (since timestamptz, log text, read bigint, watched_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT w.since, w.log, w.read, w.watched_at FROM access.session_watch AS w FOR UPDATE SKIP LOCKED
$body$;
COMMENT ON FUNCTION access.take_watch() IS
    'Take the turn to watch until this transaction ends; no row while another has it.';

CREATE FUNCTION access.watched(of_log text, read_to bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    UPDATE access.session_watch AS w SET log = of_log, read = read_to, watched_at = clock_timestamp()
$body$;
COMMENT ON FUNCTION access.watched(text, bigint) IS 'Note how far the log was read; by whoever has the turn.';

CREATE FUNCTION access.sees_sessions() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT pg_has_role('pg_read_all_stats', 'USAGE')
$body$;
COMMENT ON FUNCTION access.sees_sessions() IS 'Whether the sessions of other roles can be told apart here.';

CREATE FUNCTION access.backends(everywhere boolean)
RETURNS TABLE (pid integer, started bigint, role text, name text, address text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT a.pid, floor(extract(epoch FROM a.backend_start))::bigint, a.usename::text, a.application_name, host(a.client_addr)
    FROM pg_stat_activity AS a LEFT JOIN pg_roles AS r ON r.oid = a.usesysid
    WHERE a.backend_type IN ('client backend', 'walsender') AND a.usename IS NOT NULL AND a.backend_start IS NOT NULL
      AND a.usename <> ALL (ARRAY['wk_app', 'wk_ledger', 'wk_auth', 'wk_jobs']::name[])
      AND (everywhere OR coalesce(r.rolsuper, true) OR a.usename LIKE 'wk\_%' OR a.datname IS NULL
           OR a.datname = current_database())
$body$;
COMMENT ON FUNCTION access.backends(boolean) IS
    'Sessions of other roles than the application''s: the whole server''s, or those that can reach this database.';

GRANT EXECUTE ON FUNCTION access.take_watch(), access.watched(text, bigint), access.backends(boolean) TO wk_jobs;
GRANT EXECUTE ON FUNCTION access.sees_sessions() TO wk_jobs, wk_app;
GRANT EXECUTE ON FUNCTION access.watch_from_now() TO wk_migrate;
