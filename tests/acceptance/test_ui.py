"""`callsheet ui`: Prefect's pages of runs that are over."""

import json
import shutil
import signal
import urllib.request

import pytest

pytestmark = [pytest.mark.prefect, pytest.mark.own_server]

SHOT = "custom_id,prompt,model,resolution,num_frames\nkite,a kite,seedance-1.0-lite,480p,29\n"


def test_it_shows_the_runs_of_this_machine_until_ctrl_c(desk):
    """The run's own server is gone; its history is there, and its pages answer."""
    (desk.folder / "shots.csv").write_text(SHOT)
    done = desk.call("run", "shots.csv", "--sandbox", "--speed", "200", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    ui = desk.start("ui")
    line = ui.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), (line, ui.stderr.read())
    address = line.strip()
    # Prefect answers a page's address with the page only where a browser asks.
    with urllib.request.urlopen(
        urllib.request.Request(f"{address}/runs", headers={"Accept": "text/html"})
    ) as page:
        assert page.status == 200
    asked = urllib.request.Request(
        f"{address}/api/flow_runs/filter", data=b"{}", headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as reply:
        assert any(run_id in run["name"] for run in json.load(reply))
    ui.send_signal(signal.SIGINT)
    ui.communicate(timeout=60)
    assert ui.returncode == 0


def test_without_a_history_there_is_nothing_to_serve(desk):
    """It says so, and ends with 2."""
    shutil.rmtree(desk.data)
    done = desk.call("ui")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no history yet" in done.stderr
