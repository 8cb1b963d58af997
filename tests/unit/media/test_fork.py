"""A process that forks after a run, as pools of processes do on Linux."""

import subprocess
import sys

import pytest

DECODE = """
from callsheet.media.download import in_background

async def work():
    await in_background(int)
"""

COPY = """
from pathlib import Path
from callsheet.media.storage import copy_to

class Store:
    def publish(self, local, name):
        pass

async def work():
    await copy_to(Store(), Path(), "clip")
"""

FORK = """
import asyncio, os, signal
asyncio.run(work())
child = os.fork()
if not child:
    signal.alarm(10)
    asyncio.run(work())
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("work", [DECODE, COPY], ids=["decode", "copy"])
def test_the_child_has_threads_of_its_own(work: str) -> None:
    """It inherited the parent's pools without their threads, and waited for ever with its clips paid for."""
    assert subprocess.run([sys.executable, "-c", work + FORK], check=False, timeout=60).returncode == 0
