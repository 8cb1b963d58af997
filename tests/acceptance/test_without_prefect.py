"""Prefect is for looking at: a server that is not there, does not start or goes away costs no video."""

import json
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.procfs import child_with, send_signal, wait_for_child

pytestmark = [pytest.mark.prefect, pytest.mark.own_server, pytest.mark.xdist_group("without-prefect")]

SERVER = "prefect_child"
"""In the command line of the Prefect server that a run brings with it."""

ROWS = 6
RUN = ("run", "shots.csv", "--sandbox", "--budget-usd", "5", "--yes", "--json")


@pytest.fixture
def shots(desk) -> None:
    """Six short shots."""
    rows = [f"shot-{number},number {number},seedance-1.0-lite,480p,29\n" for number in range(ROWS)]
    (desk.folder / "shots.csv").write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "Failed to reach API at http://127.0.0.1:9/api"),
        ({"PREFECT_API_DATABASE_CONNECTION_URL": "no-database"}, "Prefect's server ended with code"),
    ],
    ids=["its API does not answer", "its server does not start"],
)
def test_a_prefect_that_is_not_there_costs_a_remark_and_no_video(desk, shots, environment, reason):
    """Every video is made, once; the summary says what Prefect does not show."""
    done = desk.call(*RUN, "--speed", "50", **environment)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["succeeded"], len(desk.accepted())) == (ROWS, ROWS)
    assert any(reason in remark for remark in summary["remarks"])
    assert Path(summary["dir"], "report.html").is_file()


def test_a_prefect_server_that_dies_in_the_middle_takes_no_video_with_it(desk, shots):
    """The run goes on to its end and says that Prefect shows it in part."""
    run = desk.start(*RUN, "--speed", "2")
    while not flow_runs(desk.data / "prefect" / "prefect.db"):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    send_signal(child_with(run.pid, SERVER), signal.SIGKILL)
    out, err = run.communicate(timeout=110)
    assert run.returncode == 0, err
    summary = json.loads(out)
    assert (summary["succeeded"], len(desk.accepted())) == (ROWS, ROWS)
    assert any(remark.startswith("Prefect ") for remark in summary["remarks"])


def test_a_stop_waits_for_no_prefect(desk, shots):
    """Its server hangs while it starts; whoever ends the run has its summary all the same."""
    run = desk.start(*RUN, "--speed", "0.05")
    send_signal(wait_for_child(run.pid, SERVER), signal.SIGSTOP)
    while not (desk.data / "sandbox" / "server.json").exists() or len(desk.accepted()) < ROWS:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=110)
    assert run.returncode == 130, err
    summary = json.loads(out)
    assert summary["statuses"].keys() <= {"in_queue", "in_progress"}
    assert summary["remarks"] == ["Prefect does not show this run: it was stopped before Prefect was there"]


def flow_runs(database: Path) -> int:
    """Count what Prefect has heard of; none while its database is still being laid out."""
    if not database.exists():
        return 0
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT count(*) FROM flow_run").fetchone()[0]
    return 0
