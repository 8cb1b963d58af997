"""What every benchmark needs: a clean place to run in, a sandbox, and a table of figures and bounds."""

from __future__ import annotations

import compileall
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callsheet.guard import PACKAGES

CALLSHEET = str(Path(sys.executable).with_name("callsheet"))
START_TIMEOUT_S = 15.0
RUN_TIMEOUT_S = 1800.0
# The sandbox renders 2 s of 480p in 41 s x (864 x 480 x 49) / (1920 x 1088 x 121) = 3.296 s at speed 1.
SPEED_FOR_ONE_SECOND = 3.296
_ROOT = Path(__file__).parents[1]
_PRIVATE = ("FAL_", "CALLSHEET_", "PREFECT_")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a benchmark's table. `holds` is None where nothing is promised."""

    name: str
    measured: str
    beside: str = ""
    bound: str = ""
    holds: bool | None = None


def report(figures: Iterable[Figure]) -> int:
    """Print the table; return 1 if a bound does not hold, else 0."""
    marks = {True: "holds", False: "BROKEN", None: ""}
    rows = [("figure", "measured", "compared with", "bound", "")]
    rows += [(each.name, each.measured, each.beside, each.bound, marks[each.holds]) for each in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return int(any(row[-1] == marks[False] for row in rows))


@dataclass(frozen=True, slots=True)
class Place:
    """An empty home of its own, so that no ledger, server or key of the machine takes part."""

    folder: Path

    @property
    def data_dir(self) -> Path:
        """Callsheet's data folder."""
        return self.folder / "data"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the machine's environment without keys and settings, and with this place's folders."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
        own = {
            "HOME": str(self.folder),
            "CALLSHEET_DATA_DIR": str(self.data_dir),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "NO_COLOR": "1",
        }
        return {**kept, **own, **more}

    def manifest(self, count: int) -> Path:
        """Write a manifest of `count` short shots that share one look and differ in their seed."""
        path = self.folder / f"shots-{count}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["custom_id", "prompt", "model", "resolution", "duration", "seed"])
            for number in range(1, count + 1):
                prompt = "A paper boat on a still pond"
                rows.writerow([f"shot-{number:05d}", prompt, "seedance-1.0-pro-fast", "480p", 2, number])
        return path


@contextmanager
def place() -> Iterator[Place]:
    """Make an empty home and remove it afterwards.

    Our packages are compiled first, as they are where pip has installed them: Python compiles an editable
    package at its first start, and at every one where it may write no bytecode.
    """
    for name in ("callsheet", *PACKAGES):
        compileall.compile_dir(_ROOT / name, quiet=1)
    with tempfile.TemporaryDirectory(prefix="callsheet-bench-", ignore_cleanup_errors=True) as folder:
        yield Place(Path(folder))


def median_s(action: Callable[[], object], times: int) -> float:
    """Return the median of `times` runs in seconds, after one that is not counted."""
    action()
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def cpu_s(who: int) -> float:
    """Return the processor time of this process (`resource.RUSAGE_SELF`) or of its children, in seconds."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def succeed(command: list[str], environment: dict[str, str]) -> str:
    """Run a command to its end and return its stdout; a failure shows what it said."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=RUN_TIMEOUT_S
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def run_command(manifest: Path, place_: Place, speed: float) -> list[str]:
    """Return the command line of one run on the sandbox."""
    options = ["--sandbox", "--speed", str(speed), "--budget-usd", "10000", "--yes", "--json"]
    return [CALLSHEET, "run", str(manifest), *options, "--out", str(place_.folder / "runs")]


@contextmanager
def sandbox(state: Path, speed: float, *more: str) -> Iterator[str]:
    """Serve a sandbox on a state folder, where `callsheet run --sandbox` finds it; yields its URL.

    Seeds are left out of the pictures: shots that differ in nothing else share one encoded file, and the
    figures are about the queue and the client, not about this machine's video encoder.
    """
    state.mkdir(parents=True, exist_ok=True)
    options = ["--state", str(state), "--speed", str(speed), "--hide-seed", *more]
    server = subprocess.Popen(
        [sys.executable, "-m", "callsheet.sandbox", *options], stdout=subprocess.PIPE, text=True
    )
    try:
        line = server.stdout.readline() if server.stdout else ""
        if " at " not in line:
            sys.exit("the sandbox did not start")
        yield line.split(" at ", 1)[1].strip()
    finally:
        server.terminate()
        server.wait(START_TIMEOUT_S)


def oracle(url: str, context: Any = None) -> dict[str, Any]:
    """Return what the sandbox really accepted, rendered and billed."""
    request = urllib.request.Request(f"{url}/_sandbox/ledger", headers={"Authorization": "Key sandbox-key"})
    with urllib.request.urlopen(request, timeout=60, context=context) as reply:
        document: dict[str, Any] = json.load(reply)
    return document


def peak_rss_mib(process: subprocess.Popen[Any], every_s: float = 0.1) -> float:
    """Wait for a process to end; return the most memory that it alone had in use, in MiB (Linux)."""
    peak_kb = 0
    status = Path(f"/proc/{process.pid}/status")
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        for line in status.read_text(encoding="ascii", errors="ignore").splitlines():
            if line.startswith("VmHWM:"):
                peak_kb = max(peak_kb, int(line.split()[1]))
        time.sleep(every_s)
    return peak_kb / 1024
