-- What proves a tenant's checkpoint under the root log: the pairs of the cover that it stands in. A tenant is handed the
-- hashes that are made of the others' pairs, and none of the pairs.

CREATE FUNCTION ledger.cover_pairs(cover_id uuid) RETURNS TABLE (tenant_id uuid, epoch integer, size bigint, root bytea)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT c.tenant_id, c.epoch, c.size, c.root FROM ledger.covered AS c WHERE c.cover = cover_id ORDER BY c.place
$body$;
COMMENT ON FUNCTION ledger.cover_pairs(uuid) IS 'The checkpoints under one entry of the root log, in their order.';

GRANT EXECUTE ON FUNCTION ledger.cover_pairs(uuid) TO wk_ledger;
