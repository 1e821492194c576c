-- Takes away what seals anew; what was sealed anew stays as it is.
DROP FUNCTION vault.carries(uuid, bytea);
DROP FUNCTION vault.reseal(vault.reseal_in[]);
DROP FUNCTION vault.reseal_run(uuid, vault.reseal_in[]);
DROP FUNCTION vault.reseal_record(uuid, vault.reseal_in);
DROP TYPE vault.reseal_in;
