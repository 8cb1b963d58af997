"""What a history of 10^4, 10^5 and 10^6 jobs costs: the verbs of a run, a statement, a status.

SQLite; times are processor seconds. bench_nights.py has the same for whole commands and both databases.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from populating import populate

from callsheet.ledger import (
    AT_FAL,
    HOLDS_SLOT,
    Ledger,
    NewJob,
    NewRun,
    Output,
    Settlement,
    State,
    activity,
    admission,
    history,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
)
from callsheet.ticket import Ticket

SIZES = (10_000, 100_000, 1_000_000)
PLAN = 100_000
OUTPUT = Output(
    path="media/a.mp4",
    url="https://v3.fal.media/a.mp4",
    sha256="ab" * 32,
    bytes=1,
    width_px=1280,
    height_px=720,
    fps=24.0,
    duration_s=5.0,
    has_audio=False,
)


def five_rows(ledger: Ledger) -> None:
    """Do all that a run of five rows asks of the ledger."""
    new = [
        NewJob(
            row=number,
            custom_id=f"new-{number}",
            endpoint="fal-ai/x",
            model="m1",
            fingerprint=f"new-{number}",
            payload="{}",
            expected_nano=90,
            maximum_nano=100,
            client="client-1",
            render_kind="kind",
        )
        for number in range(5)
    ]
    run = NewRun(run_id="five", campaign="nightly", plan_hash="h", price_book="p", out="/o")
    ledger.do(queries.made_by_fingerprint, "nightly", [job.fingerprint for job in new])
    ledger.do(queries.made_by_name, "nightly", [job.custom_id for job in new])
    ledger.open_run(run, new, once=True)
    ledger.do(history.render_times, "kind")
    paid = Settlement(cost_nano=90, cost_basis="expected", result_json="{}")
    for row in ledger.do(queries.jobs, "five"):
        ledger.do(admission.admit, row.job_id, slots=10)
        ledger.do(transitions.send, row.job_id, arguments_sha256="x")
        ledger.do(transitions.accept, row.job_id, Ticket(f"five-{row.job_id}", "e", "s", "r", "c"))
        ledger.do(transitions.render, row.job_id)
        ledger.do(settlement.settle, row.job_id, paid)
        ledger.do(transitions.collect, row.job_id, OUTPUT)
        ledger.do(queries.tally, "five")
    ledger.do(history.overruns, run_id="five")
    ledger.do(runs.close_run, "five")


def reconcile(ledger: Ledger) -> None:
    """Read what reconciling reads where nothing is open."""
    for states in (HOLDS_SLOT, AT_FAL, {State.UNKNOWN}, {State.RENDERED}):
        ledger.do(queries.open_jobs, states=states)
    ledger.do(activity.open_work)
    ledger.do(recovery.lost_jobs, ["media_gone"], since_ms=0)
    ledger.do(history.known_requests, [f"request-{number}" for number in range(1000)])


def status(ledger: Ledger) -> None:
    """Read what `status` and `budget list` show."""
    ledger.do(queries.latest_unfinished)
    ledger.do(queries.runs)
    ledger.do(queries.tally, "run-1")
    ledger.do(admission.balances)
    ledger.do(admission.caps)
    ledger.do(history.overruns)


def night(ledger: Ledger) -> None:
    """Look a plan of 100,000 rows up, nearly all of them made."""
    known = ledger.do(queries.made_by_fingerprint, "nightly", (f"print-{number}" for number in range(PLAN)))
    ledger.do(queries.made_by_name, "nightly", (f"new-{number}" for number in range(PLAN - len(known))))


WORK: dict[str, Callable[[Ledger], object]] = {
    "run of five rows": five_rows,
    "statement by client": lambda ledger: ledger.do(history.spending, ["client"]),
    "statement by day and model": lambda ledger: ledger.do(history.spending, ["day", "model"]),
    "status and budget list": status,
    "reconcile, nothing open": reconcile,
    f"look-up of {PLAN} rows": night,
}


def main() -> int:
    """Measure and print."""
    print(f"{'jobs':>8}  {'open':>6}  " + "  ".join(WORK))
    for jobs in (0, *(map(int, sys.argv[1:]) if sys.argv[1:] else SIZES)):
        with TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'ledger.sqlite'}"
            if jobs:
                populate(url, jobs)
            begun = time.process_time()
            with Ledger.open(url) as ledger:
                opened = time.process_time() - begun
                times = []
                for work in WORK.values():
                    begun = time.process_time()
                    work(ledger)
                    times.append(time.process_time() - begun)
            shown = "  ".join(f"{each:{len(name)}.2f}" for name, each in zip(WORK, times, strict=True))
            print(f"{jobs:>8}  {opened:6.2f}  {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
