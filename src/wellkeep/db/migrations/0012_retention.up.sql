-- Retention: which months lie in the ledger, who is under a legal hold, and the one way in which a month goes. A hold is
-- an entry of the ledger and nothing else; while one stands, nothing of its tenant is pruned.

CREATE FUNCTION ledger.standing_holds() RETURNS TABLE (tenant_id uuid, id uuid, placed_at timestamptz, subject_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- A hold is what the root log says it is: no other row that somebody could delete, or forget to write.
    SELECT p.resource_id::uuid, p.event_id, p."time", p.subject FROM ledger.entry AS p
    WHERE p.tenant_id = wk.platform() AND p.action = 'hold.placed' AND p.outcome = 'done'
      AND NOT EXISTS (SELECT FROM ledger.entry AS l
                      WHERE l.tenant_id = wk.platform() AND l.action = 'hold.lifted' AND l.outcome = 'done'
                        AND l.resource_id = p.event_id::text)
    ORDER BY p."time"
$body$;
COMMENT ON FUNCTION ledger.standing_holds() IS
    'The legal holds that the root log says were placed and not lifted: whose (the platform''s: everybody''s), its id, since when, and over which patient if over one alone.';

CREATE FUNCTION ledger.months() RETURNS TABLE (month timestamptz, ends timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT b.month, b.month + interval '1 month'
    FROM pg_inherits AS p JOIN pg_class AS c ON c.oid = p.inhrelid
    CROSS JOIN LATERAL (SELECT make_timestamptz(left(right(c.relname, 7), 4)::integer, right(c.relname, 2)::integer,
                                                1, 0, 0, 0, 'UTC')) AS b (month)
    WHERE p.inhparent = 'ledger.entry'::regclass ORDER BY b.month
$body$;
ALTER FUNCTION ledger.months() SET timezone = 'UTC';
COMMENT ON FUNCTION ledger.months() IS 'The months that have a partition, the oldest first, from when to before when.';

CREATE TYPE ledger.month_run AS (tenant_id uuid, epoch integer, origin text, first bigint, upto bigint);
CREATE FUNCTION ledger.month_runs(of_month timestamptz) RETURNS SETOF ledger.month_run
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $body$
    SELECT e.tenant_id, e.epoch, l.origin, min(e.seq), max(e.seq) + 1
    FROM ledger.entry AS e JOIN ledger.log AS l ON l.tenant_id = e.tenant_id AND l.epoch = e.epoch
    WHERE e."time" >= of_month AND e."time" < of_month + interval '1 month'
    GROUP BY e.tenant_id, e.epoch, l.origin ORDER BY e.tenant_id, e.epoch
$body$;
COMMENT ON FUNCTION ledger.month_runs(timestamptz) IS 'What a month holds: of each log, from which seq to before which.';

CREATE FUNCTION ledger.pruned_at(of_tenant uuid, of_epoch integer, first bigint, upto bigint)
RETURNS TABLE (epoch integer, seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- The entry of the root log, where the tenant's own log says the same.
    SELECT r.epoch, r.seq FROM ledger.entry AS r
    WHERE r.tenant_id = wk.platform() AND r.action = 'ledger.pruned' AND r.resource_id = of_tenant::text
      AND convert_from(r.entry, 'UTF8')::jsonb -> 'event' -> 'span'
          = jsonb_build_object('epoch', of_epoch, 'from', first, 'to', upto)
      AND EXISTS (
        SELECT FROM ledger.entry AS e
        WHERE e.tenant_id = of_tenant AND e.action = 'ledger.pruned' AND e.resource_id = of_tenant::text
          AND convert_from(e.entry, 'UTF8')::jsonb -> 'event' -> 'span'
              = jsonb_build_object('epoch', of_epoch, 'from', first, 'to', upto))
    ORDER BY r.epoch DESC, r.seq DESC LIMIT 1
$body$;
COMMENT ON FUNCTION ledger.pruned_at(uuid, integer, bigint, bigint) IS
    'Where the root log says that this run was pruned, if the log itself says so too.';

CREATE FUNCTION ledger.drop_month(of_month timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
-- Whoever reads the ledger for long may hold it up; the appends that would queue behind it must not wait for that.
SET lock_timeout = '3s'
AS $body$
DECLARE
    name constant text := 'entry_' || to_char(of_month, 'YYYY_MM');
    unsaid bigint;
    gone   bigint;
BEGIN
    IF of_month <> date_trunc('month', of_month) OR to_regclass('ledger.' || name) IS NULL THEN
        RAISE EXCEPTION 'wellkeep: there is no such month' USING ERRCODE = 'WK020';
    END IF;
    -- 45 CFR 164.316(b)(2)(i): six years. No setting and no caller gets below it.
    IF of_month + interval '1 month' > clock_timestamp() - interval '6 years' THEN
        RAISE EXCEPTION 'wellkeep: the ledger is kept for six years' USING ERRCODE = 'WK021';
    END IF;
    IF EXISTS (SELECT FROM ledger.months() AS m JOIN ledger.entry AS e ON e."time" >= m.month AND e."time" < m.ends
               WHERE m.month < of_month) THEN
        RAISE EXCEPTION 'wellkeep: an older month is still there' USING ERRCODE = 'WK022';
    END IF;
    -- Each log that has entries there, and the root log, must say so first, and keep the leaves.
    SELECT count(*) INTO unsaid FROM ledger.month_runs(of_month) AS r
        WHERE NOT EXISTS (SELECT FROM ledger.pruned_at(r.tenant_id, r.epoch, r.first, r.upto))
           OR coalesce((SELECT length(t.hashes) / 32 FROM ledger.tile AS t
                        WHERE t.tenant_id = r.tenant_id AND t.epoch = r.epoch AND t.level = 0
                          AND t.index = (r.upto - 1) / 256), 0) < (r.upto - 1) % 256 + 1
           OR (SELECT count(*) FROM ledger.tile AS t
               WHERE t.tenant_id = r.tenant_id AND t.epoch = r.epoch AND t.level = 0 AND t.root IS NOT NULL
                 AND t.index < r.upto / 256) < r.upto / 256;
    IF unsaid > 0 THEN
        RAISE EXCEPTION 'wellkeep: a prune is not on record' USING ERRCODE = 'WK024';
    END IF;
    -- What takes long comes before the lock. Nobody appends to a month that old.
    DELETE FROM ledger.entry_subject AS s USING ledger.month_runs(of_month) AS r
        WHERE s.tenant_id = r.tenant_id AND s.epoch = r.epoch AND s.seq >= r.first AND s.seq < r.upto;
    SELECT count(*) INTO gone FROM ledger.entry AS e
        WHERE e."time" >= of_month AND e."time" < of_month + interval '1 month';
    -- From here on nobody appends, so no hold can be placed between the look and the drop.
    LOCK TABLE ledger.entry IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM ledger.standing_holds() AS h
               WHERE h.tenant_id = wk.platform() OR EXISTS (
                   SELECT FROM ledger.entry AS e WHERE e.tenant_id = h.tenant_id
                     AND e."time" >= of_month AND e."time" < of_month + interval '1 month')) THEN
        RAISE EXCEPTION 'wellkeep: a legal hold stands' USING ERRCODE = 'WK023';
    END IF;
    EXECUTE format('ALTER TABLE ledger.entry DETACH PARTITION ledger.%I', name);
    EXECUTE format('DROP TABLE ledger.%I', name);
    RETURN gone;
END
$body$;
COMMENT ON FUNCTION ledger.drop_month(timestamptz) IS
    'Drop a month of entries that is over six years old, under no hold, and on record as pruned in every log it is of; answers how many went.';

GRANT EXECUTE ON FUNCTION
    ledger.standing_holds(), ledger.months(),
    ledger.month_runs(timestamptz), ledger.pruned_at(uuid, integer, bigint, bigint)
    TO wk_ledger;
GRANT USAGE ON TYPE ledger.month_run TO wk_ledger;
GRANT EXECUTE ON FUNCTION ledger.drop_month(timestamptz) TO wk_migrate;
