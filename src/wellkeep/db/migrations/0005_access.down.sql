DROP FUNCTION access.stands(uuid);
DROP TABLE access.api_key;
DROP FUNCTION access.keep_revoked();
DROP SCHEMA access;
