DROP TABLE access.custom_role;
DROP FUNCTION access.treats(uuid, uuid[]);
DROP TABLE access.care_team;
