DROP FUNCTION ledger.cover_pairs(uuid);
