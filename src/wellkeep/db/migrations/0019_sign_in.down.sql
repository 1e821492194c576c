DROP FUNCTION access.take_try(bytea[], integer[], integer[], double precision[]);
DROP TABLE access.throttle;
DROP TABLE access.challenge;
DROP TABLE access.ticket;
DROP TABLE access.recovery_code;
DROP TABLE access.factor;
DROP TABLE access.password;
DROP TABLE access.invitation;
REVOKE SELECT (ip, agent) ON access.session FROM wk_auth;
