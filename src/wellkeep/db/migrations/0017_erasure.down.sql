DROP TRIGGER living_only ON keys.subject_key;
DROP FUNCTION keys.living_only();
DROP FUNCTION vault.sweep(integer), vault.erase_keys(uuid, timestamptz, boolean),
  vault.erase_people(uuid[], uuid, timestamptz, boolean), vault.erasure_group(uuid), vault.forget_reasons(uuid[]),
  vault.await_erasures(), vault.held(uuid[]), vault.overdue_erasures(timestamptz), vault.erasure_due(), vault.tombstones();
DROP TABLE vault.erased_state, vault.tombstone;
REVOKE DELETE ON vault.record, vault.revision, vault.subject, vault.collection, vault.counter, vault.import, vault.export FROM wk_app;
DROP FUNCTION access.all_approvals();
DROP TABLE access.approval;
DROP FUNCTION access.approval_states_only_forward();
