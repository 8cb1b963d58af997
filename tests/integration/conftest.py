"""A real sandbox, a real ledger, and a clock that can be told that something happened a while ago."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from callsheet.engine.collect_runs import settle_and_collect
from callsheet.engine.context import RunContext, context_of
from callsheet.engine.open_run import open_run, select
from callsheet.engine.price_check import check_run_prices
from callsheet.engine.request import RunRequest
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.stopping import StopSignal
from callsheet.ledger import JobRow, Ledger, queries, verify
from callsheet.ledger.executor import LedgerExecutor
from callsheet.provider.client import FalQueue
from callsheet.provider.platform import FalPlatform
from callsheet.reconciliation.account import AccountSession
from callsheet.sandbox.config import LIMITED_KEY, SandboxConfig
from callsheet.sandbox.faults import Fault, FaultBook
from callsheet.sandbox.launcher import SandboxAddress
from callsheet.sandbox.server import running_sandbox
from callsheet.settings import ApiKey, Settings
from manifests.plan import PlanOptions
from manifests.planner import make_plan
from pricing.catalog import load_catalog

HEADER = "custom_id,prompt,model,resolution,num_frames,seed\n"
LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
MINUTE_MS = 60_000
DUE_MS = 101 * MINUTE_MS
"""Just longer ago than the deadline (3600 + 1800 + 600 s), and within what clocks may differ by."""


SECOND_LOOK_MS = 301_000
"""Just longer than what lies between two looks of which the second one decides (half the history's lag)."""


PLAIN = httpx.Client()
"""Asks the sandbox. A client of its own for each question would read the certificates each time."""


class InStep(httpx.AsyncHTTPTransport):
    """fal's platform API with its clock (the Date header) set to the house's."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(verify=False)
        self._now_ms = now_ms

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.headers["date"] = formatdate(self._now_ms() / 1000, usegmt=True)
        return response


SILENT = ("hang", "late", "slow_reply")
"""Faults after which a reply is waited for in vain."""


class Impatient(FalQueue):
    """Gives a POST `patience_s` where the real one gives it a minute."""

    patience_s = 60.0

    async def submit(self, endpoint_id: str, arguments: Any, **more: Any) -> Any:
        return await super().submit(endpoint_id, arguments, deadline_s=self.patience_s, **more)


@dataclass
class House:
    """One sandbox and one ledger; `ago_ms` is how far behind the wall clock our own clock is."""

    folder: Path
    address: SandboxAddress
    faults: FaultBook
    ago_ms: int = 0
    transport: Callable[[], httpx.AsyncBaseTransport | None] = lambda: None
    """What the platform API is reached through; by default, simply the network."""
    queue_transport: Callable[[], httpx.AsyncBaseTransport | None] = lambda: None
    """What the queue is reached through."""
    changes: dict[str, Any] = field(default_factory=dict)
    patience_s: float = 60.0
    controls: int = 0
    earlier: int = 0
    """The number of the last request that an earlier test sent to the same sandbox."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 - self.ago_ms

    @property
    def settings(self) -> Settings:
        url = self.address.url
        made = Settings(
            data_dir=self.folder,
            key=ApiKey(self.address.key),
            queue_url=url,
            rest_url=url,
            cdn_url=url,
            platform_url=f"{url}/v1",
            ledger_url=f"sqlite:///{self.folder / 'ledger.sqlite'}",
            out=str(self.folder / "runs"),
        )
        return replace(made, **self.changes)

    @asynccontextmanager
    async def account(self) -> AsyncIterator[AccountSession]:
        """Open everything, as `open_account` does, with this house's clock and an impatient queue."""
        ledger = Ledger.open(self.settings.ledger, clock=self.now_ms)
        books = LedgerExecutor(ledger)
        platform = FalPlatform(
            self.settings, canonical=load_catalog().canonical, transport=self.transport(), sleep=_at_once
        )
        try:
            async with Impatient(self.settings, transport=self.queue_transport()) as queue, platform:
                queue.patience_s = self.patience_s
                yield AccountSession(
                    settings=self.settings,
                    catalog=load_catalog(),
                    ledger=ledger,
                    do=books,
                    queue=queue,
                    platform=platform,
                    now_ms=self.now_ms,
                )
        finally:
            books.close()
            ledger.close()

    def open_run(
        self,
        *shots: str,
        campaign: str = "spring",
        model: str = "seedance-1.0-lite",
        num_frames: str = "29",
        out: str | None = None,
    ) -> str:
        """Plan and open a run of small shots; each is `custom_id,prompt[,seed]`."""
        rows = []
        for shot in shots:
            name, prompt, *seed = shot.split(",")
            rows.append(f"{name},{prompt},{model},480p,{num_frames},{''.join(seed)}\n")
        source = self.folder / f"{campaign}.csv"
        source.write_text(HEADER + "".join(rows))
        return self.open_source(source, out=out)

    def open_source(self, source: Path, *, out: str | None = None) -> str:
        """Plan a manifest and open a run of all of it."""
        plan = make_plan(str(source), overrides=PlanOptions())
        request = RunRequest(source=str(source), sandbox=True, speed=5000, out=out)
        with Ledger.open(self.settings.ledger, clock=self.now_ms) as ledger:
            selection = select(ledger, plan, fit=False)
            return open_run(
                ledger, plan, selection, out=self.folder / "runs", options=request.model_dump_json()
            )

    def arm(self, kind: str, **more: Any) -> None:
        if kind in SILENT:
            self.patience_s = 0.5
        self.faults.arm(Fault(kind=kind, **more))

    def request(self, run_id: str) -> RunRequest:
        return RunRequest(run_id=run_id, sandbox=True, speed=5000)

    def rows(self, run_id: str) -> list[JobRow]:
        with Ledger.open(self.settings.ledger) as ledger:
            return ledger.do(queries.jobs, run_id)

    def row(self, run_id: str) -> JobRow:
        (row,) = self.rows(run_id)
        return row

    def truth(self) -> dict[str, Any]:
        """What the provider itself says it accepted."""
        key = {"Authorization": f"Key {self.address.key}"}
        truth = dict(PLAIN.get(f"{self.address.url}/_sandbox/ledger", headers=key).json())
        truth["accepted"] = [each for each in truth["accepted"] if each["number"] > self.earlier]
        return truth

    def accepted(self, prompt: str) -> list[dict[str, Any]]:
        return [each for each in self.truth()["accepted"] if each["arguments"].get("prompt") == prompt]

    def context(self, account: AccountSession, run_id: str, stop: StopSignal | None = None) -> RunContext:
        """Return the context of a run, with short pauses between attempts to fetch a file."""
        run = account.ledger.do(queries.run, run_id)
        ctx = context_of(account, run, self.request(run_id), stop or StopSignal())
        ctx.state.fetch_pauses_s = (0.0, 0.0)
        return ctx

    async def work(self, run_id: str) -> RunContext:
        """Do what a run does, without Prefect and without looking back first; returns what it worked with."""
        async with self.account() as account:
            ctx = await check_run_prices(self.context(account, run_id), accept=False)
            await run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id)))
            return ctx

    async def settled(self) -> Any:
        """Do what `callsheet reconcile` does."""
        async with self.account() as account:
            return await settle_and_collect(account)

    async def looked_again(self) -> Any:
        """Let the time between two looks pass, at fal too, and do what `callsheet reconcile` does."""
        self.ago_ms -= SECOND_LOOK_MS
        before, self.transport = self.transport, lambda: InStep(self.now_ms)
        try:
            return await self.settled()
        finally:
            self.transport = before

    async def ended(self, prompt: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until the provider has rendered this many requests with that prompt."""
        while True:
            mine = self.accepted(prompt)
            if len([each for each in mine if each["status"] == "COMPLETED"]) >= count:
                return mine
            await asyncio.sleep(0.01)

    def buy_by_hand(self, body: dict[str, Any], *, endpoint: str = LITE, **headers: str) -> str:
        """Send a POST that no ledger knows of."""
        reply = PLAIN.post(
            f"{self.address.url}/{endpoint}",
            json=body,
            headers={"Authorization": f"Key {self.address.key}", **headers},
        )
        return str(reply.json()["request_id"])

    async def control(self, **more: Any) -> None:
        """Buy a video that the ledger knows: a history is believed only where it shows one of our own."""
        self.controls += 1
        await self.work(self.open_run(f"control,A known boat {self.controls}", campaign="control", **more))

    def with_an_ordinary_key(self) -> None:
        self.changes["key"] = ApiKey(LIMITED_KEY)

    def sound(self) -> bool:
        """Every invariant of the ledger holds."""
        with Ledger.open(self.settings.ledger) as ledger:
            return ledger.do(verify.verify) == []


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
def anyio_backend() -> str:
    """The loop that async tests run in."""
    return "asyncio"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[tuple[SandboxAddress, FaultBook]]:
    """One sandbox for all of these tests: each test has prompts of its own."""
    faults = FaultBook()
    with running_sandbox(SandboxConfig(speed=5000, draw_seed=False), faults=faults) as address:
        yield address, faults
    PLAIN.close()


@pytest.fixture(scope="session")
def new_house(sandbox: Any) -> Callable[[Path], House]:
    """Give empty ledgers beside the sandbox, for fixtures that several tests share."""
    return lambda folder: House(folder, *sandbox)


@pytest.fixture
def house(sandbox: Any, tmp_path: Path) -> Iterator[House]:
    """An empty ledger beside the sandbox, without a fault armed before and after."""
    address, faults = sandbox
    faults.fired.clear()
    faults.clear()
    made = House(tmp_path, address, faults)
    made.earlier = max((each["number"] for each in made.truth()["accepted"]), default=0)
    yield made
    faults.clear()


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """Serve the S3 protocol on a free port of this machine and return the server's address."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_client(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Point s3fs at the server by the environment, as a person does, with one bucket: `there`."""
    environment = {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
    }
    for name, value in {**environment, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="there")
    yield client
    S3FileSystem.clear_instance_cache()
