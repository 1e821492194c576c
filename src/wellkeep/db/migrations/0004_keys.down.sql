DROP FUNCTION keys.lease_tenant(text, bytea, bigint);
DROP FUNCTION keys.lease_subject(bytea);
DROP FUNCTION keys.add_deployment_key(text, integer, bytea, bytea, bytea, text);
DROP FUNCTION keys.deployment_keys();
DROP TABLE keys.subject_key;
DROP TABLE keys.tenant_key;
DROP FUNCTION keys.counts_only_grow();
DROP SCHEMA keys;
