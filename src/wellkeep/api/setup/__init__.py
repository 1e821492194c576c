"""The first run in the browser: a small server on loopback, for one browser, until the deployment is made."""
