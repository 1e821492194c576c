"""The ledger: who did what to whose data, recorded before it happens and chained so that a change shows.

No record, no access: a read is durable here before it is opened, and a change commits together with its outbox row and
is chained before the answer. Whoever edits, drops, inserts or reorders entries is found by `verify`, the database's
owner included. The format is specified in `docs/spec/ledger.md`, with vectors.
"""
