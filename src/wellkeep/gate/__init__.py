"""The one way to act: decision, tenant context, transaction and ledger entry, together.

Nothing else in wellkeep decides, and nothing else writes entries about acts. Plaintext demands a `Receipt`, and a
receipt exists only after its entry is durable: an access without an entry can't be written.
"""
