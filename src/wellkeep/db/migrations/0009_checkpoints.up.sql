-- Checkpoints: what each log held at a moment, signed; the tiles that proofs are made of; and which checkpoints the root
-- log covers. Written by the process that appended, within a second of the commit; read by verifiers and by the tenant.

CREATE TABLE ledger.checkpoint (
    tenant_id uuid          NOT NULL,
    epoch     ledger.epoch  NOT NULL,
    size      ledger.size   NOT NULL,
    root      ledger.digest NOT NULL,
    "time"    timestamptz   NOT NULL,
    signature bytea         NOT NULL CHECK (length(signature) = 68),
    PRIMARY KEY (tenant_id, epoch, size)
);
COMMENT ON TABLE ledger.checkpoint IS
    'A log''s size and root, signed: the 4 bytes that name the key and the 64 of the signature, as a signed note holds them.';
CREATE INDEX checkpoint_time ON ledger.checkpoint ("time");

CREATE TABLE ledger.tile (
    tenant_id uuid          NOT NULL,
    epoch     ledger.epoch  NOT NULL,
    level     smallint      NOT NULL CHECK (level BETWEEN 0 AND 7),
    index     bigint        NOT NULL CHECK (index >= 0),
    hashes    bytea         NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    root      ledger.digest,
    PRIMARY KEY (tenant_id, epoch, level, index),
    CHECK ((root IS NOT NULL) = (length(hashes) = 8192))
);
ALTER TABLE ledger.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE ledger.tile IS
    'The Merkle tree in tiles of 256 hashes (C2SP tlog-tiles), level 0 the leaves; "root" is the hash above a full one. A tile that is not full keeps the leaves of a month that was pruned in its middle.';

CREATE TABLE ledger.covered (
    tenant_id uuid          NOT NULL,
    epoch     ledger.epoch  NOT NULL,
    size      ledger.size   NOT NULL,
    root      ledger.digest NOT NULL,
    cover     uuid          NOT NULL,
    place     integer       NOT NULL CHECK (place >= 0),
    PRIMARY KEY (tenant_id, epoch, size)
);
COMMENT ON TABLE ledger.covered IS
    'Which checkpoints stand under which entry of the root log ("cover" is its event''s id), and at which place of its Merkle tree.';
CREATE INDEX covered_by ON ledger.covered (cover, place);

CREATE TABLE ledger.reason (
    tenant_id uuid  NOT NULL,
    event_id  uuid  NOT NULL,
    sealed    bytea NOT NULL CHECK (length(sealed) BETWEEN 61 AND 8192 AND substring(sealed FROM 1 FOR 2) = 'WK'),
    PRIMARY KEY (tenant_id, event_id)
);
COMMENT ON TABLE ledger.reason IS
    'Why something was done, sealed: salt and text. The entry holds their hash, so deleting the row erases the text and the chain stays whole.';

CALL wk.protect('ledger.reason', 'wk_app');
CREATE POLICY checkpointing ON ledger.reason TO wk_owner USING (true) WITH CHECK (true);
REVOKE ALL ON ledger.reason FROM PUBLIC;
CALL wk.protect('ledger.checkpoint', 'wk_app');
CALL wk.protect('ledger.tile', 'wk_app');
CALL wk.protect('ledger.covered', 'wk_app');
CREATE POLICY checkpointing ON ledger.checkpoint TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY checkpointing ON ledger.tile TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY checkpointing ON ledger.covered TO wk_owner USING (true) WITH CHECK (true);
REVOKE ALL ON ledger.checkpoint, ledger.tile, ledger.covered FROM PUBLIC;
GRANT SELECT ON ledger.checkpoint, ledger.tile, ledger.covered TO wk_app;

-- ---------------------------------------------------------------------------------------------------- checkpoints

CREATE TYPE ledger.checkpoint_in AS (
    tenant_id uuid, epoch integer, size bigint, root bytea, "time" timestamptz, signature bytea
);
CREATE FUNCTION ledger.add_checkpoints(given ledger.checkpoint_in[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    INSERT INTO ledger.checkpoint (tenant_id, epoch, size, root, "time", signature)
        SELECT g.tenant_id, g.epoch, g.size, g.root, g."time", g.signature FROM unnest(given) AS g
        ON CONFLICT (tenant_id, epoch, size) DO NOTHING
$body$;
COMMENT ON FUNCTION ledger.add_checkpoints(ledger.checkpoint_in[]) IS 'Store signed checkpoints; one that is there stays.';

CREATE TYPE ledger.sealed_head AS (
    tenant_id uuid, epoch integer, origin text, size bigint, leaf bytea, "time" timestamptz, frontier bytea[],
    key_id text, root bytea, mac bytea, signed boolean
);
CREATE FUNCTION ledger.sealed_heads(signed_too boolean) RETURNS SETOF ledger.sealed_head
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- LIMIT keeps both from being joined as wholes: they hold a row for every batch there ever was.
    SELECT l.tenant_id, l.epoch, l.origin, l.size, l.leaf, l."time", l.frontier, s.key_id, s.root, s.mac, c.size IS NOT NULL
    FROM ledger.log AS l
    LEFT JOIN LATERAL (
        SELECT k.size FROM ledger.checkpoint AS k
        WHERE k.tenant_id = l.tenant_id AND k.epoch = l.epoch AND k.size = l.size LIMIT 1
    ) AS c ON true
    LEFT JOIN LATERAL (
        SELECT k.key_id, k.root, k.mac FROM ledger.seal AS k
        WHERE k.tenant_id = l.tenant_id AND k.epoch = l.epoch AND k.size = l.size AND k.leaf = l.leaf LIMIT 1
    ) AS s ON true
    WHERE signed_too OR c.size IS NULL
$body$;
COMMENT ON FUNCTION ledger.sealed_heads(boolean) IS
    'Heads with the seal over each: those without a checkpoint, which a process that died had not signed yet, or all.';

CREATE FUNCTION ledger.all_heads() RETURNS SETOF ledger.head
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT l.tenant_id, l.epoch, l.origin, l.size, l.leaf, l."time", l.frontier FROM ledger.log AS l
$body$;
COMMENT ON FUNCTION ledger.all_heads() IS 'The head of every log of every epoch, to be compared with what is remembered elsewhere.';

CREATE FUNCTION ledger.thin_checkpoints(since timestamptz, until timestamptz, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- Of each log and minute the last one stays, and each that the root log covers.
    WITH old AS MATERIALIZED (
        SELECT c.tenant_id, c.epoch, c.size, c."time" FROM ledger.checkpoint AS c
        WHERE c."time" >= since AND c."time" < until AND c.tenant_id <> wk.platform()
          AND EXISTS (SELECT FROM ledger.checkpoint AS n
                      WHERE n.tenant_id = c.tenant_id AND n.epoch = c.epoch AND n.size > c.size
                        AND n."time" < date_trunc('minute', c."time") + interval '1 minute')
          AND NOT EXISTS (SELECT FROM ledger.covered AS v
                          WHERE v.tenant_id = c.tenant_id AND v.epoch = c.epoch AND v.size = c.size)
        ORDER BY c."time" LIMIT most
    ), gone AS (
        DELETE FROM ledger.checkpoint AS c USING old AS o
        WHERE c.tenant_id = o.tenant_id AND c.epoch = o.epoch AND c.size = o.size
        RETURNING 1
    )
    SELECT count(*) FROM gone
$body$;
COMMENT ON FUNCTION ledger.thin_checkpoints(timestamptz, timestamptz, integer) IS
    'Thin tenants'' checkpoints between these times to one a minute; answers how many went.';

-- ---------------------------------------------------------------------------------------------------------- tiles

CREATE FUNCTION ledger.tile_counts(of_tenant uuid, of_epoch integer) RETURNS TABLE (level smallint, tiles bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT n.level::smallint, (SELECT t.index + 1 FROM ledger.tile AS t
                               WHERE t.tenant_id = of_tenant AND t.epoch = of_epoch AND t.level = n.level
                                 AND t.root IS NOT NULL
                               ORDER BY t.index DESC LIMIT 1)
    FROM generate_series(0, 7) AS n (level)
$body$;
COMMENT ON FUNCTION ledger.tile_counts(uuid, integer) IS 'How many full tiles of each level a log has; null where none.';

CREATE FUNCTION ledger.read_runs(of_tenant uuid, of_epoch integer, levels integer[], firsts bigint[], ends bigint[])
RETURNS SETOF bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- One plan for good: to plan a look into every month costs more than the look.
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
AS $body$
DECLARE
    hashes bytea;
    rest   bytea;
    begins bigint;
    since  timestamptz;
    until  timestamptz;
BEGIN
    FOR place IN 1 .. cardinality(levels) LOOP
        -- From the run's own tile, full or kept of a pruned month, as far as that goes; the rest from below.
        SELECT substr(t.hashes, (firsts[place] % 256 * 32 + 1)::integer, ((ends[place] - firsts[place]) * 32)::integer)
            INTO hashes FROM ledger.tile AS t
            WHERE t.tenant_id = of_tenant AND t.epoch = of_epoch AND t.level = levels[place]
              AND t.index = firsts[place] / 256;
        hashes := coalesce(hashes, '');
        begins := firsts[place] + length(hashes) / 32;
        rest := NULL;
        IF begins < ends[place] AND levels[place] > 0 THEN
            SELECT string_agg(t.root, '' ORDER BY t.index) INTO rest FROM ledger.tile AS t
                WHERE t.tenant_id = of_tenant AND t.epoch = of_epoch AND t.level = levels[place] - 1
                  AND t.index >= begins AND t.index < ends[place]
                HAVING count(t.root) = ends[place] - begins;
        ELSIF begins < ends[place] THEN
            -- Checkpoints around the leaves say in which months to look first. Nothing depends on their word.
            SELECT c."time" - interval '1 day' INTO since FROM ledger.checkpoint AS c
                WHERE c.tenant_id = of_tenant AND c.epoch = of_epoch AND c.size <= begins ORDER BY c.size DESC LIMIT 1;
            SELECT c."time" + interval '1 day' INTO until FROM ledger.checkpoint AS c
                WHERE c.tenant_id = of_tenant AND c.epoch = of_epoch AND c.size >= ends[place] ORDER BY c.size LIMIT 1;
            SELECT string_agg(e.leaf, '' ORDER BY e.seq) INTO rest FROM ledger.entry AS e
                WHERE e.tenant_id = of_tenant AND e.epoch = of_epoch AND e.seq >= begins AND e.seq < ends[place]
                  AND e."time" >= coalesce(since, '-infinity') AND e."time" < coalesce(until, 'infinity')
                HAVING count(*) = ends[place] - begins;
            IF rest IS NULL THEN
                SELECT string_agg(e.leaf, '' ORDER BY e.seq) INTO rest FROM ledger.entry AS e
                    WHERE e.tenant_id = of_tenant AND e.epoch = of_epoch AND e.seq >= begins AND e.seq < ends[place]
                    HAVING count(*) = ends[place] - begins;
            END IF;
        END IF;
        RETURN NEXT hashes || coalesce(rest, '');
    END LOOP;
END
$body$;
COMMENT ON FUNCTION ledger.read_runs(uuid, integer, integer[], bigint[], bigint[]) IS
    'The hashes of runs of the tree''s rows, each within one tile, joined: from its first on without a gap; fewer where one is missing.';

CREATE TYPE ledger.tile_in AS (tenant_id uuid, epoch integer, level integer, index bigint, hashes bytea, root bytea);
CREATE FUNCTION ledger.add_tiles(given ledger.tile_in[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    INSERT INTO ledger.tile AS t (tenant_id, epoch, level, index, hashes, root)
        SELECT g.tenant_id, g.epoch, g.level, g.index, g.hashes, g.root FROM unnest(given) AS g
        ON CONFLICT (tenant_id, epoch, level, index) DO UPDATE SET hashes = excluded.hashes, root = excluded.root
            WHERE t.root IS NULL AND length(excluded.hashes) > length(t.hashes)
$body$;
COMMENT ON FUNCTION ledger.add_tiles(ledger.tile_in[]) IS 'Store tiles; a full one that is there stays as it is.';

CREATE FUNCTION ledger.read_tile(of_tenant uuid, of_epoch integer, of_level integer, at_index bigint) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT t.hashes FROM ledger.tile AS t
    WHERE t.tenant_id = of_tenant AND t.epoch = of_epoch AND t.level = of_level AND t.index = at_index
$body$;
COMMENT ON FUNCTION ledger.read_tile(uuid, integer, integer, bigint) IS 'The hashes of one tile, full or kept; null where it is not stored.';

-- --------------------------------------------------------------------------------------------------------- covers

CREATE TYPE ledger.uncovered AS (
    tenant_id uuid, epoch integer, origin text, head bigint, size bigint, root bytea, signature bytea
);
CREATE FUNCTION ledger.uncovered(after text, most integer) RETURNS SETOF ledger.uncovered
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT l.tenant_id, l.epoch, l.origin, l.size, c.size, c.root, c.signature
    FROM ledger.log AS l
    CROSS JOIN LATERAL (
        SELECT k.size, k.root, k.signature FROM ledger.checkpoint AS k
        WHERE k.tenant_id = l.tenant_id AND k.epoch = l.epoch ORDER BY k.size DESC LIMIT 1
    ) AS c
    WHERE l.tenant_id <> wk.platform() AND l.origin > after COLLATE "C"
      AND c.size > coalesce((SELECT v.size FROM ledger.covered AS v
                             WHERE v.tenant_id = l.tenant_id AND v.epoch = l.epoch ORDER BY v.size DESC LIMIT 1), 0)
    ORDER BY l.origin COLLATE "C" LIMIT most
$body$;
COMMENT ON FUNCTION ledger.uncovered(text, integer) IS
    'The newest checkpoint of each tenant''s log that has grown since the root log covered it, by origin, after one.';

CREATE FUNCTION ledger.uncovered_before(of_tenant uuid, of_epoch integer, before bigint, most integer)
RETURNS TABLE (size bigint, root bytea, signature bytea)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT k.size, k.root, k.signature FROM ledger.checkpoint AS k
    WHERE k.tenant_id = of_tenant AND k.epoch = of_epoch AND k.size < before
      AND k.size > coalesce((SELECT max(v.size) FROM ledger.covered AS v
                             WHERE v.tenant_id = of_tenant AND v.epoch = of_epoch), 0)
    ORDER BY k.size DESC LIMIT most
$body$;
COMMENT ON FUNCTION ledger.uncovered_before(uuid, integer, bigint, integer) IS
    'The newest checkpoints of one log below a size that the root log has not covered: for where the newest is not ours.';

CREATE FUNCTION ledger.take_cover() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    PERFORM FROM ledger.turn AS t WHERE t.what = 'cover' FOR UPDATE SKIP LOCKED;
    RETURN FOUND;
END
$body$;
COMMENT ON FUNCTION ledger.take_cover() IS 'Take the turn to cover the logs until this transaction ends; false while another has it.';

CREATE TYPE ledger.covered_in AS (tenant_id uuid, epoch integer, size bigint, root bytea);
CREATE FUNCTION ledger.add_cover(cover_id uuid, given ledger.covered_in[], outbox_row bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    INSERT INTO ledger.covered (tenant_id, epoch, size, root, cover, place)
        SELECT g.tenant_id, g.epoch, g.size, g.root, cover_id, (g.place - 1)::integer
        FROM ROWS FROM (unnest(given)) WITH ORDINALITY AS g (tenant_id, epoch, size, root, place);
    INSERT INTO ledger.outbox (tenant_id, event_id, event) VALUES (wk.platform(), cover_id, outbox_row);
END
$body$;
COMMENT ON FUNCTION ledger.add_cover(uuid, ledger.covered_in[], bytea) IS
    'Store what an entry of the root log covers, together with the outbox row of that entry.';

CREATE FUNCTION ledger.cover_pairs(cover_id uuid) RETURNS TABLE (tenant_id uuid, epoch integer, size bigint, root bytea)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- For proofs: a tenant is handed the hashes that are made of the others' pairs, and none of the pairs.
    SELECT c.tenant_id, c.epoch, c.size, c.root FROM ledger.covered AS c WHERE c.cover = cover_id ORDER BY c.place
$body$;
COMMENT ON FUNCTION ledger.cover_pairs(uuid) IS 'The checkpoints under one entry of the root log, in their order.';

-- -------------------------------------------------------------------------------------------------------- reasons

CREATE FUNCTION ledger.add_reason(of_tenant uuid, of_event uuid, sealed bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    INSERT INTO ledger.reason (tenant_id, event_id, sealed) VALUES (of_tenant, of_event, add_reason.sealed)
$body$;
COMMENT ON FUNCTION ledger.add_reason(uuid, uuid, bytea) IS 'Keep a sealed reason beside the entry that holds its hash.';

GRANT USAGE ON TYPE ledger.checkpoint_in, ledger.sealed_head, ledger.tile_in, ledger.uncovered, ledger.covered_in
    TO wk_ledger;
GRANT EXECUTE ON FUNCTION
    ledger.add_checkpoints(ledger.checkpoint_in[]), ledger.sealed_heads(boolean), ledger.all_heads(),
    ledger.thin_checkpoints(timestamptz, timestamptz, integer), ledger.tile_counts(uuid, integer),
    ledger.read_runs(uuid, integer, integer[], bigint[], bigint[]),
    ledger.add_tiles(ledger.tile_in[]), ledger.read_tile(uuid, integer, integer, bigint), ledger.uncovered(text, integer),
    ledger.uncovered_before(uuid, integer, bigint, integer),
    ledger.add_reason(uuid, uuid, bytea), ledger.take_cover(), ledger.add_cover(uuid, ledger.covered_in[], bytea),
    ledger.cover_pairs(uuid)
    TO wk_ledger;
