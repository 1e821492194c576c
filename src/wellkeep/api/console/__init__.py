"""The console: pages for people, over the same services as the API's other routes, and never past them.

Threats: a page that shows what its reader could not have asked for, another site's page that acts through ours, and
text of a stranger's that runs. Pages only show: what changes something is a request to the API itself.
"""
