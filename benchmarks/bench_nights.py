"""What whole commands cost beside a long history, on SQLite and on PostgreSQL, each beside its bound.

A night of 100,000 rows that were made before and five new ones; a run of five rows, statement, status, budget
list and reconcile on a ledger of 10^6 jobs (`bench_nights.py 100000` takes another number); opening a run of
as many new jobs. Runs use the Python API, so Prefect takes no part.

Processor time is that of the command's own process. On PostgreSQL the server works in another one: there
the bounds of statement, status, budget list and reconcile are on the wall clock, the least of three times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from measuring import CALLSHEET, Figure, Place, place, report, sandbox, succeed
from populating import has_server, new_ledger, populate, rows_in_all

from callsheet.ledger import Ledger, NewJob, NewRun
from manifests.plan import PlanOptions
from manifests.planner import make_plan

HISTORY = 1_000_000
NIGHT = 100_000
NEW = 5
TIMES = 3
SPEED = 1000.0

NIGHT_BOUND_S = 5.0
LOCK_BOUND_S = 0.2
FIVE_ROWS_BOUND = 1.3
COMMANDS = {
    "statement": (3.0, ["ledger", "statement", "--by", "client", "--by", "model"]),
    "status": (1.0, ["status"]),
    "budget list": (1.0, ["budget", "list"]),
    "reconcile, nothing open": (2.0, ["reconcile", "--sandbox"]),
}

RUN = """
import json, resource, sys, time
import callsheet
from callsheet.provider.client import FalQueue

submit, begun = FalQueue.submit, []

async def submit_timed(self, *args, **kwargs):
    begun.append(time.process_time())
    return await submit(self, *args, **kwargs)

FalQueue.submit = submit_timed
summary = callsheet.run(sys.argv[1], budget_usd="10000", sandbox=True, speed=float(sys.argv[2]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"first_s": begun[0], "all_s": time.process_time(), "posts": len(begun), "peak_kb": peak,
                  "statuses": summary.document["statuses"]}))
"""


@dataclass(frozen=True)
class Bench:
    """One database, and an empty home with a sandbox."""

    database: str
    home: Place

    def environment(self, url: str) -> dict[str, str]:
        """Return the environment of a command on one ledger; each has a folder of its own for its runs."""
        out = {"CALLSHEET_OUT": str(self.home.folder / f"runs-{zlib.crc32(url.encode()):x}")}
        return self.home.environment(CALLSHEET_LEDGER_URL=url, **out)

    def run(self, source: Path, url: str) -> dict[str, Any]:
        """Run a manifest on a ledger; return what it cost."""
        said = succeed([sys.executable, "-c", RUN, str(source), str(SPEED)], self.environment(url))
        cost: dict[str, Any] = json.loads(said.splitlines()[-1])
        return cost

    def figure(self, name: str, measured: str, bound: str, *, holds: bool, beside: str = "") -> Figure:
        """Return a line of the table."""
        return Figure(f"{self.database}: {name}", measured, beside, bound, holds)

    def five_new(self, number: int) -> Path:
        """Write a manifest of five rows that were never made."""
        made = self.home.manifest(NEW).read_text(encoding="utf-8")
        path = self.home.folder / "five.csv"
        path.write_text(made.replace("paper boat", f"boat {number} of {self.database}"), encoding="utf-8")
        return path

    def five_rows_s(self, url: str, number: int) -> float:
        """Return the least processor time of so many runs of five new rows, in seconds."""
        return min(float(self.run(self.five_new(number + each), url)["all_s"]) for each in range(TIMES))

    def command_s(self, arguments: Sequence[str], url: str) -> tuple[float, float]:
        """Return processor time and wall clock of a command, the least of some times, in seconds."""
        took = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            process = subprocess.Popen(
                [CALLSHEET, *arguments], env=self.environment(url), stdout=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"callsheet {' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
            took.append((usage.ru_utime + usage.ru_stime, time.perf_counter() - begun))
        return min(cpu for cpu, _ in took), min(wall for _, wall in took)


def night(bench: Bench) -> Iterator[Figure]:
    """Measure a night of which nearly everything was made before."""
    source = bench.home.manifest(NIGHT)
    plan = make_plan(str(source), overrides=PlanOptions(budget_usd="10000"))
    earlier = bench.home.folder / f"earlier-{bench.database}"
    for number in range(NIGHT // 1000):
        (earlier / f"{number}" / "media").mkdir(parents=True)
        (earlier / f"{number}" / "media" / "a.mp4").touch()
    with source.open("a", encoding="utf-8") as rows:
        for number in range(NEW):
            rows.write(f"new-{number},A new {bench.database} boat,seedance-1.0-pro-fast,480p,2,{number}\n")
    with new_ledger(bench.database, bench.home.folder) as url:
        populate(url, NIGHT, campaign=plan.campaign, identities=list(plan.identities()), out=earlier)
        before = rows_in_all(url)
        cost = bench.run(source, url)
        after = rows_in_all(url)
    grown = {name: count - before[name] for name, count in after.items() if count > before[name]}
    name = f"night of {NIGHT} made rows and {NEW} new"
    first_s = cost["first_s"]
    yield bench.figure(
        f"{name}, before its first POST",
        f"{first_s:.2f} s cpu",
        f"<= {NIGHT_BOUND_S:g} s",
        holds=first_s <= NIGHT_BOUND_S,
        beside=f"all of it {cost['all_s']:.1f} s, {cost['peak_kb'] / 1024:.0f} MiB",
    )
    yield bench.figure(
        f"{name}, new jobs in the ledger",
        str(grown["job"]),
        f"= {NEW}",
        holds=grown["job"] == cost["posts"] == NEW,
        beside=f"{sum(grown.values())} rows of all tables; {cost['statuses']}",
    )


def history(bench: Bench, jobs: int) -> Iterator[Figure]:
    """Measure commands on a long history."""
    with new_ledger(bench.database, bench.home.folder) as url:
        Ledger.open(url).close()
        empty_s = bench.five_rows_s(url, 0)
        short_s = {name: bench.command_s(words, url)[0] for name, (_, words) in COMMANDS.items()}
    with new_ledger(bench.database, bench.home.folder) as url:
        populate(url, jobs)
        full_s = bench.five_rows_s(url, TIMES)
        yield bench.figure(
            f"run of {NEW} rows at {jobs} jobs",
            f"{full_s:.2f} s cpu",
            f"<= {FIVE_ROWS_BOUND:g} x",
            holds=full_s <= FIVE_ROWS_BOUND * empty_s,
            beside=f"{empty_s:.2f} s on an empty ledger: {full_s / empty_s:.2f} x",
        )
        for name, (bound_s, arguments) in COMMANDS.items():
            cpu_s, wall_s = bench.command_s(arguments, url)
            bounded_s = cpu_s if bench.database == "sqlite" else wall_s
            yield bench.figure(
                f"{name} at {jobs} jobs",
                f"{cpu_s:.2f} s cpu, {wall_s:.2f} s wall",
                f"<= {bound_s:g} s",
                holds=bounded_s <= bound_s,
                beside=f"{short_s[name]:.2f} s cpu with a few jobs",
            )
        yield opening(bench, url, jobs)


class NewJobs(Sequence[NewJob]):
    """Jobs that are made as they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return [_new_job(number) for number in range(*which.indices(self._count))]
        if which >= self._count:
            raise IndexError(which)
        return _new_job(which)


def _new_job(number: int) -> NewJob:
    return NewJob(
        position=number,
        row=number,
        custom_id=f"opened-{number}",
        endpoint="fal-ai/x",
        model="m1",
        fingerprint=f"opened-{number}",
        payload="p" * 600,
        expected_nano=90,
        maximum_nano=100,
        client="client-1",
        render_kind="kind",
    )


def opening(bench: Bench, url: str, jobs: int) -> Figure:
    """Measure for how long at a time the opening of a large run keeps other writers waiting."""
    run = NewRun(run_id="opened", campaign="nightly", plan_hash="h", price_book="p", out="/o")
    with Ledger.open(url) as ledger, holds_of(ledger) as holds:
        ledger.open_run(run, NewJobs(jobs), once=True)
    longest = max(holds)
    cpu_s = max(cpu for _, cpu in holds)
    return bench.figure(
        f"opening {jobs} new jobs, longest hold of the write lock",
        f"{longest[0]:.3f} s wall",
        f"<= {LOCK_BOUND_S:g} s",
        holds=longest[0] <= LOCK_BOUND_S,
        beside=f"{cpu_s:.3f} s cpu; {len(holds)} transactions",
    )


@contextmanager
def holds_of(ledger: Ledger) -> Iterator[list[tuple[float, float]]]:
    """Give the wall clock and processor time of each writing transaction, from its lock to its commit."""
    engine, holds = ledger._engine, []  # noqa: SLF001 -- what is measured is inside
    begun: dict[int, tuple[float, float]] = {}

    def locked(*_: object) -> None:
        begun[threading.get_ident()] = (time.perf_counter(), time.thread_time())

    def began(connection: sa.Connection) -> None:
        if not connection.get_execution_options().get("reads"):
            locked()

    def executed(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FOR UPDATE" in statement:  # PostgreSQL: the row that every writing transaction locks first
            locked()

    def ended(*_: object) -> None:
        if (since := begun.pop(threading.get_ident(), None)) is not None:
            holds.append((time.perf_counter() - since[0], time.thread_time() - since[1]))

    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "begin", began)
    sa.event.listen(engine, "after_cursor_execute", executed)
    sa.event.listen(engine, "checkin", ended)
    yield holds


def main() -> int:
    """Measure and print."""
    jobs = int(sys.argv[1]) if sys.argv[1:] else HISTORY
    figures: list[Figure] = []
    for database in ("sqlite", "postgresql"):
        if database == "postgresql" and not has_server():
            print("no PostgreSQL server answers; set CALLSHEET_TEST_POSTGRES_URL")
            continue
        with place() as home, sandbox(home.data_dir / "sandbox", SPEED):
            bench = Bench(database, home)
            figures += [*night(bench), *history(bench, jobs)]
    return report(figures)


if __name__ == "__main__":
    sys.exit(main())
