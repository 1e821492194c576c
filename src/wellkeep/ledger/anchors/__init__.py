"""Anchors: the root log's end, kept where whoever owns this machine, its database and its keys can't rewrite it.

Rules: what is handed out is the newest checkpoint of the root log, signed, and nothing else, so the cost is the same
for any number of tenants; each anchor stands by itself, so that a dead or a lying one holds up no other; an answer
counts only after it was checked, and what can be read back is read back. The threat is the past made anew behind
everything that we could look at ourselves: an old backup put back, a tail cut off, all of it signed again with stolen
keys.
"""
