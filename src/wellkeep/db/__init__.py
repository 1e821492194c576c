"""PostgreSQL: started, guarded, migrated, and entered only under a signed tenant context.

Rules: no room above opens a connection in another way than through `pool`; no statement is built from values; no text
of the driver leaves this room, because PostgreSQL and asyncpg both quote the row that failed. The threats are SQL
injected into our own session, a server whose settings lose or log data, and a schema that is not the one reviewed.
"""
