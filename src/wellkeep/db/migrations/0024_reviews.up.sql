-- Reviews of who has access: what stood when one was opened, what was decided of it, and what nobody uses.
--
-- A review freezes ids and times, no names: those are read where it is shown. An item has the id of the grant or the key
-- that it is about. Nobody decides about their own access, nor about what they granted; the table refuses it as well.
ALTER TABLE access.api_key ADD COLUMN created_by text CHECK (created_by ~ '^([a-z_][a-z0-9_-]{0,31}|[0-9a-f-]{36})$');
COMMENT ON COLUMN access.api_key.created_by IS 'Who made the key: a person''s or a key''s id, or an operator''s account.';
GRANT SELECT (created_by), INSERT (created_by) ON access.api_key TO wk_app;

-- Whoever leaves while a key of theirs is being made: one of the two waits for the other, and no key outlives its maker.
CREATE FUNCTION access.maker_stands() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  maker constant uuid := NEW.created_by::uuid;
  person text;
  revoked timestamptz;
BEGIN
  SELECT p.state INTO person FROM access.person AS p WHERE p.tenant_id = NEW.tenant_id AND p.id = maker FOR SHARE;
  SELECT k.revoked_at INTO revoked FROM access.api_key AS k WHERE k.tenant_id = NEW.tenant_id AND k.id = maker FOR SHARE;
  IF person = 'disabled' OR revoked IS NOT NULL THEN
    RAISE EXCEPTION 'wellkeep: whoever makes this key was shut out meanwhile' USING ERRCODE = 'serialization_failure';
  END IF;
  RETURN NEW;
END
$body$;
COMMENT ON FUNCTION access.maker_stands() IS
  'Refuse a key whose maker, a person or a key of the tenant, was disabled or revoked while it was made; 40001.';
CREATE TRIGGER maker_stands BEFORE INSERT ON access.api_key FOR EACH ROW WHEN (NEW.created_by ~ '^[0-9a-f]{8}-')
  EXECUTE FUNCTION access.maker_stands();

-- Hands: a key acts for who made it, or the one that it took over from, and for who made that one, back to a person. They
-- are followed over tenants, for staff of the deployment act in a customer's; what is told of them is yes or no. Operators
-- issue keys for others, as their work is, and are not taken for the hands behind those.
CREATE POLICY hands ON access.api_key FOR SELECT TO wk_owner USING (true);
CREATE POLICY hands ON access.person FOR SELECT TO wk_owner USING (true);
CREATE POLICY hands ON access.role_grant FOR SELECT TO wk_owner USING (true);

CREATE FUNCTION access.hands(who text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $body$
  WITH RECURSIVE hand (id) AS (
    SELECT CASE WHEN who ~ '^(api_key|person):' THEN split_part(who, ':', 2)::uuid END
    UNION
    SELECT behind.id FROM hand JOIN access.api_key AS k ON hand.id IN (k.id, k.replaced_by),
      LATERAL (VALUES (k.id), (CASE WHEN k.created_by ~ '^[0-9a-f]{8}-' THEN k.created_by::uuid END)) AS behind (id)
    WHERE behind.id IS NOT NULL
  )
  SELECT hand.id FROM hand WHERE hand.id IS NOT NULL
$body$;
COMMENT ON FUNCTION access.hands(text) IS 'The ids of a person or a key (`type:id`) and of whoever made it, of whatever tenant.';
REVOKE ALL ON FUNCTION access.hands(text) FROM PUBLIC;

CREATE FUNCTION access.share_hands(one text, other text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT one = other OR EXISTS (SELECT access.hands(one) INTERSECT SELECT access.hands(other))
$body$;
COMMENT ON FUNCTION access.share_hands(text, text) IS
  'Whether these two (`type:id`, of whatever tenants) are one and the same, or one is behind the other, or somebody behind both.';
REVOKE ALL ON FUNCTION access.share_hands(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.share_hands(text, text) TO wk_app;

-- A stolen key that approved something is found out, and revoked; a person leaves. What they asked for or approved must
-- not be done after that, nor what a key did whose maker was shut out since.
CREATE FUNCTION access.shut_out(who text, since timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT CASE WHEN who ~ '^operator:' THEN false ELSE
    NOT EXISTS (SELECT FROM access.hands(who) AS h (id) JOIN access.api_key AS k ON k.id = h.id
        WHERE 'api_key:' || k.id = who AND k.revoked_at IS NULL
      UNION ALL SELECT FROM access.hands(who) AS h (id) JOIN access.person AS p ON p.id = h.id
        WHERE 'person:' || p.id = who)
    OR EXISTS (SELECT FROM access.hands(who) AS h (id) JOIN access.api_key AS k ON k.id = h.id WHERE k.revoked_at >= since)
    OR EXISTS (SELECT FROM access.hands(who) AS h (id) JOIN access.person AS p ON p.id = h.id WHERE p.state <> 'active')
    OR EXISTS (SELECT FROM access.hands(who) AS h (id) JOIN access.role_grant AS g ON g.person_id = h.id
      WHERE g.revoked_at >= since)
  END
$body$;
COMMENT ON FUNCTION access.shut_out(text, timestamptz) IS
  'Whether a person or a key (`type:id`, of whatever tenant) is not let in any more, or whoever is behind it, or a key or a role was taken from these since then.';
REVOKE ALL ON FUNCTION access.shut_out(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.shut_out(text, timestamptz) TO wk_app;

CREATE FUNCTION access.approved_by_others() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  IF access.share_hands(NEW.requested_by, NEW.decided_by) THEN
    RAISE EXCEPTION 'wellkeep: who asked does not approve it, nor by a key of theirs' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END
$body$;
COMMENT ON FUNCTION access.approved_by_others() IS 'Refuse an approval by the hands that asked for it; 23514.';
CREATE TRIGGER by_others BEFORE INSERT OR UPDATE ON access.approval FOR EACH ROW
  WHEN (NEW.state IN ('given', 'used')) EXECUTE FUNCTION access.approved_by_others();

CREATE TABLE access.review (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  opened_by text NOT NULL CHECK (opened_by ~ '^((operator|system):[a-z_][a-z0-9_-]{0,31}|(api_key|person):[0-9a-f-]{36})$'),
  opened_at timestamptz NOT NULL,
  due_at timestamptz NOT NULL,
  closed_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK (due_at > opened_at AND due_at <= opened_at + interval '91 days'),
  CHECK (closed_at >= opened_at)
);
CREATE UNIQUE INDEX review_open ON access.review (tenant_id) WHERE closed_at IS NULL;
COMMENT ON TABLE access.review IS 'Reviews of who has access in a tenant; one is open at a time, and a closed one stays closed.';
CALL wk.protect('access.review', 'wk_app');
REVOKE ALL ON access.review FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE (closed_at) ON access.review TO wk_app;

CREATE TABLE access.review_item (
  tenant_id uuid NOT NULL,
  review_id uuid NOT NULL,
  id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('grant', 'key')),
  person_id uuid,
  roles text[] NOT NULL,
  granted_by text,
  granted_at timestamptz NOT NULL,
  last_used_at timestamptz,
  last_seen_at timestamptz,
  expires_at timestamptz,
  outcome text CHECK (outcome IN ('keep', 'revoke', 'ended')),
  decided_by text CHECK (decided_by ~ '^(operator:[a-z_][a-z0-9_-]{0,31}|(api_key|person):[0-9a-f-]{36})$'),
  decided_at timestamptz,
  PRIMARY KEY (tenant_id, review_id, id),
  FOREIGN KEY (tenant_id, review_id) REFERENCES access.review (tenant_id, id) ON DELETE CASCADE,
  CHECK ((kind = 'grant') = (person_id IS NOT NULL)),
  CHECK ((outcome IS NULL) = (decided_at IS NULL)),
  CHECK (coalesce(outcome IN ('keep', 'revoke'), false) = (decided_by IS NOT NULL)),
  CHECK (decided_by <> 'person:' || person_id),
  CHECK (decided_by <> 'api_key:' || id),
  CHECK (split_part(decided_by, ':', 2) <> granted_by)
);
COMMENT ON TABLE access.review_item IS
  'What stood when a review was opened, by the id of the grant or the key; `ended`: it was gone before anybody decided.';
CALL wk.protect('access.review_item', 'wk_app');
REVOKE ALL ON access.review_item FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE (outcome, decided_by, decided_at) ON access.review_item TO wk_app;

CREATE FUNCTION access.reviewed_stays() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  RAISE EXCEPTION 'wellkeep: what was reviewed is not reviewed again' USING ERRCODE = 'check_violation';
END
$body$;
COMMENT ON FUNCTION access.reviewed_stays() IS 'Refuse to open a review again, or to decide an item anew.';
CREATE TRIGGER stays BEFORE UPDATE ON access.review FOR EACH ROW WHEN (OLD.closed_at IS NOT NULL)
  EXECUTE FUNCTION access.reviewed_stays();
CREATE TRIGGER stays BEFORE UPDATE ON access.review_item FOR EACH ROW WHEN (OLD.outcome IS NOT NULL)
  EXECUTE FUNCTION access.reviewed_stays();

-- What a disabled person still holds counts: letting them in again would bring it back.
CREATE FUNCTION access.standing() RETURNS TABLE (
  kind text, id uuid, person_id uuid, roles text[], granted_by text, granted_at timestamptz, last_used_at timestamptz,
  last_seen_at timestamptz, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT 'grant', g.id, g.person_id, ARRAY[g.role], g.granted_by, g.granted_at, g.last_used_at, p.last_seen_at, g.expires_at
  FROM access.role_grant AS g JOIN access.person AS p ON p.tenant_id = g.tenant_id AND p.id = g.person_id
  WHERE g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp())
  UNION ALL
  SELECT 'key', k.id, NULL, k.roles, k.created_by, k.created_at, k.last_used_at, k.last_used_at, k.expires_at
  FROM access.api_key AS k WHERE k.revoked_at IS NULL AND k.expires_at > clock_timestamp()
$body$;
COMMENT ON FUNCTION access.standing() IS 'Every grant and every API key of the entered tenant that stands now.';
REVOKE ALL ON FUNCTION access.standing() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.standing() TO wk_app;

-- A key that was rotated while its review is open goes on in the one that took over.
CREATE FUNCTION access.waiting(of_review uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $body$
  WITH RECURSIVE line (item, id) AS (
    SELECT i.id, i.id FROM access.review_item AS i WHERE i.review_id = of_review AND i.outcome IS NULL
    UNION
    SELECT line.item, k.replaced_by FROM line JOIN access.api_key AS k ON k.id = line.id WHERE k.replaced_by IS NOT NULL
  )
  SELECT DISTINCT line.item FROM line JOIN access.standing() AS s ON s.id = line.id
$body$;
COMMENT ON FUNCTION access.waiting(uuid) IS 'The items of a review that are undecided and whose access stands still.';
REVOKE ALL ON FUNCTION access.waiting(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.waiting(uuid) TO wk_app;

-- A grant is used when its person signs in and works while it stands. It is written down once an hour at most; a grant
-- that somebody is taking away just now is left alone, so that neither waits for the other.
CREATE FUNCTION access.note_use() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  UPDATE access.role_grant AS g SET last_used_at = clock_timestamp()
    WHERE g.tenant_id = NEW.tenant_id AND g.id IN (
      SELECT held.id FROM access.role_grant AS held
      WHERE held.tenant_id = NEW.tenant_id AND held.person_id = NEW.person_id AND held.revoked_at IS NULL
        AND (held.last_used_at IS NULL OR held.last_used_at < clock_timestamp() - interval '1 hour')
      FOR NO KEY UPDATE SKIP LOCKED);
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.note_use() IS 'Write down that the grants of a person who is at work were used, once an hour.';
CREATE TRIGGER note_use AFTER INSERT OR UPDATE OF idle_until ON access.session
  FOR EACH ROW EXECUTE FUNCTION access.note_use();

-- Erasure: names and e-mails are personal data, and what is about a patient goes with the patient. A policy says of each
-- table what of it is erased, by the tombstones of the entered tenant, so the deletions below name nothing: they take what
-- the policies give the owner, and nobody else may delete. Approvals stay: ids alone, and who the two people were.
CREATE FUNCTION access.erased_tenant() RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $body$
  SELECT t.tenant_id FROM vault.tombstone AS t
  WHERE t.tenant_id = wk.tenant() AND t.subject_id = '00000000-0000-0000-0000-000000000000'
$body$;
COMMENT ON FUNCTION access.erased_tenant() IS 'The entered tenant where a tombstone says that all of it is erased, else null.';

CREATE FUNCTION access.erased_subjects() RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $body$ SELECT t.subject_id FROM vault.tombstone AS t WHERE t.tenant_id = wk.tenant() $body$;
COMMENT ON FUNCTION access.erased_subjects() IS 'The patients of the entered tenant who are erased.';
REVOKE ALL ON FUNCTION access.erased_tenant(), access.erased_subjects() FROM PUBLIC;

DO $body$
DECLARE
  made record;
BEGIN
  FOR made IN
    SELECT c.oid::regclass AS relation, EXISTS (
      SELECT FROM pg_attribute AS s WHERE s.attrelid = c.oid AND s.attname = 'subject_id') AS of_subjects
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relnamespace = 'access'::regnamespace AND c.relkind = 'r' AND c.relname NOT IN ('approval', 'session_watch')
  LOOP
    EXECUTE format('CREATE POLICY erased ON %s FOR DELETE TO wk_owner '
      'USING (tenant_id = (SELECT access.erased_tenant()))', made.relation);
    IF made.of_subjects THEN
      EXECUTE format('CREATE POLICY erased_subject ON %s FOR DELETE TO wk_owner USING (tenant_id = (SELECT wk.tenant()) '
        'AND subject_id IN (SELECT access.erased_subjects()))', made.relation);
    END IF;
  END LOOP;
END
$body$;

-- Children were made after their parents, so the newest table goes first.
CREATE FUNCTION access.forget_erased() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  relation record;
  n bigint;
  gone bigint := 0;
BEGIN
  FOR relation IN
    SELECT DISTINCT c.oid, c.oid::regclass AS name, c.relrowsecurity AND c.relforcerowsecurity AS walled
    FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
    WHERE p.polname = 'erased' ORDER BY c.oid DESC
  LOOP
    IF NOT relation.walled THEN
      RAISE EXCEPTION 'wellkeep: a table without its wall is not deleted from' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('DELETE FROM %s', relation.name);
    GET DIAGNOSTICS n = ROW_COUNT;
    gone := gone + n;
  END LOOP;
  RETURN gone;
END
$body$;
COMMENT ON FUNCTION access.forget_erased() IS
  'Delete what the tombstones of the entered tenant say is erased: of patients, or everything of the tenant; returns how much.';
REVOKE ALL ON FUNCTION access.forget_erased() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.forget_erased() TO wk_app;

-- A trigger, so that no way of erasing can forget it, a database put back to an older state included.
CREATE FUNCTION access.follow_tombstone() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
  PERFORM access.forget_erased();
  RETURN NULL;
END
$body$;
COMMENT ON FUNCTION access.follow_tombstone() IS 'Delete what is erased, in the transaction that says so.';
CREATE TRIGGER forget_erased AFTER INSERT ON vault.tombstone
  FOR EACH STATEMENT EXECUTE FUNCTION access.follow_tombstone();
