"""The ledger handed on to receivers outside as it grows: a SIEM, a file, a collector.

Rules: each entry goes out at least once, in the order of its log, with the bytes that were hashed, so that the receiver
checks the chain by itself; a cursor moves only after the receiver has the entries; one process at a time delivers to a
sink, and whoever takes over begins where the cursor stands. What can't be delivered any more is said, in the stream and
as a finding. A sink reads the ledger and locks nothing, so none holds up an append or another sink. The threats are a
record whose copy outside has holes that nobody sees, and a dead receiver that takes the vault down with it.
"""
