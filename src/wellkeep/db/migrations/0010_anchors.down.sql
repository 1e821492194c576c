DROP FUNCTION ledger.read_anchored(text, integer);
DROP FUNCTION ledger.anchor_overview(text[]);
DROP FUNCTION ledger.add_anchored(text, integer, bigint, bytea, timestamptz, bytea, bytea);
DROP FUNCTION ledger.leave_anchor(text, text, boolean);
DROP FUNCTION ledger.take_anchor(text, interval, timestamptz);
DROP FUNCTION ledger.root_end();
DROP TABLE ledger.anchor_state;
DROP TABLE ledger.anchored;
DROP DOMAIN ledger.anchor_code;
