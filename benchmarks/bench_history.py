"""What a history of 10^4, 10^5 and 10^6 jobs costs: the verbs of a run, a statement, a status.

The history is written by SQL, 1,000 jobs to a run, all of them made; SQLite. Times are processor seconds.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from callsheet.ledger import (
    AT_FAL,
    HOLDS_SLOT,
    Ledger,
    NewJob,
    NewRun,
    Output,
    Settlement,
    State,
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
DAY_MS = 86_400_000
START_MS = 1_764_000_000_000
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

POPULATE = """
CREATE TEMP TABLE n AS WITH RECURSIVE
    n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :jobs)
    SELECT i, i / 1000 AS r FROM n;
INSERT INTO run (run_id, campaign, plan_hash, price_book, out, options, created_ms, opened_ms,
                 closed_ms)
    SELECT DISTINCT 'run-' || r, 'nightly', 'h', 'p', '/o', '', :start + r * 86400000, 1, 1 FROM n;
INSERT INTO spending (run_id, client, model, day, submissions, held_nano, spent_nano)
    SELECT 'run-' || r, 'client-' || (i % 20), 'm' || (i % 3),
           strftime('%Y-%m-%d', :start / 1000 + r * 86400, 'unixepoch'), count(*), 0, count(*) * 90
    FROM n GROUP BY 1, 2, 3, 4;
INSERT INTO job (job_id, run_id, position, "row", custom_id, take, priority, client, endpoint, model,
                 output_name, render_kind, fingerprint, payload, expected_nano, maximum_nano, spent_nano,
                 state, attempts, purchases, submissions, output_id)
    SELECT i + 1, 'run-' || r, i % 1000, i, 'shot-' || i, 1, 0, 'client-' || (i % 20), 'fal-ai/x',
           'm' || (i % 3), '', 'kind', 'print-' || i, :payload, 90, 100, 90, 'succeeded', 1, 1, 1, i + 1
    FROM n;
INSERT INTO submission (submission_id, job_id, spending_id, number, hold_nano, cost_nano, cost_basis,
                        request_id, status_url, response_url, cancel_url, result_json, admitted_ms,
                        sent_ms, submitted_ms, started_ms, rendered_ms, booked_ms, closed_ms)
    SELECT i + 1, i + 1, (SELECT spending_id FROM spending WHERE run_id = 'run-' || r
                          AND client = 'client-' || (i % 20) AND model = 'm' || (i % 3)),
           1, 100, 90, 'billable_units', 'request-' || i, 's', 'r', 'c', :result,
           t, t, t, t, t, t, t FROM (SELECT i, r, :start + r * 86400000 AS t FROM n);
INSERT INTO output (output_id, submission_id, run_id, path, url, sha256, bytes, width_px, height_px, fps,
                    duration_s, has_audio)
    SELECT i + 1, i + 1, 'run-' || r, 'media/a.mp4', 'u', 'x', 1, 1, 1, 24.0, 5.0, 0 FROM n;
INSERT INTO account (scope, key, "window", spent_nano)
    SELECT 'run', 'run-' || r, 'total', count(*) * 90 FROM n GROUP BY r;
INSERT INTO account (scope, key, "window", spent_nano)
    SELECT 'campaign', 'nightly', 'total', count(*) * 90 FROM n
"""


def populate(path: Path, jobs: int) -> None:
    """Write the history of so many jobs."""
    values = {"jobs": jobs, "start": START_MS, "payload": "p" * 600, "result": "r" * 800}
    with sqlite3.connect(path) as connection:
        for statement in POPULATE.split(";"):
            connection.execute(statement, values)
    connection.close()


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
    ledger.open_work()
    ledger.do(recovery.lost_jobs, ["media_gone"], since_ms=START_MS)
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
            path = Path(folder) / "ledger.sqlite"
            Ledger.open(f"sqlite:///{path}").close()
            if jobs:
                populate(path, jobs)
            begun = time.process_time()
            with Ledger.open(f"sqlite:///{path}") as ledger:
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
