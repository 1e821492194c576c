"""PostgreSQL's own functions that reach past the tenant wall, closed in our database.

Every role may call them as PostgreSQL comes: large objects lie outside row security; an advisory lock can be taken by
whoever guesses its number, and stops whoever else wants it; the list of a session's prepared statements and cursors
gives their names away (`db.pool`). The threat is SQL injected into the application's session.

They belong to the server's superuser, so only one can close them: the embedded server's, or an administrator who is.
Elsewhere `doctor` says what is still open. The lists are the database's own (`pg_proc` of that database), not shared.
"""

from __future__ import annotations

from wellkeep.db.connection import Connection

_AM_SUPERUSER = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
_CLOSE = r"""
DO $do$
DECLARE
  one regprocedure;
BEGIN
  FOR one IN
    SELECT oid FROM pg_catalog.pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
      AND (proname ~ '^(lo_|lowrite$|loread$|pg_(try_)?advisory_)' OR proname IN ('pg_prepared_statement', 'pg_cursor'))
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
    IF one::text ~ 'advisory_' THEN
      -- The migrations' lock, and the one under which PgQueuer counts its statistics.
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO wk_migrate, wk_jobs', one);
    END IF;
  END LOOP;
END
$do$
"""
_OPEN = r"""
SELECT DISTINCT proname::text AS name FROM pg_catalog.pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace
  AND (proname ~ '^(lo_|lowrite$|loread$|pg_(try_)?advisory_)' OR proname IN ('pg_prepared_statement', 'pg_cursor'))
  AND has_function_privilege('wk_app', oid, 'EXECUTE')
ORDER BY 1
"""


async def close(connection: Connection) -> bool:
    """Take the functions from PUBLIC in the connected database; False where the administrator may not (no superuser).

    Doing it again changes nothing. A copy by `CREATE DATABASE … TEMPLATE` inherits it.
    """
    if not await connection.fetchval(_AM_SUPERUSER):
        return False
    await connection.execute(_CLOSE)
    return True


async def still_open(connection: Connection) -> list[str]:
    """Return the names of those that the application's role may call here; any role may ask."""
    return [row["name"] for row in await connection.fetch(_OPEN)]
