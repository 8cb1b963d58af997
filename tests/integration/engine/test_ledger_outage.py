"""A PostgreSQL that restarts while a run goes on: the run waits, and goes on if it is still its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import callsheet
from callsheet.engine.context import RunContext
from callsheet.ledger import Ledger, verify
from callsheet.sandbox.config import SandboxAddress, SandboxConfig
from callsheet.sandbox.server import running_sandbox
from tests.rig.processes import until
from tests.rig.servers import Cluster, cluster

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(400)]

JOBS, SLOTS = 9, 3


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A PostgreSQL of this test's own."""
    with cluster() as made:
        yield made


@pytest.fixture
def provider(server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxAddress]:
    """A sandbox that renders in about a second; the environment names it and the server."""
    with running_sandbox(SandboxConfig(speed=2.0, draw_seed=False)) as address:
        for name in ("QUEUE", "REST", "CDN"):
            monkeypatch.setenv(f"CALLSHEET_{name}_URL", address.url)
        monkeypatch.setenv("CALLSHEET_PLATFORM_URL", f"{address.url}/v1")
        monkeypatch.setenv("CALLSHEET_LEDGER_URL", server.url)
        monkeypatch.setenv("CALLSHEET_CONCURRENCY", str(SLOTS))
        monkeypatch.setenv("FAL_KEY", address.key)
        monkeypatch.chdir(tmp_path)
        yield address


def accepted(provider: SandboxAddress) -> list[dict[str, Any]]:
    """Return what the provider accepted."""
    key = {"Authorization": f"Key {provider.key}"}
    return list(httpx.get(f"{provider.url}/_sandbox/ledger", headers=key).json()["accepted"])


def test_a_server_that_restarts_in_the_middle_of_a_run_costs_nothing(
    server: Cluster, provider: SandboxAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is bought while it is away, nothing twice afterwards, and the run ends with exit code 0."""
    told: list[str] = []
    monkeypatch.setattr(RunContext, "tell_trouble", lambda _ctx, text: told.append(text))
    rows = [f"boat-{n},An outlasting boat {n},seedance-1.0-lite,480p,29\n" for n in range(JOBS)]
    (tmp_path / "shots.csv").write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))
    with ThreadPoolExecutor(1) as other:
        running = other.submit(callsheet.run, "shots.csv", budget_usd="5")
        until(lambda: len(accepted(provider)) > SLOTS, 60)
        server.stop()
        until(lambda: told and told[-1].startswith("waiting for the ledger"), 60)
        # What renders comes to its end, and nothing takes its place.
        until(lambda: all(each["status"] == "COMPLETED" for each in accepted(provider)), 60)
        while_away = len(accepted(provider))
        server.start()
        summary = running.result(120)

    assert while_away < JOBS
    assert (summary.exit_code, summary.succeeded) == (0, JOBS)
    assert told[-1] == ""
    prompts = [each["arguments"]["prompt"] for each in accepted(provider)]
    assert len(prompts) == len(set(prompts)) == JOBS
    assert len(list(tmp_path.glob("runs/*/media/*.mp4"))) == JOBS
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT fencing_token FROM claim").fetchall() == [(1,)]
    with Ledger.open(server.url) as ledger:
        assert ledger.do(verify.verify) == []
