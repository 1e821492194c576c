"""The one way out: every outbound connection of every room is made here, to a place on one list.

Rules: a place is named in the settings or it is not reached; its host is resolved once and every address that came back
is judged, not the name's spelling; the judged address itself is dialled; TLS is checked against the place's own name;
nothing is read from the environment, no redirect is followed, nothing lasts without end. What is refused is told to
`Denials`, which enters it in the ledger and reports it. The threats are data sent where nobody agreed to send it, and a
request of ours that somebody bends towards the machine's own services, the cloud's metadata or the network behind us
(SSRF, DNS rebinding).
"""
