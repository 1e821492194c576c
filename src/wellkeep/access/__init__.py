"""Who may come in: API keys, roles, tenants, local operators.

Keys are stored as digests and shown once; roles are a reviewed file; every issue, revocation and failed attempt is an
entry.
"""
