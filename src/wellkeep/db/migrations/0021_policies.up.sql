-- Policies of a tenant's own: who is in whose care team, and roles that the tenant made for itself.
--
-- A row says that a person treats a patient, from when and until when; taking somebody out leaves the row, for "who could
-- see it then" is asked years later. Two patients that were merged are one. Nothing here is remembered by a process: a
-- person who was taken out of a team is out with the next request.
CREATE TABLE access.care_team (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  person_id uuid NOT NULL,
  subject_id uuid NOT NULL,
  since timestamptz NOT NULL,
  until timestamptz,
  added_by text NOT NULL,
  removed_at timestamptz,
  removed_by text,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, person_id) REFERENCES access.person (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, subject_id) REFERENCES vault.subject (tenant_id, id) ON DELETE CASCADE,
  CHECK (until > since),
  CHECK ((removed_at IS NULL) = (removed_by IS NULL))
);
CREATE UNIQUE INDEX care_team_one ON access.care_team (tenant_id, person_id, subject_id) WHERE removed_at IS NULL;
CREATE INDEX care_team_subject ON access.care_team (tenant_id, subject_id) WHERE removed_at IS NULL;
COMMENT ON TABLE access.care_team IS 'Which persons treat which patients, since when and until when; whoever was taken out stays on record.';
CALL wk.protect('access.care_team', 'wk_app');
REVOKE ALL ON access.care_team FROM PUBLIC;
GRANT SELECT, INSERT ON access.care_team TO wk_app;
GRANT UPDATE (removed_at, removed_by) ON access.care_team TO wk_app;
CREATE TRIGGER keep_removed BEFORE UPDATE OF removed_at ON access.care_team
  FOR EACH ROW WHEN (OLD.removed_at IS NOT NULL) EXECUTE FUNCTION access.keep_revoked();

CREATE FUNCTION access.treats(person uuid, asked uuid[]) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT patient.id FROM vault.subject AS patient
  WHERE patient.id = ANY (asked) AND EXISTS (
    SELECT FROM vault.subject AS one JOIN access.care_team AS t ON t.subject_id = one.id
    WHERE (one.id = coalesce(patient.merged_into, patient.id) OR one.merged_into = coalesce(patient.merged_into, patient.id))
      AND t.person_id = person AND t.removed_at IS NULL
      AND t.since <= clock_timestamp() AND (t.until IS NULL OR t.until > clock_timestamp())
  )
$body$;
COMMENT ON FUNCTION access.treats(uuid, uuid[]) IS
  'Those of the patients asked about whose care team the person belongs to now; whoever was merged counts as one.';
REVOKE ALL ON FUNCTION access.treats(uuid, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.treats(uuid, uuid[]) TO wk_app;

-- What a tenant's own role may hold is checked when it is made, and again by every process that reads it.
CREATE TABLE access.custom_role (
  tenant_id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  permissions text[] NOT NULL CHECK (cardinality(permissions) BETWEEN 1 AND 128),
  groups text[] NOT NULL CHECK (cardinality(groups) <= 16),
  purposes text[] NOT NULL CHECK (cardinality(purposes) BETWEEN 1 AND 16),
  default_purpose text NOT NULL CHECK (default_purpose = ANY (purposes)),
  hidden text[] NOT NULL DEFAULT '{}' CHECK (cardinality(hidden) <= 500),
  revision integer NOT NULL CHECK (revision >= 1),
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  changed_at timestamptz NOT NULL,
  changed_by text NOT NULL,
  deleted_at timestamptz,
  PRIMARY KEY (tenant_id, name)
);
COMMENT ON TABLE access.custom_role IS
  'Roles that a tenant made for itself, beside those of the package; a deleted one keeps its name and its revision.';
CALL wk.protect('access.custom_role', 'wk_app');
REVOKE ALL ON access.custom_role FROM PUBLIC;
GRANT SELECT, INSERT ON access.custom_role TO wk_app;
GRANT UPDATE (permissions, groups, purposes, default_purpose, hidden, revision, digest, changed_at, changed_by, deleted_at)
  ON access.custom_role TO wk_app;
