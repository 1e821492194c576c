-- Bounds of a key's own: from where it may come, how much it may ask, how many records it may be shown, and who took over.
--
-- A key ends sooner, never later: what expires can be moved forward in time by nobody, so a rotation may shorten the old
-- key's days and no statement of ours lengthens them.
ALTER TABLE access.api_key
  ADD COLUMN networks text[] CHECK (cardinality(networks) BETWEEN 1 AND 32),
  ADD COLUMN requests integer CHECK (requests BETWEEN 1 AND 10000000),
  ADD COLUMN records integer CHECK (records BETWEEN 1 AND 1000000000),
  ADD COLUMN replaced_by uuid,
  ADD COLUMN lineage uuid;
COMMENT ON COLUMN access.api_key.networks IS 'Networks the key may come from; null: anywhere.';
COMMENT ON COLUMN access.api_key.requests IS 'Weighted requests a minute; null: what the settings say.';
COMMENT ON COLUMN access.api_key.records IS 'Records an hour; null: what the settings say.';
COMMENT ON COLUMN access.api_key.replaced_by IS 'The key that a rotation made in its place.';
COMMENT ON COLUMN access.api_key.lineage IS 'The key that rotations began with, whose counts it goes on with; null: itself.';
GRANT SELECT (networks, requests, records, replaced_by, lineage), INSERT (networks, requests, records, lineage),
  UPDATE (networks, requests, records, replaced_by, expires_at) ON access.api_key TO wk_app;
GRANT SELECT (networks, requests, records, lineage) ON access.api_key TO wk_auth;

CREATE FUNCTION access.keep_expiry() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RAISE EXCEPTION 'wellkeep: a key ends when it was to, or sooner' USING ERRCODE = 'WK020';
END
$body$;
COMMENT ON FUNCTION access.keep_expiry() IS 'Refuse to let a key live longer than it was made for; WK020.';
CREATE TRIGGER keep_expiry BEFORE UPDATE OF expires_at ON access.api_key
  FOR EACH ROW WHEN (NEW.expires_at > OLD.expires_at) EXECUTE FUNCTION access.keep_expiry();
