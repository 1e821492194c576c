"""Keys: fetched from the KMS, held for minutes, counted, and given to nobody who has no receipt.

Rules: no key reaches PostgreSQL unwrapped; a key that does not match its commitment is never used; a cached subject key
is used only together with the row that came back in the same query, so erasure and revocation hold on every worker at
once; there is no fallback key, and encryption can't be switched off. Plaintext leaves through `opening` alone. The
threats are a stolen database, a KMS that is gone, slow or says no, and rows that were exchanged between tenants.
"""
