DROP FUNCTION access.backends(boolean);
DROP FUNCTION access.sees_sessions();
DROP FUNCTION access.watched(text, bigint);
DROP FUNCTION access.take_watch();
DROP FUNCTION access.watch_from_now();
REVOKE USAGE ON SCHEMA access FROM wk_jobs, wk_migrate;
DROP TABLE access.session_watch;
