"""The schema, as numbered pairs of SQL files: `NNNN_name.up.sql` and `NNNN_name.down.sql`.

A file that has left this repository is never edited again: each database keeps its hash and refuses to start otherwise.
"""
