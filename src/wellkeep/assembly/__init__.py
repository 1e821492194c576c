"""The composition root: which object is handed to which, and nothing that decides anything.

Low rooms that need something from above take it at construction; here, and nowhere else, it is put into their hands.
"""
