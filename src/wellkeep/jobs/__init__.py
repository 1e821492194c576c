"""Work behind the requests: jobs that the queue hands out, and clocks that put jobs into it.

Rules: a job holds ids alone; what it may do is decided when it runs, as whoever asked for it; every handler may be run
again from its own checkpoint, because a worker can die at any instruction; no text of an exception reaches a table.
"""
