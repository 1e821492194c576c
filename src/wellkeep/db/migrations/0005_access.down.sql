DROP TRIGGER follow_tenant ON wk.tenants;
DROP FUNCTION access.follow_tenant();
DROP FUNCTION access.demand_purpose(uuid, boolean);
DROP FUNCTION access.admit(text, uuid);
DROP FUNCTION access.stands(uuid);
DROP TABLE access.api_key;
DROP FUNCTION access.keep_revoked();
DROP SCHEMA access;
