"""Words that every room shares: errors, time, ids, settings, permissions, principals, purposes, secrets.

Imports nothing of ours and holds no rule of any one room. There is no `utils` here: a thing without a name in the
field does not belong in `base`.
"""
