"""A machine that vanishes without a word: whoever is left takes up its work."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import namedtuple_row

from callsheet.ledger import Ledger, verify
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.launcher import SandboxAddress
from callsheet.sandbox.server import running_sandbox
from tests.rig.networks import Machine, machine
from tests.rig.processes import until
from tests.rig.servers import Cluster, cluster

pytestmark = [pytest.mark.postgres, pytest.mark.xdist_group("network"), pytest.mark.timeout(400)]

SLOTS = 3
VERB = """
import json
import sys

import callsheet.api
from callsheet.engine import admit, reconcile_loop
from callsheet.errors import ClaimLost

admit.SLOT_LOOK_S, reconcile_loop.LOOK_EVERY_S = 0.2, 1.0
sys.stdin.readline()
try:
    done = getattr(callsheet, sys.argv[1])(sys.argv[2], **json.loads(sys.argv[3]))
except ClaimLost as error:
    sys.exit(str(error))
print(json.dumps(dict(done.document)))
sys.exit(done.exit_code)
"""


class Scene:
    """A ledger and a provider that two machines use, and what each of them knows."""

    def __init__(self, folder: Path, server: Cluster, sandbox: SandboxAddress) -> None:
        self.folder, self.server, self.sandbox = folder, server, sandbox

    @contextmanager
    def started(self, verb: str, what: str, *, on: Machine | None = None, **options: Any) -> Iterator[Any]:
        """A verb of the library in a process of its own, on a machine (this one by default).

        It begins with the first line that it is told.
        """
        command = [sys.executable, "-W", "ignore", "-c", VERB, verb, what, json.dumps(options)]
        url = self.sandbox.url
        addresses = {f"CALLSHEET_{name}_URL": url for name in ("QUEUE", "REST", "CDN")}
        process = subprocess.Popen(
            on.command(command) if on else command,
            cwd=self.folder,
            env={
                **os.environ,
                **addresses,
                "CALLSHEET_PLATFORM_URL": f"{url}/v1",
                "CALLSHEET_LEDGER_URL": self.server.url,
                "CALLSHEET_CONCURRENCY": str(SLOTS),
                "FAL_KEY": self.sandbox.key,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def manifest(self, campaign: str, jobs: int) -> str:
        """Write a manifest of small shots."""
        rows = [f"{campaign}-{n},The {campaign} boat {n},seedance-1.0-lite,480p,29\n" for n in range(jobs)]
        path = self.folder / f"{campaign}.csv"
        path.write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))
        return str(path)

    def truth(self) -> dict[str, Any]:
        """What the provider accepted."""
        key = {"Authorization": f"Key {self.sandbox.key}"}
        return dict(httpx.get(f"{self.sandbox.url}/_sandbox/ledger", headers=key).json())

    def bought(self, campaign: str) -> int:
        """Count the requests that the provider accepted for a campaign."""
        accepted = self.truth()["accepted"]
        return sum(each["arguments"]["prompt"].startswith(f"The {campaign} ") for each in accepted)

    def hurry(self) -> None:
        """What starts to render from now on is there at once."""
        key = {"Authorization": f"Key {self.sandbox.key}"}
        reply = httpx.post(f"{self.sandbox.url}/_sandbox/speed", headers=key, json={"speed": 1000})
        reply.raise_for_status()

    def claim(self) -> Any:
        """Return the claim of the lost machine's run."""
        query = "SELECT claim.* FROM claim JOIN run USING (run_id) WHERE campaign = 'lost'"
        with psycopg.connect(self.server.url, row_factory=namedtuple_row) as connection:
            return connection.execute(query).fetchone()


@pytest.fixture
def other() -> Iterator[Machine]:
    """The machine that vanishes."""
    with machine() as made:
        yield made


@pytest.fixture
def scene(tmp_path: Path, other: Machine) -> Iterator[Scene]:
    """PostgreSQL and the provider, on this side of the cable."""
    config = SandboxConfig(host=other.here, speed=0.1, draw_seed=False)
    with cluster(other.here, clients="198.18.0.0/15") as server, running_sandbox(config) as sandbox:
        yield Scene(tmp_path, server, sandbox)


def begin(process: "subprocess.Popen[str]") -> None:
    """Let a process begin."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def over(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a process and return how it ended and what it said."""
    said, told = process.communicate(timeout=240)
    return process.returncode, said, told


def test_a_machine_that_vanishes_is_replaced_by_a_run_that_is_there(scene: Scene, other: Machine) -> None:
    """Its three renders are taken up within a minute, and it buys nothing more when it comes back.

    No packet says goodbye: its sessions at PostgreSQL stay open, with a lease on its run.
    """
    lost, beside = scene.manifest("lost", 2 * SLOTS), scene.manifest("beside", 2)
    with ExitStack() as ends:
        owner = ends.enter_context(scene.started("run", lost, on=other, budget_usd="5"))
        second = ends.enter_context(scene.started("run", beside, budget_usd="5"))
        begin(owner)
        until(lambda: scene.bought("lost") == SLOTS, 60)
        begin(second)
        assert second.stderr is not None
        assert "waiting for a slot" in second.stderr.readline()
        other.cut()
        scene.hurry()
        before = scene.claim()
        until(lambda: scene.claim().fencing_token > before.fencing_token, 60)
        assert scene.claim().claimed_ms >= before.expires_ms
        assert over(second)[0] == 0

        other.mend()
        status, said, told = over(owner)
        assert (status, said) == (1, "")  # Python's own code for a message
        assert f"run {before.run_id} was taken over by another process" in told
        assert "never retrieved" not in told
        assert scene.bought("lost") == SLOTS

        resumed = ends.enter_context(scene.started("resume", before.run_id))
        begin(resumed)
        status, said, _ = over(resumed)
    assert (status, json.loads(said)["succeeded"]) == (0, 2 * SLOTS)
    truth = scene.truth()
    prompts = [each["arguments"]["prompt"] for each in truth["accepted"]]
    assert len(prompts) == len(set(prompts)) == 2 * SLOTS + 2
    assert truth["open_max"] == SLOTS
    assert len(list(scene.folder.glob("runs/*/media/*.mp4"))) == 2 * SLOTS + 2
    with Ledger.open(scene.server.url) as ledger:
        assert ledger.do(verify.verify) == []
