"""The vault: collections, subjects, records and their search, sealed before they are stored.

Whatever is opened here was decided by the gate, entered durably in the ledger, and is opened with the receipt of that
entry. The rooms above call the services of `wellkeep.vault.services`; nothing here knows of HTTP.
"""
