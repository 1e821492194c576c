"""The command line: a thin edge. What touches PHI is a client of the API; what is local acts as the operator.

Every command has `--help` with an example, says what to do next when it refuses, prints JSON where a program may read
it, and ends with 0 (done), 1 (refused or failed) or 2 (wrong usage).
"""
