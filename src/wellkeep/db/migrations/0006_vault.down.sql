-- Takes the vault away, and everything sealed in it.
DROP SCHEMA vault CASCADE;
