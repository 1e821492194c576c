-- The owner is bound by the wall, too: for the length of this alone it sees what nobody could ask for before.
ALTER TABLE access.approval NO FORCE ROW LEVEL SECURITY;
DELETE FROM access.approval WHERE action = 'egress.list';
ALTER TABLE access.approval FORCE ROW LEVEL SECURITY;
ALTER TABLE access.approval DROP CONSTRAINT approval_action_check;
ALTER TABLE access.approval ADD CONSTRAINT approval_action_check
  CHECK (action IN ('tenant.erase', 'epoch.destroy', 'key.destroy', 'hold.lift'));
DROP FUNCTION access.egress_in_force();
DROP TABLE access.egress_place;
DROP FUNCTION access.keep_withdrawn();
