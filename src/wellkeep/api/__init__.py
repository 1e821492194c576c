"""The HTTP edge: decode, call, encode. It holds no rule of the domain, and no text of a library leaves through it.

The route tables (`records`, `searches`, `subjects` …) say what exists; `endpoint` puts each behind authentication,
limits and decoding; `application` builds one Litestar application a listener; `edge` wraps it with what every answer
carries; `server` runs the listeners.
"""
