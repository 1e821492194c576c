"""What was noticed: one row per tenant and key, counted, with a severity; every room may report one.

Rules: a finding holds ids, codes and integers alone, each against a closed grammar, so that nobody's data reaches a
page or a log through it; reporting never fails the caller, and never fails in silence. The threats are a warning that
carries PHI, and a warning lost because the database was down when it mattered most.
"""
