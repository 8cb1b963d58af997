"""A PostgreSQL that restarts while a run goes on: the run waits, and goes on if it is still its own."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import callsheet
from callsheet.engine import outage
from callsheet.engine.context import RunContext
from callsheet.engine.reconcile_loop import settle_rest
from callsheet.engine.run import carry_out
from callsheet.errors import LedgerUnavailable
from callsheet.ledger import Ledger, queries, verify
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.launcher import SandboxAddress
from callsheet.sandbox.server import running_sandbox
from tests.rig.processes import until
from tests.rig.servers import Cluster, cluster

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


@pytest.mark.postgres
@pytest.mark.timeout(400)
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


@dataclass
class OftenLost:
    """The ledger, which is lost at each verb of a run, and at the n-th verb of its n-th job.

    It is lost before the verb happens, or after it was committed.
    """

    do: Any
    is_committed: bool
    uses: Counter[Any] = field(default_factory=Counter)

    async def __call__(self, verb: Any, *args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else None
        job_id = first if isinstance(first, int) else getattr(first, "job_id", None)
        used = job_id or verb
        self.uses[used] += 1
        if self.uses[used] != (job_id or 1):
            return await self.do(verb, *args, **kwargs)
        if self.is_committed:
            await self.do(verb, *args, **kwargs)
        raise LedgerUnavailable("the server restarts")

    async def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function on the ledger. The server is there again."""
        return await self.do.call(function, *args, **kwargs)


@pytest.mark.anyio
@pytest.mark.parametrize("is_committed", [False, True])
async def test_a_run_goes_on_wherever_the_ledger_is_lost(house, monkeypatch, *, is_committed):
    """At whatever step: each job is bought once, and the run ends as if nothing had happened."""
    monkeypatch.setattr(outage, "PAUSES_S", (0.0,))
    prompts = [f"An outlasting boat {n}" for n in range(24)]
    run_id = house.open_run(*(f"{n},{prompt}" for n, prompt in enumerate(prompts)))
    async with house.account() as account:
        ledger = OftenLost(account.do, is_committed)
        summary = await carry_out(house.context(replace(account, do=ledger), run_id))
    assert (summary["exit_code"], summary["statuses"]) == (0, {"succeeded": len(prompts)})
    assert [len(house.accepted(prompt)) for prompt in prompts] == [1] * len(prompts)
    assert ledger.uses[1] < len(prompts)  # the last jobs lose nothing: every step was lost for another one


@pytest.mark.anyio
async def test_an_outage_is_no_job_that_was_not_finished(house):
    """A look for unknown requests that meets it is broken off, and the summary names nothing for it."""
    run_id = house.open_run("a,A boat in an outage")
    async with house.account() as account:
        ledger = OftenLost(account.do, is_committed=False)
        ctx = house.context(replace(account, do=ledger), run_id)
        await settle_rest(ctx)
    assert (ledger.uses[queries.open_jobs], ctx.state.unfinished) == (1, [])
