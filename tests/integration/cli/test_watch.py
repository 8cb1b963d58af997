"""A run that is being looked at, over a real ledger; and what a shell completes."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from callsheet.cli.views.live import live_lines
from callsheet.cli.views.progress import line_of
from callsheet.cli.views.watch import Watch
from callsheet.engine.context import SILENT_S, Polled
from callsheet.ledger import Ledger, NewRun, State, admission, queries, transitions
from callsheet.ticket import Ticket
from pricing.budgets import Cap
from tests.integration.cli.conftest import new_job

KIND = "fal-ai/x|100|120"


@pytest.fixture
def fal():
    """A queue with 12,654 requests ahead."""
    with Fal(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def ledger(tmp_path, monkeypatch, fal):
    """A ledger with a run of four jobs: one renders, one is queued at fal, one is held, one waits."""
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path))
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        run = NewRun(
            run_id="r",
            campaign="spring",
            plan_hash="h",
            price_book="2026-11-21",
            out=str(tmp_path),
            options="{}",
            prices="[]",
        )
        caps = [
            Cap("run", "r", "total", 10**9),
            Cap("campaign_client", "spring/acme", "total", 450_000_000, "spring/acme"),
        ]
        ledger.open_run(run, [new_job(number, "acme") for number in range(4)], caps)
        for job_id in (1, 2, 3):
            ledger.do(admission.admit, job_id, slots=10)
        for job_id in (1, 2):
            ledger.do(transitions.send, job_id, arguments_sha256="x")
            ledger.do(transitions.accept, job_id, Ticket(f"q{job_id}", "e", fal.url, "r", "c"))
        ledger.do(transitions.start, 1)
        yield ledger


def test_a_run_is_seen_with_what_fal_says_of_its_jobs(ledger):
    """Lanes by slot, the queue's position, silence, the cap with the least headroom."""
    now_s = time.monotonic()
    polled = {1: Polled(now_s - SILENT_S - 10), 2: Polled(now_s, position=12_654)}
    watch = Watch(ledger, ledger.do(queries.run, "r"), slots=10, polled=polled, trouble=lambda: "fal is away")
    now = watch.look()
    assert [lane.state for lane in now.lanes] == [State.IN_PROGRESS, State.IN_QUEUE, State.HELD]
    assert (now.lanes[0].silent_s > SILENT_S, now.position) == (True, 12_654)
    assert (now.cap.ref.key, now.cap.left_nano) == ("spring/acme", 150_000_000)
    text = "\n".join(line.plain for line in live_lines(now, width=140, height=40))
    assert "queued at fal, position 12,654" in text
    assert "rendering, no answer for 40 s" in text
    assert "free $0.1500 of $0.4500 (cap of client acme in campaign spring)" in text
    assert "fal is away" in text
    assert "1 rendering, 1 queued at fal (the first at position 12,654), 2 waiting" in line_of(now)


def test_a_job_keeps_its_lane(ledger):
    """A lane that becomes free stays free until another job takes it: nothing jumps."""
    watch = Watch(ledger, ledger.do(queries.run, "r"), slots=10)
    watch.look()
    ledger.do(transitions.render, 1)
    assert [lane and lane.name for lane in watch.look().lanes] == [None, "shot-1", "shot-2"]
    ledger.do(admission.admit, 4, slots=10)
    assert [lane and lane.name for lane in watch.look().lanes] == ["shot-3", "shot-1", "shot-2"]


def test_the_pace_follows_what_was_finished_here(ledger, monkeypatch):
    """What an earlier process finished says nothing; jobs a minute and the rest at that pace do."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watch = Watch(ledger, ledger.do(queries.run, "r"), slots=1)
    assert watch.look().rate_per_min is None
    clock[0] += 30
    ledger.do(transitions.skip, [4], why="a test")
    now = watch.look()
    assert now.rate_per_min == 2.0
    monkeypatch.setattr("callsheet.cli.views.watch.ENOUGH_FINISHED", 1)
    assert watch.look().left_s == 90.0


def test_nothing_is_estimated_where_nothing_renders(ledger, monkeypatch):
    """An unknown job has no time that it takes, and what only waits has nobody who renders it."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watch = Watch(ledger, ledger.do(queries.run, "r"), slots=1)
    watch.look()
    ledger.do(transitions.send, 3, arguments_sha256="x")
    ledger.do(transitions.lose, 3, why="no answer")
    ledger.do(transitions.skip, [4], why="a test")
    ledger.do(transitions.render, 1)
    clock[0] += 30
    monkeypatch.setattr("callsheet.cli.views.watch.ENOUGH_FINISHED", 1)
    assert watch.look().left_s == 60.0  # one to fetch, one queued; the unknown one is no render
    ledger.do(transitions.render, 2)
    now = watch.look()
    assert (now.tally.counts[State.UNKNOWN], now.left_s) == (1, None)
    assert "left" not in line_of(now).replace("left of", "")


@pytest.mark.parametrize("command", ["resume", "retry", "status", "cancel", "report"])
@pytest.mark.usefixtures("ledger")
def test_a_shell_completes_run_ids(call, command):
    """Where a run's id is asked for, the newest ones are offered."""
    assert "r\t" in call("__complete", command, "")[1].replace("r\n", "r\t\n")


@pytest.mark.parametrize(
    ("code", "position", "said"),
    [(202, 12_654, "1 queued at fal (the first at position 12,654), "), (500, None, "1 queued at fal, ")],
)
@pytest.mark.usefixtures("ledger")
def test_status_says_how_many_are_ahead_at_fal(call, fal, monkeypatch, code, position, said):
    """A process that does not carry out the run asks fal; without an answer it says just that."""
    for name in ("QUEUE", "REST", "CDN", "PLATFORM"):
        monkeypatch.setenv(f"CALLSHEET_{name}_URL", fal.url)
    monkeypatch.setenv("FAL_KEY", "id:secret-of-a-test")
    fal.code = code
    assert said in call("status")[1]
    assert json.loads(call("status", "--json")[1])["queue_position"] == position


class Fal(ThreadingHTTPServer):
    """Answers everything that a job is queued behind 12,654 others, with the status code `code`."""

    code = 202

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": "IN_QUEUE", "queue_position": 12_654}).encode()
        self.send_response(self.server.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
