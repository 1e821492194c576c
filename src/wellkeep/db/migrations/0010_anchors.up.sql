-- Anchors: which checkpoints of the root log stand outside, what the outside answered, and how each anchor fares. What is
-- here is our own memory of it, and as open to whoever owns the database as the rest: verification asks the outside.

CREATE DOMAIN ledger.anchor_code AS text CHECK (VALUE ~ '^[a-z][a-z_]{0,60}[0-9]{0,2}$');

CREATE TABLE ledger.anchored (
    tenant_id uuid               NOT NULL CHECK (tenant_id = '00000000-0000-7000-8000-000000000000'),
    anchor    ledger.anchor_code NOT NULL,
    epoch     ledger.epoch       NOT NULL,
    size      ledger.size        NOT NULL,
    root      ledger.digest      NOT NULL,
    at        timestamptz        NOT NULL,
    note      bytea              NOT NULL CHECK (length(note) BETWEEN 1 AND 131072),
    receipt   bytea              NOT NULL CHECK (length(receipt) BETWEEN 1 AND 32768),
    PRIMARY KEY (tenant_id, anchor, epoch, size)
);
COMMENT ON TABLE ledger.anchored IS
    'Checkpoints of the root log that an anchor took: the signed note as it was sent, and what came back for it.';

CREATE TABLE ledger.anchor_state (
    tenant_id    uuid               NOT NULL CHECK (tenant_id = '00000000-0000-7000-8000-000000000000'),
    anchor       ledger.anchor_code NOT NULL,
    attempted_at timestamptz        NOT NULL,
    busy_until   timestamptz        NOT NULL,
    looked_at    timestamptz,
    error        text               CHECK (error ~ '^[a-z]([a-z_]|[-.][a-z]){0,60}$'),
    failures     integer            NOT NULL DEFAULT 0 CHECK (failures >= 0),
    PRIMARY KEY (tenant_id, anchor)
);
COMMENT ON TABLE ledger.anchor_state IS
    'How each anchor fares: the last attempt, whose turn it is and until when, the last error''s code, failures in a row.';

CALL wk.protect('ledger.anchored', 'wk_app');
CALL wk.protect('ledger.anchor_state', 'wk_app');
CREATE POLICY anchoring ON ledger.anchored TO wk_owner USING (true) WITH CHECK (true);
CREATE POLICY anchoring ON ledger.anchor_state TO wk_owner USING (true) WITH CHECK (true);
REVOKE ALL ON ledger.anchored, ledger.anchor_state FROM PUBLIC;
GRANT SELECT ON ledger.anchored, ledger.anchor_state TO wk_app;

CREATE FUNCTION ledger.root_end() RETURNS TABLE (epoch integer, size bigint, root bytea, "time" timestamptz, signature bytea)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT c.epoch, c.size, c.root, c."time", c.signature FROM ledger.checkpoint AS c
    WHERE c.tenant_id = wk.platform() ORDER BY c.epoch DESC, c.size DESC LIMIT 1
$body$;
COMMENT ON FUNCTION ledger.root_end() IS 'The newest checkpoint of the root log.';

CREATE FUNCTION ledger.take_anchor(of_anchor text, lease interval, last_attempt timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    -- The row's lock decides between two processes, and the attempt that each knew of last: what the other did meanwhile
    -- is not done again. The lease outlives a process that died, and then ends.
    WITH taken AS (
        INSERT INTO ledger.anchor_state AS s (tenant_id, anchor, attempted_at, busy_until)
            VALUES (wk.platform(), of_anchor, clock_timestamp(), clock_timestamp() + lease)
            ON CONFLICT (tenant_id, anchor) DO UPDATE
                SET attempted_at = excluded.attempted_at, busy_until = excluded.busy_until
                WHERE s.busy_until <= clock_timestamp() AND s.attempted_at = last_attempt
            RETURNING 1
    )
    SELECT EXISTS (SELECT FROM taken)
$body$;
COMMENT ON FUNCTION ledger.take_anchor(text, interval, timestamptz) IS
    'Take the turn at an anchor until `leave_anchor`, or for as long as the lease; false where another has it, or had it since.';

CREATE FUNCTION ledger.leave_anchor(of_anchor text, code text, looked boolean) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    UPDATE ledger.anchor_state AS s
        -- The attempt ends now: whoever looked before that does not know of it, and won't get the turn by what it knew.
        SET busy_until = clock_timestamp(), attempted_at = clock_timestamp(), error = code,
            failures = CASE WHEN code IS NULL THEN 0 ELSE s.failures + 1 END,
            looked_at = CASE WHEN looked THEN clock_timestamp() ELSE s.looked_at END
        WHERE s.tenant_id = wk.platform() AND s.anchor = of_anchor
        RETURNING s.failures
$body$;
COMMENT ON FUNCTION ledger.leave_anchor(text, text, boolean) IS
    'End the turn at an anchor, with an error''s code or null, and whether it was read; answers failures in a row.';

CREATE FUNCTION ledger.add_anchored(
    of_anchor text, of_epoch integer, of_size bigint, of_root bytea, taken_at timestamptz, of_note bytea, answer bytea
) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    INSERT INTO ledger.anchored (tenant_id, anchor, epoch, size, root, at, note, receipt)
        VALUES (wk.platform(), of_anchor, of_epoch, of_size, of_root, taken_at, of_note, answer)
        ON CONFLICT (tenant_id, anchor, epoch, size) DO NOTHING
$body$;
COMMENT ON FUNCTION ledger.add_anchored(text, integer, bigint, bytea, timestamptz, bytea, bytea) IS
    'Store what an anchor answered for a checkpoint of the root log; what is there stays.';

CREATE FUNCTION ledger.anchor_overview(anchors text[]) RETURNS TABLE (
    anchor text, epoch integer, size bigint, at timestamptz, waiting_since timestamptz,
    attempted_at timestamptz, looked_at timestamptz, error text, failures integer
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT g.anchor, n.epoch, n.size, n.at,
        (SELECT c."time" FROM ledger.checkpoint AS c
         WHERE c.tenant_id = wk.platform() AND (c.epoch, c.size) > (coalesce(n.epoch, 0), coalesce(n.size, 0))
         ORDER BY c.epoch, c.size LIMIT 1),
        s.attempted_at, s.looked_at, s.error, coalesce(s.failures, 0)
    FROM unnest(anchors) WITH ORDINALITY AS g (anchor, place)
    LEFT JOIN LATERAL (
        SELECT a.epoch, a.size, a.at FROM ledger.anchored AS a
        WHERE a.tenant_id = wk.platform() AND a.anchor = g.anchor ORDER BY a.epoch DESC, a.size DESC LIMIT 1
    ) AS n ON true
    LEFT JOIN ledger.anchor_state AS s ON s.tenant_id = wk.platform() AND s.anchor = g.anchor
    ORDER BY g.place
$body$;
COMMENT ON FUNCTION ledger.anchor_overview(text[]) IS
    'How anchors stand: the newest checkpoint that each took, since when a newer one waits for it, how its attempts ended.';

CREATE FUNCTION ledger.read_anchored(of_anchor text, most integer) RETURNS TABLE (
    epoch integer, size bigint, root bytea, at timestamptz, note bytea, receipt bytea
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT a.epoch, a.size, a.root, a.at, a.note, a.receipt FROM ledger.anchored AS a
    WHERE a.tenant_id = wk.platform() AND a.anchor = of_anchor ORDER BY a.epoch DESC, a.size DESC LIMIT most
$body$;
COMMENT ON FUNCTION ledger.read_anchored(text, integer) IS 'What an anchor answered, the newest first.';

GRANT USAGE ON TYPE ledger.anchor_code TO wk_ledger;
GRANT EXECUTE ON FUNCTION
    ledger.root_end(), ledger.take_anchor(text, interval, timestamptz), ledger.leave_anchor(text, text, boolean),
    ledger.add_anchored(text, integer, bigint, bytea, timestamptz, bytea, bytea), ledger.anchor_overview(text[]),
    ledger.read_anchored(text, integer)
    TO wk_ledger;
