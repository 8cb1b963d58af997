"""XLSX sheets, read by a process of their own, so that a workbook made to do harm ends that process alone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from manifests.readers.xlsx_worker import MEMORY_MAX_BYTES
from manifests.table import ReadOptions, Sheet, Table

TIME_MAX_S = 300.0
TEXT_MAX_BYTES = 1 << 30
"""What a sheet may hold when every cell is written out: one text may stand in a million cells."""


def read_xlsx(path: Path, sheet: str, file: str, options: ReadOptions) -> Table:
    """Read one sheet of a workbook: the one of that name, or the only one that is visible and not empty.

    Numbers, dates and times become the text that a person would have typed; a formula that failed is its
    error (`#N/A`); a merged cell stands in each of its rows. Blank rows are skipped but counted.
    """
    found = Sheet(file, path.resolve().parent, iter(()), padded=True)
    # -P: modules that lie in the working directory must not stand in for the library's.
    command = [sys.executable, "-P", "-m", "manifests.readers.xlsx_worker", str(path), sheet]
    with subprocess.Popen(  # noqa: S603  # no shell, and the paths are arguments of their own
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        deadline = threading.Timer(TIME_MAX_S, worker.kill)
        deadline.start()
        try:
            assert worker.stdout is not None
            found.rows = _rows(worker.stdout, found)
            return found.table(options)
        finally:
            deadline.cancel()
            worker.kill()


def _rows(lines: IO[bytes], sheet: Sheet) -> Iterator[tuple[int, list[str]]]:
    """Yield rows as the process writes them; its own death is a problem of the workbook."""
    size = 0
    error = (
        f"this workbook is damaged, or needs more than {MEMORY_MAX_BYTES >> 20:,} MiB of memory; "
        "save the rows as CSV"
    )
    for line in lines:
        size += len(line)
        said = json.loads(line)
        if size > TEXT_MAX_BYTES:
            error = f"the sheet holds more than {TEXT_MAX_BYTES >> 20:,} MiB of text; save the rows as CSV"
            break
        if "end" in said:
            return
        if "error" in said:
            error = said["error"]
            break
        number = said["row"]
        if said["hidden"]:
            sheet.hidden.add(number)
        yield number, said["cells"]
    sheet.wrong(0, "", "", error)
