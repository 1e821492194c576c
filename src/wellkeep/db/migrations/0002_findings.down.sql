DROP FUNCTION findings.open_counts();
DROP FUNCTION findings.platform_list(boolean, integer);
DROP TABLE findings.finding;
DROP SCHEMA findings;
