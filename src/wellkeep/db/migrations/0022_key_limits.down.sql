DROP TRIGGER keep_expiry ON access.api_key;
DROP FUNCTION access.keep_expiry();
REVOKE UPDATE (expires_at) ON access.api_key FROM wk_app;
ALTER TABLE access.api_key DROP COLUMN networks, DROP COLUMN requests, DROP COLUMN records, DROP COLUMN replaced_by,
  DROP COLUMN lineage;
