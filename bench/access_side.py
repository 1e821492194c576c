"""One side of `access`: a deployment of the tree whose `src` and `bench` come first on the path, furnished and served.

Run by `access.py` with `-P`, so that the tree's own modules are found and none beside this file. It prints one JSON
line that says how to reach what it serves, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from request_deployment import furnish, make_deployment, serve

TENANTS = 2
SUBJECTS = 50


async def furnished(home: Path) -> None:
    """Serve a new deployment in `home` until the input ends."""
    tenants, administrators = await make_deployment(home, tenants=TENANTS)
    side = serve(home)
    try:
        await furnish(side, tenants, administrators, subjects=SUBJECTS)
        told = {
            "pid": side.process.pid,
            "postmaster": side.postmaster,
            "port": side.target.port,
            "administrator": side.administrator,
            "tenants": [
                {"id": str(one.id), "key": one.key, "subjects": [str(subject) for subject in one.subjects]}
                for one in tenants
            ],
        }
        print(json.dumps(told, default=str), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        side.stop()


if __name__ == "__main__":
    asyncio.run(furnished(Path(sys.argv[1])))
