"""Prefect shows a run and does not carry it: its server may be absent, die, hang or be told to cancel.

Each claim has a real run on the sandbox with Prefect's own server, or with one that was configured.
"""

import json
import signal
import socket
import socketserver
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from callsheet.ledger import Ledger, queries, verify
from tests.procfs import child_with, send_signal, wait_for_child

pytestmark = [pytest.mark.prefect, pytest.mark.own_server]

SERVER = "callsheet.cli.prefect"
"""In the command line of the Prefect server that a run starts."""

ROWS = 6
RUN = ("run", "shots.csv", "--sandbox", "--budget-usd", "5", "--yes", "--json", "-j", "2")
ENDS_WITHIN_S = 60
"""How long a process may take to end after its last video. The aim is 25 s; the machine may be busy."""


@pytest.fixture
def shots(desk) -> None:
    """Six short shots."""
    rows = [f"shot-{number},number {number},seedance-1.0-lite,480p,29\n" for number in range(ROWS)]
    (desk.folder / "shots.csv").write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))


def summary_of(run: subprocess.Popen, code: int = 0) -> tuple[dict[str, Any], str]:
    """Wait for the end of a run that ends with that code; return its summary and what it said."""
    out, err = run.communicate(timeout=ENDS_WITHIN_S + 50)
    assert run.returncode == code, err
    assert "Traceback" not in err
    return json.loads(out), err


def until(run: subprocess.Popen, true: Callable[[], object]) -> Any:
    """Wait until something is true while a run goes on, and return it."""
    while not (found := true()):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    return found


def flow_run_address(run: subprocess.Popen) -> str:
    """Read what a run says until it has said where Prefect shows it."""
    for line in run.stderr:
        if line.startswith("Prefect: http"):
            return line.removeprefix("Prefect: ").partition("?")[0].strip()
    raise AssertionError("the run ended without an address")


def asked(url: str, body: dict[str, Any] | None = None) -> Any:
    """Ask Prefect's API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())


def accepted(desk) -> list[dict[str, Any]]:
    """What the sandbox accepted; nothing before it runs."""
    return desk.accepted() if (desk.data / "sandbox" / "server.json").exists() else []


def last_video_s(desk) -> float:
    """When the last file of the latest run was written, as Unix seconds."""
    return max(path.stat().st_mtime for path in desk.folder.glob("runs/*/media/*.mp4"))


def made_once(desk, summary: dict[str, Any]) -> None:
    """Every video was made, was bought once, and the ledger is sound."""
    assert (summary["succeeded"], len(desk.accepted())) == (ROWS, ROWS)
    assert Path(summary["dir"], "report.html").is_file()
    with Ledger.open(f"sqlite:///{desk.data / 'sandbox' / 'ledger.sqlite'}") as ledger:
        assert ledger.do(verify.verify) == []


def test_the_pages_show_the_run_while_it_lasts_and_how_long_each_job_took(desk, shots):
    """The address is said and answers; a task run is named by its job and begins and ends with it."""
    run = desk.start(*RUN, "--speed", "1")
    address = flow_run_address(run)
    page = urllib.request.Request(address, headers={"accept": "text/html"})
    with urllib.request.urlopen(page, timeout=20) as reply:
        assert b"<html" in reply.read().lower()
    api, _, flow_run_id = address.partition("/runs/flow-run/")
    shown = asked(f"{api}/api/flow_runs/{flow_run_id}")
    until(run, lambda: asked(f"{api}/api/flow_runs/{flow_run_id}")["state_type"] == "RUNNING")

    summary, _ = summary_of(run)

    made_once(desk, summary)
    assert shown["flow_id"]
    with closing(sqlite3.connect(desk.data / "prefect" / "prefect.db")) as database:
        (name, state), *others = database.execute("SELECT name, state_type FROM flow_run").fetchall()
        tasks = database.execute("SELECT name, start_time, end_time, state_type FROM task_run").fetchall()
    assert (name, state, others) == (f"shots {summary['run_id']}", "COMPLETED", [])
    assert sorted(each[0] for each in tasks) == [f"shot-{number}" for number in range(ROWS)]
    renders = {each["arguments"]["prompt"]: each for each in desk.accepted()}
    for custom_id, begin, end, task_state in tasks:
        render = renders[f"number {custom_id.removeprefix('shot-')}"]
        begun_s, ended_s = (datetime.fromisoformat(f"{each}+00:00").timestamp() for each in (begin, end))
        assert task_state == "COMPLETED"
        assert begun_s <= render["submitted_at"] < render["completed_at"] <= ended_s
        assert ended_s - begun_s >= 1.0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_a_server_that_is_lost_in_mid_run_takes_no_video_with_it(desk, shots, record_property, number):
    """Every video is made once, one notice says what is not shown, and the process ends."""
    run = desk.start(*RUN, "--speed", "1")
    until(run, lambda: accepted(desk))
    send_signal(child_with(run.pid, SERVER), number)

    summary, err = summary_of(run)

    record_property("ended_after_s", time.time() - last_video_s(desk))
    made_once(desk, summary)
    (notice,) = summary["remarks"]
    assert notice.startswith("Prefect shows this run in part")
    assert err.count("note: ") == 1


def test_a_server_that_hangs_while_starting_does_not_keep_a_stopped_run(desk, shots):
    """SIGTERM ends the run with its summary; `resume` makes every video."""
    run = desk.start(*RUN, "--speed", "50")
    send_signal(wait_for_child(run.pid, SERVER), signal.SIGSTOP)
    for line in run.stderr:
        if line.startswith("run "):
            break
    run.send_signal(signal.SIGTERM)
    summary, _ = summary_of(run, 130)
    assert summary["statuses"] == {"pending": ROWS}
    assert accepted(desk) == []
    resumed = desk.call("resume", "--sandbox", "--json", PREFECT_API_URL=desk.no_prefect)
    made_once(desk, json.loads(resumed.stdout))


def test_a_run_is_owned_while_its_server_starts(desk, shots):
    """A second process that is given the same list is refused, and does not carry out the first one's run."""
    run = desk.start(*RUN, "--speed", "50")
    server = wait_for_child(run.pid, SERVER)
    send_signal(server, signal.SIGSTOP)
    for line in run.stderr:
        if line.startswith("run "):
            break
    second = desk.call(*RUN, "--speed", "50", PREFECT_API_URL=desk.no_prefect)
    send_signal(server, signal.SIGCONT)
    assert (second.returncode, "Another process is working on it" in second.stderr) == (2, True)
    assert accepted(desk) == []
    summary, _ = summary_of(run)
    made_once(desk, summary)


@pytest.mark.parametrize("answers", [False, True], ids=["refuses", "never answers"])
def test_a_configured_server_that_cannot_be_used_is_said_once(desk, shots, answers):
    """The run goes on without pages, and every video is made."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if not answers:
            listening.close()
        done = desk.call(*RUN, "--speed", "50", PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    assert done.returncode == 0, done.stderr
    made_once(desk, json.loads(done.stdout))
    assert done.stderr.count("Prefect") == 1
    assert f"http://127.0.0.1:{port}/api cannot be used" in done.stderr


class Endless(socketserver.BaseRequestHandler):
    """Begins an answer and sends a space a second from then on."""

    over = threading.Event()

    def handle(self) -> None:
        """Answer until the other end has gone, or the test is over."""
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        with suppress(OSError):
            while not self.over.wait(1):
                self.request.sendall(b" ")


def test_a_server_whose_answer_never_ends_does_not_keep_a_run(desk, shots):
    """No pause between two pieces is long, so only the whole wait can be bounded. Every video is made."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Endless) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api"
        done = desk.call(*RUN, "--speed", "50", PREFECT_API_URL=url)
        Endless.over.set()
        server.shutdown()
    assert done.returncode == 0, done.stderr
    made_once(desk, json.loads(done.stdout))
    assert "Prefect shows this run in part or not at all: its server does not answer" in done.stderr


def test_a_server_that_does_not_start_is_said_and_costs_no_video(desk, shots):
    """Its log is named."""
    done = desk.call(*RUN, "--speed", "50", PREFECT_API_DATABASE_CONNECTION_URL="no-database")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    made_once(desk, summary)
    assert "Prefect's server ended with code" in done.stderr
    assert str(desk.data / "prefect" / "server.log") in done.stderr
    assert summary["remarks"] == ["Prefect's server did not start: this run is not among its pages"]


@pytest.mark.parametrize(
    ("signals", "waits"),
    [
        ([signal.SIGINT], True),
        ([signal.SIGINT, signal.SIGINT], False),
        ([signal.SIGTERM], False),
        ([signal.SIGHUP], False),
    ],
    ids=["Ctrl-C", "Ctrl-C twice", "SIGTERM", "terminal closed"],
)
def test_a_run_that_is_stopped_in_the_middle_is_finished_by_resume(desk, shots, signals, waits):
    """Exit 130 with a summary; the first Ctrl-C waits for what renders; nothing is bought twice."""
    run = desk.start(*RUN, "--speed", "1")
    until(run, lambda: len(accepted(desk)) >= 2)
    for number in signals:
        run.send_signal(number)
        until(run, lambda: "Nothing" in run.stderr.readline())
    summary, _ = summary_of(run, 130)
    statuses = summary["statuses"]
    assert sum(statuses.values()) == ROWS
    assert statuses["pending"] >= 1
    at_fal = {"in_queue", "in_progress", "submitting"} & statuses.keys()
    assert bool(at_fal) is not waits
    resumed = desk.call("resume", "--sandbox", "--json", PREFECT_API_URL=desk.no_prefect)
    assert resumed.returncode == 0, resumed.stderr
    made_once(desk, json.loads(resumed.stdout))


def test_a_run_that_is_cancelled_in_prefects_pages_is_cancelled_in_the_ledger(desk, shots):
    """What waits is cancelled, what renders is collected, no slot stays taken, and the report is written."""
    run = desk.start(*RUN, "--speed", "0.3")
    api, _, flow_run_id = flow_run_address(run).partition("/runs/flow-run/")
    until(run, lambda: len(accepted(desk)) >= 2)
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True}
    asked(f"{api}/api/flow_runs/{flow_run_id}/set_state", cancelling)

    summary, _ = summary_of(run, 130)

    statuses = summary["statuses"]
    assert sum(statuses.values()) == ROWS
    assert statuses.keys() <= {"cancelled", "succeeded"}
    assert statuses["cancelled"] >= ROWS - 2 - 2
    assert statuses.get("succeeded", 0) + 2 >= len(desk.accepted())
    assert Path(summary["dir"], "report.html").is_file()
    assert any("cancelled in Prefect" in remark for remark in summary["remarks"])
    assert not any("in part" in remark for remark in summary["remarks"])
    with Ledger.open(f"sqlite:///{desk.data / 'sandbox' / 'ledger.sqlite'}") as ledger:
        assert ledger.do(queries.open_jobs) == []
        assert ledger.do(verify.verify) == []
