"""Reviewed definition files that ship with the package; their digests go into the ledger when they are loaded."""
