-- The ledger: one log per tenant and epoch, entries whose stored bytes are the hashed bytes, a seal per batch.
--
-- Nobody but the owner writes here, and the owner does so through one function, ledger.append_batch: it takes entries
-- that were spliced before the call, compares the heads that they were spliced onto, and writes all of them or none.
-- What it guards by itself: one successor per head (no fork), an event id once in its tenant, an outbox row chained once.
-- What it can't guard against, its owner, is found by the seals, whose key is outside the database.
CREATE SCHEMA ledger AUTHORIZATION wk_owner;

-- Bounds are domains, not CHECKs of the tables: those are parsed anew by every INSERT and UPDATE that is executed.
CREATE DOMAIN ledger.epoch AS integer CHECK (VALUE >= 1);
CREATE DOMAIN ledger.size AS bigint CHECK (VALUE >= 1);
CREATE DOMAIN ledger.seq AS bigint CHECK (VALUE >= 0);
CREATE DOMAIN ledger.digest AS bytea CHECK (pg_catalog.length(VALUE) = 32);
CREATE DOMAIN ledger.entry_bytes AS bytea CHECK (pg_catalog.length(VALUE) <= 32768);
CREATE DOMAIN ledger.event_bytes AS bytea CHECK (pg_catalog.length(VALUE) BETWEEN 34 AND 32288);

CREATE TABLE ledger.log (
    tenant_id uuid          NOT NULL,
    epoch     ledger.epoch  NOT NULL,
    origin    text          NOT NULL UNIQUE,
    size      ledger.size   NOT NULL,
    leaf      ledger.digest NOT NULL,
    "time"    timestamptz   NOT NULL,
    frontier  bytea[]       NOT NULL,
    PRIMARY KEY (tenant_id, epoch)
);
COMMENT ON TABLE ledger.log IS
    'The head of each log: how many entries, the last leaf and its time, and the frontier of the Merkle tree (RFC 6962).';

CREATE TABLE ledger.entry (
    tenant_id     uuid        NOT NULL,
    epoch         integer     NOT NULL,
    seq           ledger.seq  NOT NULL,
    event_id      uuid        NOT NULL,
    "time"        timestamptz NOT NULL,
    actor         text        NOT NULL COLLATE "C",
    action        text        NOT NULL COLLATE "C",
    purpose       text        COLLATE "C",
    resource_type text        COLLATE "C",
    resource_id   text        COLLATE "C",
    subject       uuid,
    outcome       text        NOT NULL COLLATE "C",
    request       uuid        NOT NULL,
    leaf          ledger.digest      NOT NULL,
    entry         ledger.entry_bytes NOT NULL,
    PRIMARY KEY (tenant_id, epoch, seq, "time")
) PARTITION BY RANGE ("time");
COMMENT ON TABLE ledger.entry IS
    'The entries, a partition a month (UTC). "entry" holds the hashed bytes; the other columns repeat what is in them, for searching, and are verified.';
-- Time never runs backwards in a log, so the primary key orders by time too: ledger.seq_since finds the place.
CREATE INDEX entry_actor ON ledger.entry (tenant_id, actor, epoch, seq);
CREATE INDEX entry_action ON ledger.entry (tenant_id, action, epoch, seq);
CREATE INDEX entry_subject_of ON ledger.entry (tenant_id, subject, epoch, seq) WHERE subject IS NOT NULL;
-- What is rare is found at once, and rare rows cost appends next to nothing. The two purposes left out are those that an
-- installation acts for all day: whoever looks for one of them finds it among the newest.
CREATE INDEX entry_purpose ON ledger.entry (tenant_id, purpose, epoch, seq) WHERE purpose NOT IN ('TREAT', 'HOPERAT');
CREATE INDEX entry_outcome ON ledger.entry (tenant_id, outcome, epoch, seq) WHERE outcome IN ('denied', 'failed');
-- A denial knows no patient yet, only the record that was asked for: what a patient's accounting finds it by.
CREATE INDEX entry_denied ON ledger.entry (tenant_id, resource_id, epoch, seq) WHERE outcome = 'denied';

-- An event stands once in its tenant's logs: within a month a unique index of the partition says so; across months
-- ledger.append_batch looks, after it has moved the head, whose row's lock serialises a tenant's appends.

CREATE FUNCTION ledger.provide_partition(of_time timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    month constant timestamp := date_trunc('month', of_time AT TIME ZONE 'UTC');
    name  constant text := 'entry_' || to_char(month, 'YYYY_MM');
BEGIN
    IF to_regclass('ledger.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- One at a time; and made apart before it is attached, which holds up nobody who reads or appends.
    PERFORM FROM ledger.turn AS t WHERE t.what = 'partition' FOR UPDATE;
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.relname = name AND c.relnamespace = 'ledger'::regnamespace) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.entry INCLUDING ALL)', name);
    EXECUTE format('CREATE UNIQUE INDEX ON ledger.%I (tenant_id, event_id)', name);
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE ledger.entry ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)', name,
                   month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    RETURN true;
END
$body$;
COMMENT ON FUNCTION ledger.provide_partition(timestamptz) IS
    'Make the partition of the month (UTC) that a time lies in, unless it is there; says whether it was made.';

CREATE FUNCTION ledger.provide_partitions() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $body$
DECLARE
    made integer := 0;
BEGIN
    -- The month before too: shortly after midnight a head's time may still be in it.
    FOR ahead IN -1 .. 3 LOOP
        made := made + ledger.provide_partition(
            date_trunc('month', clock_timestamp()) + ahead * interval '1 month')::integer;
    END LOOP;
    RETURN made;
END
$body$;
COMMENT ON FUNCTION ledger.provide_partitions() IS
    'Make the partitions from last month to three months ahead that are not there; answers how many were made.';

-- Bound when it is made, so it needs no search_path of its own and is put in where it is called.
CREATE FUNCTION ledger.id_floor(since timestamptz) RETURNS uuid
LANGUAGE sql STABLE
-- An hour later than the month: the clock that made an id and the one that timed its entry differ by minutes at most.
RETURN (lpad(to_hex((extract(epoch FROM date_trunc('month', since, 'UTC') + interval '1 hour') * 1000)::bigint), 12, '0')
        || '00000000000000000000')::uuid;
COMMENT ON FUNCTION ledger.id_floor(timestamptz) IS
    'The least UUIDv7 of which no entry can stand in a month before this time''s.';

CREATE TABLE ledger.seal (
    tenant_id uuid    NOT NULL,
    epoch     integer NOT NULL,
    size      ledger.size   NOT NULL,
    key_id    text          NOT NULL,
    leaf      ledger.digest NOT NULL,
    root      ledger.digest NOT NULL,
    mac       ledger.digest NOT NULL,
    PRIMARY KEY (tenant_id, epoch, size)
);
COMMENT ON TABLE ledger.seal IS 'One seal per batch and log: an HMAC under a key that is not in this database.';

CREATE TABLE ledger.entry_subject (
    tenant_id uuid    NOT NULL,
    subject   uuid    NOT NULL,
    epoch     integer NOT NULL,
    seq       bigint  NOT NULL,
    "time"    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject, epoch, seq)
);
COMMENT ON TABLE ledger.entry_subject IS
    'Who saw this patient, beside the column of the entry: the further subjects that an entry names, and its time, which says in which month it lies; re-derived by verify.';
-- What verifying a run of entries compares, and what goes with a month: without it both would read all of a tenant's.
CREATE INDEX entry_subject_place ON ledger.entry_subject (tenant_id, epoch, seq);

CREATE TABLE ledger.outbox (
    tenant_id  uuid               NOT NULL,
    event_id   uuid               NOT NULL,
    event      ledger.event_bytes NOT NULL,
    created_at timestamptz        NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, event_id)
);
COMMENT ON TABLE ledger.outbox IS
    'Events of changes, written in the change''s own transaction and deleted by the call that chains them. "event" is a MAC of 32 bytes under the seal key, then the event: what did not come from the gate is not chained.';
-- From tenant to tenant, and within one from the oldest row on.
CREATE INDEX outbox_age ON ledger.outbox (tenant_id, created_at);

CREATE TABLE ledger.quarantine (
    tenant_id  uuid        NOT NULL,
    event_id   uuid        NOT NULL,
    event      bytea       NOT NULL,
    reason     text        NOT NULL CHECK (reason IN ('form', 'taken')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, event_id, created_at)
);
COMMENT ON TABLE ledger.quarantine IS
    'Outbox rows that can never be chained: no event ("form"), or an id that is chained with other bytes ("taken"). Verify calls a log with such a row bad.';

-- A row that is locked and never read. An advisory lock could be taken by whoever guesses its number.
CREATE TABLE ledger.turn (what text PRIMARY KEY CHECK (what IN ('open', 'drain', 'cover', 'partition')));
COMMENT ON TABLE ledger.turn IS
    'Whose turn it is to open a log, drain the outbox, cover the logs or make a partition: whoever holds the row''s lock.';
INSERT INTO ledger.turn (what) VALUES ('open'), ('drain'), ('cover'), ('partition');

CALL wk.protect('ledger.log', 'wk_app');
CALL wk.protect('ledger.entry', 'wk_app');
CALL wk.protect('ledger.seal', 'wk_app');
CALL wk.protect('ledger.entry_subject', 'wk_app');
CALL wk.protect('ledger.outbox', 'wk_app');
CALL wk.protect('ledger.quarantine', 'wk_app');

-- FORCE binds the owner as well. One batch holds entries of many tenants, so its function works across them.
CREATE POLICY appending ON ledger.log TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY appending ON ledger.entry TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY appending ON ledger.seal TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY appending ON ledger.entry_subject TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY draining ON ledger.outbox TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY draining ON ledger.quarantine TO wk_owner USING (true) WITH CHECK (true);

REVOKE ALL ON ledger.log, ledger.entry, ledger.seal, ledger.entry_subject, ledger.outbox, ledger.quarantine, ledger.turn
    FROM PUBLIC;
GRANT USAGE ON SCHEMA ledger TO wk_app, wk_ledger, wk_migrate;
GRANT SELECT ON ledger.log, ledger.entry, ledger.entry_subject TO wk_app;
GRANT INSERT (tenant_id, event_id, event), SELECT ON ledger.outbox TO wk_app;

-- ------------------------------------------------------------------------------------------------------- appending

CREATE TYPE ledger.step AS (
    tenant_id uuid,
    epoch     integer,
    origin    text,
    old_size  bigint,
    old_leaf  bytea,
    size      bigint,
    leaf      bytea,
    "time"    timestamptz,
    frontier  bytea[],
    key_id    text,
    root      bytea,
    mac       bytea
);
COMMENT ON TYPE ledger.step IS 'One log''s way through a batch: the head expected, the new head, and the seal over it.';

CREATE TYPE ledger.entry_in AS (
    step          integer,
    seq           bigint,
    event_id      uuid,
    actor         text,
    action        text,
    purpose       text,
    resource_type text,
    resource_id   text,
    subject       uuid,
    outcome       text,
    request       uuid,
    leaf          bytea,
    entry         bytea
);
COMMENT ON TYPE ledger.entry_in IS 'An entry as it is handed in; tenant, epoch and time are those of its step (from 1).';
CREATE TYPE ledger.subject_in AS (tenant_id uuid, subject uuid, epoch integer, seq bigint, "time" timestamptz);
COMMENT ON TYPE ledger.subject_in IS 'A subject that an entry names beside the one in its column.';
CREATE TYPE ledger.event_ref AS (tenant_id uuid, event_id uuid);
CREATE TYPE ledger.event_at AS (tenant_id uuid, event_id uuid, epoch integer, seq bigint, leaf bytea, entry bytea);
CREATE TYPE ledger.head AS (
    tenant_id uuid, epoch integer, origin text, size bigint, leaf bytea, "time" timestamptz, frontier bytea[]
);
GRANT USAGE ON TYPE ledger.epoch, ledger.size, ledger.seq, ledger.digest, ledger.entry_bytes, ledger.event_bytes
    TO wk_app;
GRANT USAGE ON TYPE ledger.step, ledger.entry_in, ledger.subject_in, ledger.event_ref, ledger.event_at, ledger.head
    TO wk_ledger;

CREATE FUNCTION ledger.heads(tenants uuid[]) RETURNS SETOF ledger.head
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT DISTINCT ON (l.tenant_id) l.tenant_id, l.epoch, l.origin, l.size, l.leaf, l."time", l.frontier
    FROM ledger.log AS l
    WHERE l.tenant_id = ANY (tenants)
    ORDER BY l.tenant_id, l.epoch DESC
$body$;
COMMENT ON FUNCTION ledger.heads(uuid[]) IS 'The newest log of each of these tenants; none for a tenant without one.';

CREATE FUNCTION ledger.lock_heads(tenants uuid[]) RETURNS SETOF ledger.head
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    -- The same order as in append_batch: first the queue of those who open logs, then the heads by tenant.
    IF EXISTS (SELECT FROM unnest(tenants) AS t (id) WHERE NOT EXISTS (SELECT FROM ledger.log AS l WHERE l.tenant_id = t.id))
    THEN
        PERFORM FROM ledger.turn AS t WHERE t.what = 'open' FOR UPDATE;
    END IF;
    PERFORM FROM ledger.log AS l WHERE l.tenant_id = ANY (tenants) ORDER BY l.tenant_id, l.epoch FOR NO KEY UPDATE;
    RETURN QUERY SELECT h.* FROM ledger.heads(tenants) AS h;
END
$body$;
COMMENT ON FUNCTION ledger.lock_heads(uuid[]) IS
    'The same, held until the transaction ends: for the writer that lost the race for a head several times.';

-- Answers:
--   appended   all of it is written (and durable once the caller's transaction is)
--   stale      a head is not the expected one; nothing written; "current" holds the heads as they are
--   chained    some events are chained already, or their outbox row is gone; nothing written; "already" names them,
--              with their place, or with none where the outbox row vanished without being chained
--   clock      an entry's time is before its head's, or over five minutes off this server's clock; nothing written
CREATE FUNCTION ledger.append_batch(
    steps ledger.step[], entries ledger.entry_in[], subjects ledger.subject_in[], outboxed ledger.event_ref[],
    OUT answer text, OUT already ledger.event_at[], OUT current ledger.head[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- A batch is a handful of rows whatever the tables hold: one plan for good, by the indexes.
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_mergejoin = off
AS $body$
DECLARE
    expected constant integer := cardinality(steps);
    -- No step's time is further ahead.
    newest_floor constant uuid := ledger.id_floor(clock_timestamp() + interval '5 minutes');
    opening  boolean := false;
    moved    integer;
    opened   integer := 0;
BEGIN
    -- A later snapshot per statement is what makes the comparison below see the head that the lock was waited for.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'wellkeep: the ledger is appended to under READ COMMITTED' USING ERRCODE = 'WK010';
    END IF;
    FOR place IN 1 .. expected LOOP
        opening := opening OR steps[place].old_size = 0;
        -- Heads are locked by moving them, in the order of their steps: always the same, so that no two writers wait for
        -- each other.
        IF place > 1 AND steps[place].tenant_id <= steps[place - 1].tenant_id THEN
            RAISE EXCEPTION 'wellkeep: the steps of a batch are in the order of their tenants' USING ERRCODE = 'WK010';
        END IF;
    END LOOP;
    IF opening THEN
        -- A head that is not there yet can't be locked: those who open logs queue here instead.
        PERFORM FROM ledger.turn AS t WHERE t.what = 'open' FOR UPDATE;
    END IF;

    BEGIN
        -- Compared, moved and sealed at once: a head that is not the expected one stays, and then nothing below happens.
        WITH moved AS (
            UPDATE ledger.log AS l SET size = s.size, leaf = s.leaf, "time" = s."time", frontier = s.frontier
            FROM unnest(steps) AS s
            WHERE l.tenant_id = s.tenant_id AND l.epoch = s.epoch AND l.size = s.old_size AND l.leaf = s.old_leaf
              AND s."time" BETWEEN greatest(l."time", clock_timestamp() - interval '5 minutes')
                               AND clock_timestamp() + interval '5 minutes'
              AND NOT EXISTS (SELECT FROM ledger.log AS n WHERE n.tenant_id = s.tenant_id AND n.epoch > s.epoch)
            RETURNING s.tenant_id, s.epoch, s.size, s.key_id, s.leaf, s.root, s.mac)
        INSERT INTO ledger.seal (tenant_id, epoch, size, key_id, leaf, root, mac)
            SELECT m.tenant_id, m.epoch, m.size, m.key_id, m.leaf, m.root, m.mac FROM moved AS m;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF opening THEN
            WITH opened AS (
                INSERT INTO ledger.log (tenant_id, epoch, origin, size, leaf, "time", frontier)
                    SELECT s.tenant_id, s.epoch, s.origin, s.size, s.leaf, s."time", s.frontier
                    FROM unnest(steps) AS s
                    WHERE s.old_size = 0 AND abs(extract(epoch FROM s."time" - clock_timestamp())) <= 300
                      AND NOT EXISTS (SELECT FROM ledger.log AS n WHERE n.tenant_id = s.tenant_id AND n.epoch >= s.epoch)
                    RETURNING tenant_id, epoch)
            INSERT INTO ledger.seal (tenant_id, epoch, size, key_id, leaf, root, mac)
                SELECT s.tenant_id, s.epoch, s.size, s.key_id, s.leaf, s.root, s.mac
                FROM opened AS o JOIN unnest(steps) AS s ON s.tenant_id = o.tenant_id AND s.epoch = o.epoch;
            GET DIAGNOSTICS opened = ROW_COUNT;
        END IF;
        IF moved + opened <> expected THEN
            RAISE EXCEPTION 'wellkeep: a head is not the expected one' USING ERRCODE = 'WK012';
        END IF;

        IF cardinality(outboxed) > 0 THEN
            -- The row must hold the very event that the entry begins with: {"event":<event>,…
            WITH gone AS (
                DELETE FROM ledger.outbox AS o
                USING unnest(entries) AS e
                JOIN unnest(outboxed) AS r ON r.tenant_id = (steps[e.step]).tenant_id AND r.event_id = e.event_id
                WHERE o.tenant_id = r.tenant_id AND o.event_id = r.event_id
                  AND substr(o.event, 33) = substr(e.entry, 10, length(o.event) - 32)
                RETURNING 1
            )
            SELECT count(*) INTO moved FROM gone;
            IF moved <> cardinality(outboxed) THEN
                RAISE EXCEPTION 'wellkeep: an outbox row is gone' USING ERRCODE = 'WK011';
            END IF;
        END IF;

        INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, purpose, resource_type,
                                  resource_id, subject, outcome, request, leaf, entry)
            SELECT s.tenant_id, s.epoch, e.seq, e.event_id, s."time", e.actor, e.action, e.purpose, e.resource_type,
                   e.resource_id, e.subject, e.outcome, e.request, e.leaf, e.entry
            FROM unnest(entries) AS e
            JOIN ROWS FROM (unnest(steps)) WITH ORDINALITY
                AS s (tenant_id, epoch, origin, old_size, old_leaf, size, leaf, "time", frontier, key_id, root, mac, step)
                ON s.step = e.step;
        -- What no index sees: the same event in an earlier month. Only an id that is older than this month can be there.
        -- Asked apart, because preparing to look into every month costs more than the answer, which is nearly always no.
        IF opening OR EXISTS (SELECT FROM unnest(entries) AS e WHERE e.event_id < newest_floor) THEN
            IF EXISTS (
                SELECT FROM unnest(entries) AS e
                WHERE (opening OR e.event_id < newest_floor)
                  AND EXISTS (SELECT FROM ledger.entry AS x
                              WHERE x.tenant_id = (steps[e.step]).tenant_id AND x.event_id = e.event_id
                                AND (x.epoch, x.seq) <> ((steps[e.step]).epoch, e.seq)))
            THEN
                RAISE EXCEPTION 'wellkeep: an event is chained already' USING ERRCODE = 'WK011';
            END IF;
        END IF;
        IF cardinality(subjects) > 0 THEN
            INSERT INTO ledger.entry_subject (tenant_id, subject, epoch, seq, "time")
                SELECT s.tenant_id, s.subject, s.epoch, s.seq, s."time" FROM unnest(subjects) AS s;
        END IF;
    EXCEPTION WHEN SQLSTATE 'WK012' THEN
        SELECT CASE WHEN bool_and(CASE WHEN s.old_size = 0 THEN l.size IS NULL
                                       ELSE l.size = s.old_size AND l.leaf = s.old_leaf END)
                     AND bool_or(s."time" < l."time" OR abs(extract(epoch FROM s."time" - clock_timestamp())) > 300)
                    THEN 'clock' ELSE 'stale' END
            INTO answer
            FROM unnest(steps) AS s LEFT JOIN ledger.log AS l ON l.tenant_id = s.tenant_id AND l.epoch = s.epoch
            WHERE NOT EXISTS (SELECT FROM ledger.log AS n WHERE n.tenant_id = s.tenant_id AND n.epoch > s.epoch);
        IF answer = 'stale' THEN
            current := ARRAY(SELECT c FROM ledger.heads(ARRAY(SELECT s.tenant_id FROM unnest(steps) AS s)) AS c);
        END IF;
        RETURN;
    WHEN unique_violation OR SQLSTATE 'WK011' THEN
        answer := 'chained';
        already := ARRAY(
            SELECT ROW(e.tenant_id, e.event_id, c.epoch, c.seq, c.leaf, c.entry)::ledger.event_at
            FROM (SELECT (steps[given.step]).tenant_id, given.event_id, given.entry FROM unnest(entries) AS given) AS e
            LEFT JOIN ledger.entry AS c ON c.tenant_id = e.tenant_id AND c.event_id = e.event_id
            WHERE c.seq IS NOT NULL
               OR EXISTS (SELECT FROM unnest(outboxed) AS r WHERE r.tenant_id = e.tenant_id AND r.event_id = e.event_id)
              AND NOT EXISTS (
                SELECT FROM ledger.outbox AS o
                WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id
                  AND substr(o.event, 33) = substr(e.entry, 10, length(o.event) - 32)));
        -- A row whose very event is chained has done its work, whoever chained it.
        DELETE FROM ledger.outbox AS o
            USING unnest(already) AS a
            WHERE o.tenant_id = a.tenant_id AND o.event_id = a.event_id
              AND substr(o.event, 33) = substr(a.entry, 10, length(o.event) - 32);
        RETURN;
    END;

    answer := 'appended';
END
$body$;
COMMENT ON FUNCTION ledger.append_batch(ledger.step[], ledger.entry_in[], ledger.subject_in[], ledger.event_ref[]) IS
    'Write a batch of spliced entries, all or nothing; answers appended, stale, chained or clock.';

-- --------------------------------------------------------------------------------------------------------- outbox

CREATE FUNCTION ledger.take_drain() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    PERFORM FROM ledger.turn AS t WHERE t.what = 'drain' FOR UPDATE SKIP LOCKED;
    RETURN FOUND;
END
$body$;
COMMENT ON FUNCTION ledger.take_drain() IS 'Take the turn to drain until this transaction ends; false while another has it.';

CREATE FUNCTION ledger.outbox_tenants() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- From one tenant to the next by the index, however many rows each has.
    WITH RECURSIVE waiting (id) AS (
        (SELECT o.tenant_id FROM ledger.outbox AS o ORDER BY o.tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT o.tenant_id FROM ledger.outbox AS o WHERE o.tenant_id > w.id ORDER BY o.tenant_id LIMIT 1)
        FROM waiting AS w WHERE w.id IS NOT NULL
    )
    SELECT w.id FROM waiting AS w WHERE w.id IS NOT NULL
$body$;
COMMENT ON FUNCTION ledger.outbox_tenants() IS 'The tenants that have rows in the outbox.';

CREATE FUNCTION ledger.outbox_leftovers(until timestamptz, most integer, besides uuid[])
RETURNS TABLE (tenant_id uuid, event_id uuid, event bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    WITH chosen AS MATERIALIZED (SELECT t.id FROM ledger.outbox_tenants() AS t (id) WHERE t.id <> ALL (besides)),
    share AS MATERIALIZED (SELECT most / greatest(count(*), 1) + 1 AS rows FROM chosen)
    SELECT c.id, r.event_id, r.event
    FROM chosen AS c CROSS JOIN LATERAL (
        SELECT o.event_id, o.event, o.created_at FROM ledger.outbox AS o
        WHERE o.tenant_id = c.id AND o.created_at <= until
        ORDER BY o.created_at LIMIT (SELECT s.rows FROM share AS s)
    ) AS r
    ORDER BY r.created_at LIMIT most
$body$;
COMMENT ON FUNCTION ledger.outbox_leftovers(timestamptz, integer, uuid[]) IS
    'Outbox rows until then, the oldest first and an equal share for each tenant, without those named.';

CREATE FUNCTION ledger.outbox_ages() RETURNS TABLE (tenant_id uuid, seconds double precision)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT t.id, greatest(extract(epoch FROM clock_timestamp() - r.created_at), 0)::double precision
    FROM ledger.outbox_tenants() AS t (id) CROSS JOIN LATERAL (
        SELECT o.created_at FROM ledger.outbox AS o WHERE o.tenant_id = t.id ORDER BY o.created_at LIMIT 1
    ) AS r
$body$;
COMMENT ON FUNCTION ledger.outbox_ages() IS 'Seconds since each tenant''s oldest outbox row was written.';

CREATE FUNCTION ledger.quarantine(refs ledger.event_ref[], why text) RETURNS SETOF ledger.event_ref
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    WITH gone AS (
        DELETE FROM ledger.outbox AS o USING unnest(refs) AS r
        WHERE o.tenant_id = r.tenant_id AND o.event_id = r.event_id
          AND (why <> 'taken' OR EXISTS (
              SELECT FROM ledger.entry AS e WHERE e.tenant_id = o.tenant_id AND e.event_id = o.event_id))
        RETURNING o.*
    )
    INSERT INTO ledger.quarantine AS q (tenant_id, event_id, event, reason, created_at)
        SELECT g.tenant_id, g.event_id, g.event, why, g.created_at FROM gone AS g
        RETURNING q.tenant_id, q.event_id
$body$;
COMMENT ON FUNCTION ledger.quarantine(ledger.event_ref[], text) IS
    'Move outbox rows that can''t be chained out of the way of the others; answers those moved. "taken" moves only ids that are chained.';

GRANT EXECUTE ON FUNCTION
    ledger.provide_partitions(),
    ledger.append_batch(ledger.step[], ledger.entry_in[], ledger.subject_in[], ledger.event_ref[]),
    ledger.heads(uuid[]), ledger.lock_heads(uuid[]), ledger.take_drain(),
    ledger.outbox_leftovers(timestamptz, integer, uuid[]), ledger.outbox_ages(), ledger.quarantine(ledger.event_ref[], text)
    TO wk_ledger;

-- ------------------------------------------------------------------------------------------------------- searching

CREATE FUNCTION ledger.seq_since(of_epoch integer, since timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    of_tenant constant uuid := wk.tenant();
    -- The month first, then the place in it: a step of the halving looks into one partition, however many there are.
    month     constant timestamptz := date_trunc('month', since, 'UTC');
    following constant timestamptz := (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
    low    bigint;
    high   bigint;
    middle bigint;
BEGIN
    SELECT e.seq INTO high FROM ledger.entry AS e
    WHERE e.tenant_id = of_tenant AND e.epoch = of_epoch AND e."time" >= following ORDER BY e.seq LIMIT 1;
    IF high IS NULL THEN
        high := coalesce((SELECT l.size FROM ledger.log AS l WHERE l.tenant_id = of_tenant AND l.epoch = of_epoch), 0);
    END IF;
    SELECT e.seq INTO low FROM ledger.entry AS e
    WHERE e.tenant_id = of_tenant AND e.epoch = of_epoch AND e."time" >= month AND e."time" < following
    ORDER BY e.seq LIMIT 1;
    IF low IS NULL THEN
        RETURN high;
    END IF;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        IF (SELECT e."time" FROM ledger.entry AS e
            WHERE e.tenant_id = of_tenant AND e.epoch = of_epoch AND e.seq = middle
              AND e."time" >= month AND e."time" < following) >= since THEN
            high := middle;
        ELSE
            low := middle + 1;
        END IF;
    END LOOP;
    RETURN low;
END
$body$;
COMMENT ON FUNCTION ledger.seq_since(integer, timestamptz) IS
    'The first seq at or after a time in the entered tenant''s log, found by halving: time never runs backwards there.';
GRANT EXECUTE ON FUNCTION ledger.seq_since(integer, timestamptz) TO wk_app;

SELECT ledger.provide_partitions();
