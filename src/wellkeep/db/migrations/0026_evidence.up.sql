-- What probes saw, for the trust page: each row has its entry in the root log, which holds the digest of its document.
--
-- Nothing of it is ever changed or taken back, so that nobody makes a page greener than it was: what is missing here, or
-- is not what the entry holds, shows as unknown.
CREATE TABLE wk.evidence (
  tenant_id uuid NOT NULL CHECK (tenant_id = '00000000-0000-7000-8000-000000000000'),
  id uuid NOT NULL,
  claim text NOT NULL COLLATE "C" CHECK (claim ~ '^[a-z]{1,32}\.[a-z_]{1,32}$'),
  document text NOT NULL CHECK (octet_length(document) <= 262144 AND jsonb_typeof(document::jsonb) = 'object'),
  PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE wk.evidence IS
  'What one probe saw in one run, as JSON; "id" is the event whose entry in the root log holds the SHA-256 of the document.';
CALL wk.protect('wk.evidence', 'wk_app');
REVOKE ALL ON wk.evidence FROM PUBLIC;
GRANT SELECT, INSERT ON wk.evidence TO wk_app;
