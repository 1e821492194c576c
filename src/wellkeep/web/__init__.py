"""Pages: made of what they are handed, and sent by whoever asked for them.

Rules: everything that a template prints is escaped, and a name that it lacks is an error; no page runs a script that is
not ours or has a style in it, so its policy can forbid both. A page knows no HTTP and has no logic of its own: it shows
what the rooms below worked out.
"""
