"""The cryptography of wellkeep: pure functions, bytes in and bytes out.

Rules: no I/O but `os.urandom`, no clock, no logging, at most 1,000 lines of code, so that a reviewer reads it in one
sitting. Every ciphertext begins with a version marker, every failure raises an error without a value in it. The formats
are specified in `docs/spec/wk1.md` and `docs/spec/ledger.md`; known answers lie in `tests/vectors`.

Modules, in reading order: `errors`, `keys` (derivation, commitment, XAES-256-GCM), `padding`, `envelope` (one sealed
field), `wrap` (a key under a key), `stream` (files and blobs), `normalise` and `blind` (search without opening),
`canonical` (the ledger's JSON), `merkle` (RFC 6962 trees and proofs), `notes` (what signs a tree: C2SP signed notes).
"""
