DROP FUNCTION ledger.drop_month(timestamptz);
DROP FUNCTION ledger.pruned_at(uuid, integer, bigint, bigint);
DROP FUNCTION ledger.month_runs(timestamptz);
DROP TYPE ledger.month_run;
DROP FUNCTION ledger.months();
DROP FUNCTION ledger.standing_holds();
