REVOKE USAGE ON SCHEMA vault FROM wk_jobs;
DROP FUNCTION vault.expired_blobs(integer);
DROP FUNCTION vault.subjects_by_tag(integer, bytea[]);
DROP TABLE vault.export_part;
DROP TABLE vault.export;
DROP TABLE vault.import;
DROP TABLE vault.blob_segment;
DROP TABLE vault.blob;
DROP DOMAIN vault.sealed_stream;
