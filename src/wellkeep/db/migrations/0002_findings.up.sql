-- What was noticed, per tenant and key, behind the tenant wall. Details are ids, codes and integers alone.
CREATE SCHEMA findings;

CREATE TABLE findings.finding (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    key         text        NOT NULL CHECK (key ~ '^[a-z0-9_.:-]+$' AND length(key) <= 400),
    kind        text        NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_.]{0,63}$'),
    severity    text        NOT NULL CHECK (severity IN ('info', 'low', 'medium', 'high', 'critical')),
    detail      jsonb       NOT NULL CHECK (jsonb_typeof(detail) = 'object' AND octet_length(detail::text) <= 4096),
    count       bigint      NOT NULL DEFAULT 1 CHECK (count > 0),
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    resolved_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);
CREATE INDEX finding_open ON findings.finding (tenant_id, last_seen DESC) WHERE resolved_at IS NULL;

CALL wk.protect('findings.finding', 'wk_app', 'wk_jobs');

-- FORCE binds the owner as well; the two functions below are the owner's only way to look across tenants.
CREATE POLICY finding_overview ON findings.finding FOR SELECT TO wk_owner USING (true);

GRANT USAGE ON SCHEMA findings TO wk_app, wk_jobs, wk_migrate;
GRANT SELECT, INSERT ON findings.finding TO wk_app, wk_jobs;
GRANT UPDATE (count, severity, detail, last_seen, resolved_at) ON findings.finding TO wk_app, wk_jobs;

-- For the operator of the deployment: every tenant's findings, newest first. Ids and codes only, as in the table.
CREATE FUNCTION findings.platform_list(open_only boolean, most integer)
RETURNS TABLE (tenant_id uuid, id uuid, key text, kind text, severity text, detail jsonb, count bigint,
               first_seen timestamptz, last_seen timestamptz, resolved_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.tenant_id, f.id, f.key, f.kind, f.severity, f.detail, f.count, f.first_seen, f.last_seen, f.resolved_at
    FROM findings.finding AS f
    WHERE NOT platform_list.open_only OR f.resolved_at IS NULL
    ORDER BY f.last_seen DESC
    LIMIT least(greatest(platform_list.most, 1), 10000)
$$;
GRANT EXECUTE ON FUNCTION findings.platform_list(boolean, integer) TO wk_migrate;

-- For /readyz: how many are open, by severity, over the whole deployment. No tenant, no key, no detail.
CREATE FUNCTION findings.open_counts()
RETURNS TABLE (severity text, count bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.severity, count(*) FROM findings.finding AS f WHERE f.resolved_at IS NULL GROUP BY f.severity
$$;
GRANT EXECUTE ON FUNCTION findings.open_counts() TO wk_app, wk_jobs, wk_migrate;
