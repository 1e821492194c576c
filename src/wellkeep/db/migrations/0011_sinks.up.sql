-- Sinks: how far each receiver outside (a SIEM) has been given each log, who gives it at the moment, and how that goes.
--
-- Nothing here takes a lock that an append waits for: logs and entries are only read. A sink belongs to the deployment,
-- so its row is the platform's; a cursor belongs to the tenant whose log it is in.

CREATE TABLE ledger.sink (
    tenant_id uuid        NOT NULL CHECK (tenant_id = wk.platform()),
    sink      text        NOT NULL COLLATE "C" CHECK (sink ~ '^[a-z][a-z_]{0,60}[0-9]{0,2}$'),
    made_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    holder    uuid,
    held_until    timestamptz,
    failures      integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    error         text    CHECK (error ~ '^[a-z][a-z0-9-]{0,63}$'),
    retry_at      timestamptz,
    delivered_at  timestamptz,
    PRIMARY KEY (tenant_id, sink)
);
COMMENT ON TABLE ledger.sink IS
    'Each sink that was ever started: who delivers to it ("holder", until then unless renewed), and since when it fails.';

CREATE TABLE ledger.sink_cursor (
    tenant_id uuid          NOT NULL,
    sink      text          NOT NULL COLLATE "C",
    epoch     ledger.epoch  NOT NULL,
    origin    text          NOT NULL,
    first     ledger.seq    NOT NULL,
    seq       ledger.seq    NOT NULL,
    leaf      ledger.digest,
    "time"    timestamptz,
    moved_at  timestamptz   NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, sink, epoch)
);
COMMENT ON TABLE ledger.sink_cursor IS
    'The next entry of a log that a sink is to get; the leaf and time of the one before, where known; and where it began.';

CALL wk.protect('ledger.sink', 'wk_app');
CALL wk.protect('ledger.sink_cursor', 'wk_app');
CREATE POLICY streaming ON ledger.sink TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY streaming ON ledger.sink_cursor TO wk_owner USING (true) WITH CHECK (true);
REVOKE ALL ON ledger.sink, ledger.sink_cursor FROM PUBLIC;

-- ------------------------------------------------------------------------------------------------- who delivers

CREATE FUNCTION ledger.sink_open(of_sink text, from_now boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    INSERT INTO ledger.sink (tenant_id, sink) VALUES (wk.platform(), of_sink) ON CONFLICT (tenant_id, sink) DO NOTHING;
    IF FOUND AND from_now THEN
        INSERT INTO ledger.sink_cursor (tenant_id, sink, epoch, origin, first, seq, leaf, "time")
            SELECT l.tenant_id, of_sink, l.epoch, l.origin, l.size, l.size, l.leaf, l."time" FROM ledger.log AS l;
        RETURN true;
    END IF;
    RETURN FOUND;
END
$body$;
COMMENT ON FUNCTION ledger.sink_open(text, boolean) IS
    'Make a sink known; a new one begins at the end of each log that is there, or at its beginning. True where it was new.';

CREATE FUNCTION ledger.sink_take(of_sink text, taker uuid, hold double precision) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    WITH taken AS (
        UPDATE ledger.sink AS s
        SET holder = taker, held_until = clock_timestamp() + hold * interval '1 second'
        WHERE s.tenant_id = wk.platform() AND s.sink = of_sink
          AND (s.holder = taker OR s.held_until IS NULL OR s.held_until < clock_timestamp())
          AND (s.retry_at IS NULL OR s.retry_at <= clock_timestamp())
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM taken)
$body$;
COMMENT ON FUNCTION ledger.sink_take(text, uuid, double precision) IS
    'Take the turn to deliver to a sink, or keep it, for so many seconds; false while another has it or nobody may try.';

CREATE FUNCTION ledger.sink_release(of_sink text, giver uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    UPDATE ledger.sink AS s SET holder = NULL, held_until = NULL
    WHERE s.tenant_id = wk.platform() AND s.sink = of_sink AND s.holder = giver
$body$;
COMMENT ON FUNCTION ledger.sink_release(text, uuid) IS 'Give the turn back, so that another process need not wait.';

CREATE FUNCTION ledger.sink_failed(of_sink text, giver uuid, why text, pause double precision)
RETURNS TABLE (failures integer, seconds double precision)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    UPDATE ledger.sink AS s
    SET holder = NULL, held_until = NULL, failures = s.failures + 1, error = why,
        failing_since = coalesce(s.failing_since, clock_timestamp()),
        retry_at = clock_timestamp() + pause * interval '1 second'
    WHERE s.tenant_id = wk.platform() AND s.sink = of_sink AND s.holder = giver
    RETURNING s.failures, extract(epoch FROM clock_timestamp() - s.failing_since)::double precision
$body$;
COMMENT ON FUNCTION ledger.sink_failed(text, uuid, text, double precision) IS
    'Note that a delivery failed and give the turn back; nobody tries before the pause is over. Answers for how long it fails.';

-- ---------------------------------------------------------------------------------------------- what is to be sent

CREATE TYPE ledger.sink_due AS (
    tenant_id uuid, epoch integer, origin text, size bigint, head_leaf bytea, head_time timestamptz,
    first bigint, seq bigint, leaf bytea, "time" timestamptz, found bytea
);
CREATE FUNCTION ledger.sink_due(of_sink text, tenants uuid[], with_root boolean, most integer)
RETURNS SETOF ledger.sink_due
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    WITH cursors AS MATERIALIZED (
        SELECT * FROM ledger.sink_cursor AS k
        WHERE k.sink = of_sink
          AND CASE WHEN k.tenant_id = wk.platform() THEN with_root ELSE tenants IS NULL OR k.tenant_id = ANY (tenants) END
    ), logs AS MATERIALIZED (
        SELECT l.tenant_id, l.epoch, l.origin, l.size, l.leaf, l."time" FROM ledger.log AS l
        WHERE CASE WHEN l.tenant_id = wk.platform() THEN with_root ELSE tenants IS NULL OR l.tenant_id = ANY (tenants) END
    ), due AS (
        -- The oldest epoch of each tenant that is not delivered to its end, and logs that are no longer there.
        SELECT DISTINCT ON (tenant_id) tenant_id, epoch, coalesce(l.origin, k.origin) AS origin,
               coalesce(l.size, 0)::bigint AS size, l.leaf AS head_leaf, l."time" AS head_time,
               coalesce(k.first, 0)::bigint AS first, coalesce(k.seq, 0)::bigint AS seq, k.leaf, k."time", k.moved_at
        FROM logs AS l FULL JOIN cursors AS k USING (tenant_id, epoch)
        WHERE coalesce(l.size, 0) <> coalesce(k.seq, 0) OR (l.leaf <> k.leaf)
        ORDER BY tenant_id, epoch
    )
    SELECT d.tenant_id, d.epoch, d.origin, d.size, d.head_leaf, d.head_time, d.first, d.seq, d.leaf, d."time",
           -- In the month where it was; only where it is not there any more, in all of them.
           coalesce((SELECT e.leaf FROM ledger.entry AS e
                     WHERE e.tenant_id = d.tenant_id AND e.epoch = d.epoch AND e.seq = d.seq - 1 AND e."time" = d."time"),
                    (SELECT e.leaf FROM ledger.entry AS e
                     WHERE e.tenant_id = d.tenant_id AND e.epoch = d.epoch AND e.seq = d.seq - 1))
    FROM due AS d ORDER BY d.moved_at NULLS FIRST, d.tenant_id LIMIT most
$body$;
COMMENT ON FUNCTION ledger.sink_due(text, uuid[], boolean, integer) IS
    'Logs that a sink has not been given to their end, or that are no more what it was given; "found" is the leaf before the cursor as it is now.';

CREATE TYPE ledger.sink_run AS (tenant_id uuid, epoch integer, seq bigint, size bigint, "time" timestamptz);
CREATE FUNCTION ledger.sink_entries(runs ledger.sink_run[], most integer)
RETURNS TABLE (run bigint, seq bigint, "time" timestamptz, leaf bytea, entry bytea)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- Time never runs backwards in a log, so the months before the cursor's need not be looked at. The next entry is
    -- looked up first, and searched for only where it is missing: what is read then is bounded by its place, whatever the
    -- backlog, and not by a sort of all of it.
    SELECT r.run, x.seq::bigint, x."time", x.leaf, x.entry
    FROM ROWS FROM (unnest(runs)) WITH ORDINALITY AS r (tenant_id, epoch, seq, size, "time", run)
    CROSS JOIN LATERAL (
        SELECT coalesce(
            (SELECT n.seq FROM ledger.entry AS n
             WHERE n.tenant_id = r.tenant_id AND n.epoch = r.epoch AND n.seq = r.seq AND n.seq < r.size
               AND n."time" >= coalesce(r."time", '-infinity')),
            (SELECT n.seq FROM ledger.entry AS n
             WHERE n.tenant_id = r.tenant_id AND n.epoch = r.epoch AND n.seq >= r.seq AND n.seq < r.size
               AND n."time" >= coalesce(r."time", '-infinity')
             ORDER BY n.seq LIMIT 1)) AS seq
        OFFSET 0  -- once for each run
    ) AS b
    JOIN ledger.entry AS x
      ON x.tenant_id = r.tenant_id AND x.epoch = r.epoch AND x.seq >= b.seq AND x.seq < least(r.size, b.seq + most)
     AND x."time" >= coalesce(r."time", '-infinity')
    ORDER BY r.run, x.seq
$body$;
COMMENT ON FUNCTION ledger.sink_entries(ledger.sink_run[], integer) IS
    'The entries of each run from the first that is there, in order: those of so many places in a row.';

CREATE TYPE ledger.sink_move AS (
    tenant_id uuid, epoch integer, origin text, old_seq bigint, first bigint, seq bigint, leaf bytea, "time" timestamptz
);
CREATE FUNCTION ledger.sink_moved(of_sink text, mover uuid, hold double precision, moves ledger.sink_move[])
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    UPDATE ledger.sink AS s
        SET held_until = clock_timestamp() + hold * interval '1 second', delivered_at = clock_timestamp(),
            failures = 0, failing_since = NULL, error = NULL, retry_at = NULL
        WHERE s.tenant_id = wk.platform() AND s.sink = of_sink AND s.holder = mover;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- A log that is gone needs no cursor: should it come again, it begins at its beginning.
    DELETE FROM ledger.sink_cursor AS k USING unnest(moves) AS m
        WHERE k.tenant_id = m.tenant_id AND k.sink = of_sink AND k.epoch = m.epoch AND k.seq = m.old_seq AND m.first IS NULL;
    INSERT INTO ledger.sink_cursor AS k (tenant_id, sink, epoch, origin, first, seq, leaf, "time")
        SELECT m.tenant_id, of_sink, m.epoch, m.origin, m.first, m.seq, m.leaf, m."time"
        FROM unnest(moves) AS m WHERE m.first IS NOT NULL
        ON CONFLICT (tenant_id, sink, epoch) DO UPDATE
            SET first = excluded.first, seq = excluded.seq, leaf = excluded.leaf, "time" = excluded."time",
                moved_at = excluded.moved_at
            WHERE k.seq = (SELECT m.old_seq FROM unnest(moves) AS m WHERE m.tenant_id = k.tenant_id AND m.epoch = k.epoch);
    RETURN true;
END
$body$;
COMMENT ON FUNCTION ledger.sink_moved(text, uuid, double precision, ledger.sink_move[]) IS
    'Move the cursors of what was delivered and keep the turn; false, and nothing moved, where another has it by now.';

-- -------------------------------------------------------------------------------------------------------- its state

CREATE FUNCTION ledger.sink_lag(of_sink text, tenants uuid[], with_root boolean)
RETURNS TABLE (logs bigint, entries bigint, seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT count(*), coalesce(sum(greatest(d.size - d.seq, 0)), 0)::bigint,
           greatest(coalesce(extract(epoch FROM clock_timestamp() - min(coalesce(e."time", d."time", d.head_time))), 0), 0)::double precision
    FROM (
        SELECT l.tenant_id, l.epoch, l.size, l."time" AS head_time, coalesce(k.seq, 0) AS seq, k."time"
        FROM ledger.log AS l
        LEFT JOIN ledger.sink_cursor AS k ON k.tenant_id = l.tenant_id AND k.epoch = l.epoch AND k.sink = of_sink
        WHERE l.size > coalesce(k.seq, 0)
          AND CASE WHEN l.tenant_id = wk.platform() THEN with_root ELSE tenants IS NULL OR l.tenant_id = ANY (tenants) END
    ) AS d
    -- Where the next entry is missing, the age of the one before tells more than that of the last.
    LEFT JOIN ledger.entry AS e
      ON e.tenant_id = d.tenant_id AND e.epoch = d.epoch AND e.seq = d.seq AND e."time" >= coalesce(d."time", '-infinity')
$body$;
COMMENT ON FUNCTION ledger.sink_lag(text, uuid[], boolean) IS
    'In how many logs a sink is behind, by how many entries, and how old the oldest of them is.';

CREATE FUNCTION ledger.sink_owed(of_sink text, from_now boolean, runs ledger.sink_run[]) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- A sink that is not known yet and begins at each log's end will begin behind them.
    SELECT CASE WHEN from_now AND NOT EXISTS (SELECT FROM ledger.sink AS s
                                              WHERE s.tenant_id = wk.platform() AND s.sink = of_sink) THEN 0
           ELSE coalesce(sum(greatest(r.size - greatest(r.seq, coalesce(k.seq, 0)), 0)), 0)::bigint END
    FROM unnest(runs) AS r
    LEFT JOIN ledger.sink_cursor AS k ON k.tenant_id = r.tenant_id AND k.epoch = r.epoch AND k.sink = of_sink
$body$;
COMMENT ON FUNCTION ledger.sink_owed(text, boolean, ledger.sink_run[]) IS
    'How many entries of these runs (from "seq" to before "size") a sink was not given yet.';

CREATE FUNCTION ledger.sink_states()
RETURNS TABLE (sink text, held boolean, failing double precision, failures integer, error text, delivered double precision)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT s.sink, coalesce(s.held_until >= clock_timestamp(), false),
           extract(epoch FROM clock_timestamp() - s.failing_since)::double precision, s.failures, s.error,
           extract(epoch FROM clock_timestamp() - s.delivered_at)::double precision
    FROM ledger.sink AS s ORDER BY s.sink
$body$;
COMMENT ON FUNCTION ledger.sink_states() IS
    'Each sink that was ever started: whether somebody delivers to it, for how many seconds it fails, and since when it got nothing.';

GRANT USAGE ON TYPE ledger.sink_due, ledger.sink_run, ledger.sink_move TO wk_ledger;
GRANT EXECUTE ON FUNCTION
    ledger.sink_open(text, boolean), ledger.sink_take(text, uuid, double precision), ledger.sink_release(text, uuid),
    ledger.sink_failed(text, uuid, text, double precision), ledger.sink_due(text, uuid[], boolean, integer),
    ledger.sink_entries(ledger.sink_run[], integer),
    ledger.sink_moved(text, uuid, double precision, ledger.sink_move[]),
    ledger.sink_lag(text, uuid[], boolean), ledger.sink_owed(text, boolean, ledger.sink_run[]), ledger.sink_states()
    TO wk_ledger;
