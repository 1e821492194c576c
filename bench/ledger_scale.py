"""What the ledger costs when it is long: `make bench NAME=ledger_scale`, on a deployment made before.

- `proof_ms`: an inclusion proof of a random entry of the longest log against the newest checkpoint, at the 95th of a
  hundred: the reads (tiles, leaves), the path, and the check that it leads to the signed root. `proof_first_ms` is the
  first one over a new connection. Bar: 5.
- `search_subject_ms`: a page of 50 entries of one patient in the longest log, at the 95th of a hundred, the worst of
  three: a patient of a few accesses, one of many, one that other entries name beside theirs (`entry_subject`). Bar: 20.
  The others of `search_…_ms` show an actor, a purpose that is rare, and a month.
- `checkpoint_1000_core_share`: the CPU of this process and of all of PostgreSQL, as a share of one core, that the
  checkpointer takes while 1,000 tenants' logs grow every second and each is signed, stored, tiled and remembered within
  it: the same run with a checkpointer less one without. Bar: 0.10. `checkpoint_seconds` is the longest time from a
  commit to a stored checkpoint, the 99th of a hundred.

The deployment: 40 tenants, one with more than four fifths of the entries, 30,000 patients (a few of them busy), reads,
searches that name several patients, changes, denials, break-glass. All `--entries` come through the real path: the
writer, its batches and seals, the checkpointer and its tiles. The path takes no time but the present, so the three
months before, as many entries again as a fifth, are spliced by the same code with the clock of then and stored by the
database's owner, before the first real one; the real ones go on upon their heads. At the end all is verified.

    make bench NAME=ledger_scale ARGS=--build                       once: 1,000,000 (in $WELLKEEP_LEDGER_SCALE_HOME)
    make bench NAME=ledger_scale ARGS="--build --entries 10000000"  can be stopped, and goes on
    make bench NAME=ledger_scale                                    measure
    make bench NAME=ledger_scale ARGS=--clean                       remove what was built
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path

import uvloop

import ledger_scale_measure
from ledger_scale_build import build
from ledger_scale_deployment import Deployment, Noted
from wellkeep.api.server import settle

LARGE = 1_000_000


def where() -> Path:
    """Return the directory of what is built."""
    return Path(os.environ.get("WELLKEEP_LEDGER_SCALE_HOME") or "/var/tmp/wellkeep-ledger-scale")  # noqa: S108 - big, kept


async def measure(home: Path, *, rounds: int, seconds: float) -> dict[str, float]:
    """Measure on the deployment in `home`."""
    with Deployment(home) as deployment:
        found: dict[str, float] = {"entries": deployment.noted.entries, "of_them_past": deployment.noted.past}
        found |= await ledger_scale_measure.proofs(deployment, rounds=rounds)
        print(json.dumps(found), flush=True)
        found |= await ledger_scale_measure.searches(deployment, rounds=rounds)
        print(json.dumps(found), flush=True)
        return found | await ledger_scale_measure.checkpoints(deployment, seconds=seconds)


def main() -> int:
    """Build, clean, or measure and print the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="store_true", help="make the deployment, or go on, and stop")
    parser.add_argument("--clean", action="store_true", help="remove everything that was built")
    parser.add_argument("--entries", type=int, default=LARGE, help="up to 10,000,000")
    parser.add_argument("--rounds", type=int, default=400, help="proofs, and searches of each kind")
    parser.add_argument("--seconds", type=float, default=20.0, help="each half of the checkpointer's measure")
    options = parser.parse_args()
    home = where() / f"of-{options.entries}"
    settle()  # as each process of the server does
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.clean:
            for each in where().glob("of-*"):
                Deployment(each).server.stop()
            shutil.rmtree(where(), ignore_errors=True)
            return 0
        if options.build:
            began = time.perf_counter()
            runner.run(build(home, entries=options.entries))
            print(f"ready in {home} after {time.perf_counter() - began:.0f} s")
            return 0
        if not Noted.finished(home):
            print(f"Build it first: make bench NAME=ledger_scale ARGS=--build   (it goes to {home})", file=sys.stderr)
            return 2
        result = runner.run(measure(home, rounds=options.rounds, seconds=options.seconds))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
