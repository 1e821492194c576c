"""wellkeep proves itself: claim → probe → evidence.

Rules: a probe acts on the running system from the outside and tries what the sentence forbids; it can fail, and a
negative control shows that it does; a store that can't be seen makes the claim *unknown*, a sentence proven in part is
*partial*, and neither is green. Destructive probes run on a scratch deployment of the same build and migrations, live
ones on tenants marked synthetic; the evidence says which. Evidence holds places, counts and codes, never values.
"""
