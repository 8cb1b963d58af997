"""Scheduled nights on a real Prefect server with a real worker, whose clocks are moved."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.procfs import kill_with_descendants
from tests.rig.clocks import MovedClock
from tests.rig.servers import prefect_server

pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]

AT_HALF_PAST_TWO = ["--cron", "30 2 * * *", "--timezone", "Europe/Berlin"]
EVERY_TWO_MINUTES = ["--cron", "*/2 * * * *"]
OF_SERVER = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
}
PLANNED = 3
"""Prefect plans as many runs ahead, or more."""

OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Nights:
    """A desk with campaigns, and a Prefect server and a worker with clocks of their own."""

    def __init__(self, desk, database) -> None:
        self.desk = desk
        self.server_clock = MovedClock(desk.folder, "server")
        self.worker_clock = MovedClock(desk.folder, "worker")
        self.home = desk.folder / "prefect-server"
        self.home.mkdir()
        for file in database.parent.glob("prefect.db*"):
            shutil.copy(file, self.home / file.name)
        self.url = ""
        desk.env |= {**self.worker_clock.env, "PREFECT_HOME": str(desk.folder / "prefect-home")}

    def set(self, moment: str | datetime) -> None:
        """Move both clocks to a moment (UTC)."""
        self.server_clock.set(moment)
        self.worker_clock.set(moment)

    @contextmanager
    def server(self) -> Iterator[None]:
        """Run the server."""
        with prefect_server(self.home, env={**self.server_clock.env, **OF_SERVER}) as server:
            self.url = self.desk.env["PREFECT_API_URL"] = server.url
            yield

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run a worker of the work pool."""
        with (self.desk.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                # Few at a time: Prefect's server answers 503 when a crowd meets its SQLite file.
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", "callsheet", "--limit", "4"],
                env={**os.environ, **self.desk.env, "PREFECT_WORKER_QUERY_SECONDS": "1"},
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            kill_with_descendants(process.pid)
            process.wait()

    def add_shot(self, campaign: str, shot: str) -> None:
        """Add a shot to a campaign's manifest: the next run that is carried out buys it."""
        manifest = self.desk.folder / f"{campaign}.csv"
        with manifest.open("a") as file:
            if not file.tell():
                file.write("custom_id,prompt,model,resolution,num_frames\n")
            file.write(f"{shot},A shot of {shot},seedance-1.0-lite,480p,29\n")

    def deploy(self, campaign: str, *options: str, speed: str = "50") -> None:
        """Deploy a campaign with one shot of its name, and nothing that runs by the minute."""
        self.add_shot(campaign, campaign)
        (self.desk.folder / f"{campaign}.toml").write_text(
            f'[campaign]\nname = "{campaign}"\nmanifest = "{campaign}.csv"\n[budget]\ntotal_usd = 4\n'
        )
        self.command("deploy", f"{campaign}.toml", "--sandbox", "--speed", speed, *options)
        self.command("deploy", "remove", "keeper/callsheet-sandbox")
        self.wait(lambda: len(self.runs(campaign)) >= PLANNED)

    def command(self, *words: str) -> str:
        """Run a command by the worker's clock and return what it prints."""
        done = self.desk.call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def runs(self, campaign: str) -> list[dict]:
        """Return what Prefect has of a campaign's runs, also of those to come, by the time they are due."""
        wanted = {"deployments": {"name": {"any_": [campaign]}}, "sort": "EXPECTED_START_TIME_ASC"}
        reply = httpx.post(f"{self.url}/flow_runs/filter", json=wanted, timeout=30)
        return reply.raise_for_status().json()

    def due(self, campaign: str) -> dict[str, dict]:
        """Return the runs that are due by the server's clock, by their time (UTC)."""
        now = self.server_clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            each["expected_start_time"][:16]: each
            for each in self.runs(campaign)
            if each["expected_start_time"] <= now
        }

    def said(self, campaign: str) -> list[tuple[str, str]]:
        """Return the name and the message of the state of every run that is due, as Prefect's pages show."""
        return [(each["state_name"], each["state"]["message"] or "") for each in self.due(campaign).values()]

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds."""
        end = time.monotonic() + 200
        while not holds():
            assert time.monotonic() < end, (self.desk.folder / "worker.log").read_text()[-5000:]
            time.sleep(0.2)

    def wait_over(self, campaign: str, count: int) -> None:
        """Wait until this many of a campaign's runs are over."""
        self.wait(lambda: sum(each["state_type"] in OVER for each in self.runs(campaign)) >= count)

    def bought(self) -> Counter:
        """Count the purchases of each shot, by the sandbox's own record."""
        if not (self.desk.data / "sandbox" / "server.json").exists():
            return Counter()
        return Counter(
            each["arguments"]["prompt"].removeprefix("A shot of ") for each in self.desk.accepted()
        )


@pytest.fixture
def nights(bare_desk, prefect_database):
    """A desk for nights."""
    return Nights(bare_desk, prefect_database)


SPRING = ["2027-03-27T01:30", "2027-03-28T01:30", "2027-03-29T00:30"]
"""02:30 in Berlin, in UTC; on the 28th it is missing, and 03:30 stands for it."""

AUTUMN = ["2027-10-30T00:30", "2027-10-31T00:30", "2027-11-01T01:30"]
"""On the 31st 02:30 comes twice, and the first counts."""


@pytest.mark.parametrize("due", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_night_in_which_the_clock_changes_has_one_run(nights, due):
    """Also where Prefect plans further runs in the middle of the change. `deploy list` says when it comes."""
    moments = [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in due]
    nights.set(moments[0] - timedelta(minutes=1))
    with nights.server():
        nights.deploy("night", *AT_HALF_PAST_TWO)
        with nights.worker():
            for count, at in enumerate(moments, start=1):
                assert f"{at:%Y-%m-%d %H:%M} UTC" in nights.command("deploy", "list")
                nights.set(at - timedelta(minutes=59))
                nights.add_shot("night", f"shot-{count}")
                nights.set(at + timedelta(seconds=1))
                nights.wait_over("night", count)
                nights.set(at + timedelta(minutes=61))
                nights.wait(lambda count=count: len(nights.runs("night")) >= count + PLANNED)
                assert list(nights.due("night")) == due[:count]
    assert nights.bought() == Counter(["night", "shot-1", "shot-2", "shot-3"])


def test_a_run_that_is_due_while_another_one_renders_waits_or_is_skipped(nights):
    """The one that waits begins after the other has ended; what is skipped says why."""
    nights.set("2027-03-28 00:59:00")
    with nights.server():
        for overlap in ("wait", "skip"):
            nights.deploy(overlap, *EVERY_TWO_MINUTES, "--overlap", overlap, speed="0.06")
        nights.set("2027-03-28 01:00:01")
        with nights.worker():
            nights.wait(lambda: len(nights.bought()) == 2)
            nights.set("2027-03-28 01:02:01")
            nights.wait(lambda: nights.runs("wait")[1]["state_name"] == "AwaitingConcurrencySlot")
            nights.wait_over("skip", 2)
            nights.wait_over("wait", 2)
        first, second = list(nights.due("wait").values())[:2]
        assert first["end_time"] <= second["start_time"]
        assert nights.said("wait")[:2] == [("Completed", "1 succeeded"), ("Completed", "1 already made")]
        assert nights.said("skip")[:2] == [
            ("Completed", "1 succeeded"),
            ("Cancelled", "Deployment concurrency limit reached."),
        ]
        assert nights.bought() == Counter(["wait", "skip"])


def test_missed_nights_are_caught_up_once_or_never(nights):
    """Server and worker are away for two nights, and back a quarter of an hour after the third was due.

    That one is in time, so it is carried out where missed runs are not caught up.
    """
    nights.set("2027-03-27 01:20")
    with nights.server():
        for name in ("once-wait", "once-skip", "never-wait", "never-skip"):
            catch_up, overlap = name.split("-")
            nights.deploy(name, *AT_HALF_PAST_TWO, "--catch-up", catch_up, "--overlap", overlap)
        nights.deploy("too-late", "--cron", "0 23 * * *", "--catch-up", "never")
    nights.set("2027-03-29 00:45")
    with nights.server(), nights.worker():
        for name in ("once-wait", "once-skip", "never-wait", "never-skip"):
            nights.wait_over(name, 3)
        nights.wait_over("too-late", 2)
        instead = "superseded by the run of 2027-03-29 00:30 UTC"
        assert nights.said("once-wait") == [*[("Superseded", instead)] * 2, ("Completed", "1 succeeded")]
        missed = "missed: it was due at 2027-03-{} UTC, and missed runs are not caught up".format
        assert nights.said("never-wait") == [
            ("Superseded", missed("27 01:30")),
            ("Superseded", missed("28 01:30")),
            ("Completed", "1 succeeded"),
        ]
        for name in ("once-skip", "never-skip"):
            assert [state for state, _ in nights.said(name)].count("Completed") == 1
        assert {state for state, _ in nights.said("too-late")} == {"Superseded"}
        assert nights.bought() == Counter(["once-wait", "once-skip", "never-wait", "never-skip"])


def test_a_clock_that_jumps_by_a_day_while_a_night_renders_buys_nothing_twice(nights):
    """Prefect takes the night's place away and starts the next one beside it, which sends nothing."""
    nights.set("2027-03-25 01:29")
    with nights.server():
        nights.deploy("night", *AT_HALF_PAST_TWO, speed="0.06")
        nights.set("2027-03-25 01:30:01")
        with nights.worker():
            nights.wait(lambda: len(nights.bought()) == 1)
            nights.add_shot("night", "late")
            nights.server_clock.set("2027-03-26 01:30:01")
            assert "its clock differs from this machine's by 86" in nights.command("doctor")
            nights.worker_clock.set("2027-03-26 01:30:01")
            nights.wait_over("night", 2)
            first, second = list(nights.due("night").values())
            assert second["start_time"] < first["end_time"]
            assert first["state"]["message"] == "1 succeeded"
            assert "1 of these in flight; nothing was sent" in second["state"]["message"]
            nights.set("2027-03-27 01:30:01")
            nights.wait_over("night", 3)
        assert nights.said("night")[2] == ("Completed", "1 already made, 1 succeeded")
        assert nights.bought() == Counter(["night", "late"])


def test_runs_are_due_and_missed_by_the_servers_clock(nights):
    """The worker's is more than an hour ahead when the run looks at the others."""
    nights.server_clock.set("2027-03-27 01:59:00")
    nights.worker_clock.set("2027-03-27 03:00:00")
    with nights.server():
        nights.deploy("hourly", "--cron", "0 * * * *")
        nights.deploy("never", "--cron", "0 2 * * *", "--catch-up", "never")
        assert "its clock differs from this machine's by 36" in nights.command("doctor")
        nights.server_clock.set("2027-03-27 02:00:01")
        nights.worker_clock.set("2027-03-27 02:59:00")
        with nights.worker():
            for name in ("hourly", "never"):
                nights.wait(lambda name=name: nights.runs(name)[0]["state_type"] == "PENDING")
            nights.worker_clock.set(nights.server_clock.now() + timedelta(minutes=61))
            for name in ("hourly", "never"):
                nights.wait_over(name, 1)
        assert nights.said("hourly") == nights.said("never") == [("Completed", "1 succeeded")]
        assert nights.bought() == Counter(["hourly", "never"])
