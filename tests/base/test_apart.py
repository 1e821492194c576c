"""Work that hangs holds up nothing else: not what comes after it elsewhere, and not the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from wellkeep.base.apart import Apart

NAME = "apart-of-a-test"
HANGS = f"""
import asyncio, threading, sys
from wellkeep.base.apart import Apart

async def main():
    begun = threading.Event()
    hung = Apart(name={NAME!r}).submit(lambda: begun.set() or threading.Event().wait())
    begun.wait()
    try:
        await asyncio.wait_for(asyncio.wrap_future(hung), 0.1)
    except TimeoutError:
        print("left")

asyncio.run(main())
"""


def threads() -> int:
    return sum(one.name == NAME for one in threading.enumerate())


def test_work_is_done_in_its_order_and_the_thread_ends_with_it() -> None:
    apart, done = Apart(name=NAME), list[int]()
    futures = [apart.submit(lambda number=number: done.append(number)) for number in range(50)]  # type: ignore[misc]
    for future in futures:
        future.result(5)
    assert done == list(range(50))
    for _ in range(3000):
        if not threads():
            break
        time.sleep(0.01)
    assert not threads()
    assert apart.submit(lambda: "again").result(5) == "again"


def test_no_more_threads_than_were_asked_for() -> None:
    apart, release = Apart(name=NAME, threads=3), threading.Event()
    futures = [apart.submit(lambda: release.wait(10)) for _ in range(9)]
    assert threads() == 3
    release.set()
    assert all(future.result(5) for future in futures)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_whatever_it_raises_is_told_to_who_waits(error: type[BaseException]) -> None:
    def broken() -> None:
        raise error

    apart = Apart(name=NAME)
    with pytest.raises(error):
        apart.submit(broken).result(5)
    assert apart.submit(lambda: 7).result(5) == 7


async def test_what_was_given_up_before_it_began_is_not_done() -> None:
    apart, release, done = Apart(name=NAME), threading.Event(), list[int]()
    hung = apart.submit(lambda: release.wait(10))
    for number in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(apart.submit(lambda one=number: done.append(one))), 0.01)  # type: ignore[misc]
    last = apart.submit(lambda: done.append(9))
    assert len(apart._waiting) == 1, "what nobody waits for takes up no room"
    assert last.cancel()
    release.set()
    hung.result(5)
    apart.submit(lambda: None).result(5)
    assert not done


def test_a_process_ends_whatever_hangs_in_it() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, timeout=20, check=False)  # noqa: S603 -- ours
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"left\n", b"")
