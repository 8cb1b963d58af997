"""A run that is stopped while large packages are imported: the import ends, and the process does not."""

import subprocess
import sys

ABORTED_AT_EACH = """
import os, sys
from callsheet.cli import importing

def wanted_until(last):
    asked = iter(range(10**9))
    return lambda: next(asked) < last

for last in range(100, 200, 3):
    child = os.fork()
    if child == 0:
        try:
            importing.import_beside(["callsheet.media.probe"], is_wanted=wanted_until(last))
        except importing.NotWanted:
            pass
        import callsheet.media.probe
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"stopped at import statement {last}: the process ended with status {status}")
"""
"""The decoder's compiled modules import Python ones while they are being initialised. What is raised there is
turned into an ImportError by some of them, and others do not survive it."""


def test_a_stop_while_the_decoder_is_imported_ends_the_import_and_not_the_process():
    """Ten POSTs may be under way at that moment. What was half imported can be imported later."""
    done = subprocess.run(
        [sys.executable, "-c", ABORTED_AT_EACH], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
