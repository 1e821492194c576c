DROP TABLE wk.evidence;
