"""From a manifest to verified videos, with the real command, the sandbox and real Prefect."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from callsheet.cli.commands.example import write_example
from callsheet.ledger import Ledger, queries, verify
from callsheet.report.rows import thumbnail_of


def accepted(desk) -> list[dict]:
    """Every request that the sandbox accepted: the provider's own count of purchases."""
    return desk.accepted()


def opened(path: Path) -> tuple[int, int, int, bool]:
    """Width, height, frames and sound of a video, by decoding all of it."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = sum(1 for _ in container.decode(video=0))
        return video.width, video.height, frames, bool(container.streams.audio)


@pytest.mark.parametrize(
    "kind", [pytest.param("csv", marks=[pytest.mark.prefect, pytest.mark.own_server]), "parquet"]
)
def test_a_manifest_becomes_verified_videos(desk, kind):
    """Twelve rows over four models, with and without pictures, become twelve videos as ordered."""
    write_example(desk.folder)
    source = desk.folder / "shots.csv"
    if kind == "parquet":
        pq.write_table(pyarrow.csv.read_csv(source), desk.folder / "shots.parquet")
        source = desk.folder / "shots.parquet"

    done = desk.call("run", str(source), "--sandbox", "--speed", "40", "--budget-usd", "2", "--yes", "--json")

    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    summary = json.loads(done.stdout)
    assert (summary["succeeded"], summary["failed"], summary["unknown"]) == (12, 0, 0)
    folder = Path(summary["dir"])
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    assert len(rows) == len(accepted(desk)) == 12
    for row in rows:
        width, height, frames, sound = opened(folder / row["output_path"])
        assert (width, height) == (row["width"], row["height"])
        assert frames == 24 * int(row["duration"]) + 1
        assert sound == row["has_audio"]
        assert (folder / thumbnail_of(row["output_path"])).read_bytes()[:2] == b"\xff\xd8"
    assert sum(float(row["actual_usd"]) for row in rows) == pytest.approx(float(summary["actual_usd"]))
    assert float(summary["expected_usd"]) <= float(summary["actual_usd"]) <= 2.0
    names = {path.name for path in folder.iterdir()}
    assert {
        "plan.json",
        "manifest.parquet",
        "results.csv",
        "errors.csv",
        "summary.json",
        "report.html",
    } <= names


@pytest.mark.prefect
def test_a_terminated_run_is_resumed_without_buying_anything_twice(desk):
    """After SIGTERM in the middle, `resume` finishes every job, and no job was accepted twice."""
    lines = [f"job-{number},A red kite over hill {number},480p,2,{number}" for number in range(14)]
    (desk.folder / "shots.csv").write_text("custom_id,prompt,resolution,duration,seed\n" + "\n".join(lines))
    (desk.folder / "c.toml").write_text(
        '[campaign]\nname = "kites"\nmanifest = "shots.csv"\n[defaults]\nmodel = "seedance-1.0-lite"\n'
    )
    process = desk.start("run", "c.toml", "--sandbox", "--speed", "5", "--yes", "--json")
    ledger_file = desk.data / "sandbox" / "ledger.sqlite"
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("run "):
            break
    with Ledger.open(f"sqlite:///{ledger_file}") as ledger:
        run = ledger.do(queries.latest_unfinished)
        while ledger.do(queries.tally, run.run_id).counts.get("in_progress", 0) < 3:
            assert process.poll() is None, "".join(said)
            time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err

    resumed = desk.call("resume", "--sandbox", "--json")

    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["succeeded"] == 14
    assert len(accepted(desk)) == 14
    with Ledger.open(f"sqlite:///{ledger_file}") as ledger:
        assert ledger.do(verify.verify) == []


STOPPED_WHILE_THE_FLOW_BEGINS = """
import signal, sys
from prefect.flow_engine import AsyncFlowRunEngine
from callsheet.cli.main import main

begin_run = AsyncFlowRunEngine.begin_run

async def stopped(engine):
    signal.raise_signal(signal.SIGTERM)
    return await begin_run(engine)

AsyncFlowRunEngine.begin_run = stopped
main(sys.argv[1:])
"""


@pytest.mark.prefect
def test_a_run_is_stopped_in_order_also_while_its_flow_begins(desk):
    """Prefect would raise in the middle of whatever is being done, and buying has begun by then."""
    (desk.folder / "shots.csv").write_text("custom_id,prompt,model,duration\na,A boat,seedance-1.0-lite,2\n")
    command = ["run", "shots.csv", "--sandbox", "--speed", "0.1", "--yes", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_THE_FLOW_BEGINS, *command],
        cwd=desk.folder,
        env=desk.env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["statuses"].keys() <= {"pending", "in_queue", "in_progress"}


def test_equal_work_is_not_bought_again(desk):
    """A second run of the same manifest uses the videos of the first and buys nothing."""
    (desk.folder / "shots.csv").write_text(
        "custom_id,prompt,model,resolution,duration\na,A boat,seedance-1.0-lite,480p,2\n"
    )
    first = desk.call("run", "shots.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert first.returncode == 0, first.stderr
    second = desk.call("run", "shots.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert second.returncode == 0, second.stderr
    assert len(accepted(desk)) == 1
    folder = Path(json.loads(second.stdout)["dir"])
    (row,) = csv.DictReader((folder / "results.csv").read_text().splitlines())
    assert row["status"] == "already_made"
    assert opened(folder / row["output_path"])[:2] == (864, 480)


def test_failed_jobs_end_with_code_4_and_can_be_retried(desk):
    """A job that fal fails is named in errors.csv, ends the run with 4, and `retry` makes it."""
    (desk.folder / "shots.csv").write_text(
        "custom_id,prompt,model,resolution,duration\na,A boat,seedance-1.0-lite,480p,2\n"
    )
    warm = desk.call("run", "shots.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert warm.returncode == 0, warm.stderr
    arm(desk, {"kind": "render_failed", "count": 1})
    (desk.folder / "more.csv").write_text(
        "custom_id,prompt,model,resolution,duration\nb,A ship,seedance-1.0-lite,480p,2\n"
    )
    failed = desk.call("run", "more.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert failed.returncode == 4, failed.stderr
    assert "b" in (Path(json.loads(failed.stdout)["dir"]) / "errors.csv").read_text()
    again = desk.call("retry", "--sandbox", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["succeeded"] == 1


def test_a_lost_reply_ends_with_code_7_and_one_purchase(desk):
    """A POST whose reply is lost is not sent again; where fal's history cannot be read, the code says so."""
    (desk.folder / "shots.csv").write_text(
        "custom_id,prompt,model,resolution,duration\na,A boat,seedance-1.0-lite,480p,2\n"
    )
    warm = desk.call("run", "shots.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert warm.returncode == 0, warm.stderr
    arm(desk, {"kind": "reset", "count": 1})
    arm(desk, {"kind": "server_error", "route": "platform", "count": 1000})
    (desk.folder / "more.csv").write_text(
        "custom_id,prompt,model,resolution,duration\nb,A ship,seedance-1.0-lite,480p,2\n"
    )
    lost = desk.call("run", "more.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert lost.returncode == 7, lost.stderr
    assert json.loads(lost.stdout)["unknown"] == 1
    assert len(accepted(desk)) == 2


def test_a_lost_reply_is_found_before_the_run_ends(desk):
    """What was bought without an answer is looked up in fal's history, followed and fetched."""
    (desk.folder / "shots.csv").write_text(
        "custom_id,prompt,model,resolution,duration\na,A boat,seedance-1.0-lite,480p,2\n"
    )
    warm = desk.call("run", "shots.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert warm.returncode == 0, warm.stderr
    arm(desk, {"kind": "reset", "count": 1})
    (desk.folder / "more.csv").write_text(
        "custom_id,prompt,model,resolution,duration\nb,A ship,seedance-1.0-lite,480p,2\n"
    )
    found = desk.call("run", "more.csv", "--sandbox", "--speed", "40", "--yes", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["succeeded"] == 1
    assert len(accepted(desk)) == 2


def arm(desk, fault: dict) -> None:
    """Let the sandbox misbehave."""
    desk.arm(**fault)
