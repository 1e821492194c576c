DROP TRIGGER forget_erased ON vault.tombstone;
DROP FUNCTION access.follow_tombstone(), access.forget_erased();
DO $body$
DECLARE
  made record;
BEGIN
  FOR made IN
    SELECT p.polname, p.polrelid::regclass AS relation FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
    WHERE c.relnamespace = 'access'::regnamespace AND p.polname IN ('erased', 'erased_subject')
  LOOP
    EXECUTE format('DROP POLICY %I ON %s', made.polname, made.relation);
  END LOOP;
END
$body$;
DROP FUNCTION access.erased_subjects(), access.erased_tenant();
DROP TRIGGER note_use ON access.session;
DROP FUNCTION access.note_use(), access.waiting(uuid), access.standing();
DROP TABLE access.review_item, access.review;
DROP FUNCTION access.reviewed_stays();
DROP TRIGGER by_others ON access.approval;
DROP FUNCTION access.approved_by_others(), access.shut_out(text, timestamptz), access.share_hands(text, text), access.hands(text);
DROP POLICY hands ON access.role_grant;
DROP POLICY hands ON access.person;
DROP POLICY hands ON access.api_key;
DROP TRIGGER maker_stands ON access.api_key;
DROP FUNCTION access.maker_stands();
ALTER TABLE access.api_key DROP COLUMN created_by;
