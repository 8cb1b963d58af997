"""What the steps of a run share: a frozen context, and the little state that changes while it goes on."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callsheet.engine.limits import Breaker, Limiter, SlotLine
from callsheet.engine.request import RunRequest, results_address
from callsheet.engine.spans import Spans, exported_spans, no_spans
from callsheet.engine.stopping import StopSignal
from callsheet.ledger import JobRow, Ledger, Range, Run, State, queries
from callsheet.ledger.executor import LedgerExecutor
from callsheet.media.decoders import Decoders
from callsheet.media.storage import ObjectStore, open_storage
from callsheet.notify.sending import Announcer
from callsheet.provider.client import FalQueue, quiet_http_logs
from callsheet.provider.platform import FalPlatform
from callsheet.reconciliation.account import AccountSession, Scope
from callsheet.reconciliation.webhook_address import WebhookAddress, webhook_address
from callsheet.settings import Settings
from callsheet.wording import command
from manifests.look import LookRules, read_look
from pricing.catalog import Catalog, load_catalog
from pricing.pins import Pin, at_pin, read_pins
from pricing.render_times import RenderTimes

logger = logging.getLogger(__name__)

DOWNLOADS_AT_ONCE = 10
"""Files fetched and verified at the same time. They hold no slot."""


FETCH_PAUSES_S = (0.5, 1, 2, 4, 8, 15, 30, 60, 60, 60, 60, 60)
"""Pauses between attempts to fetch a file, in seconds: six minutes in all. A media host that answers badly
for some seconds, or restarts, must not cost a clip."""

SILENT_S = 30.0
"""Longer than any pause between two questions: without an answer for so long, fal does not answer."""


@dataclass(frozen=True, slots=True)
class Polled:
    """A job at fal, as fal last described it.

    `answered_s` is when fal last answered about it (monotonic clock). `position` is how many requests are
    ahead of it, None where fal does not say or it renders. `overdue` says which timeout has passed, "" while
    none has.
    """

    answered_s: float
    position: int | None = None
    overdue: str = ""

    def silent_s(self, now_s: float) -> float:
        """Return for how long fal has not answered; 0 while its last answer is recent."""
        silence_s = now_s - self.answered_s
        return silence_s if silence_s > SILENT_S else 0.0


@dataclass(slots=True)
class RunState:
    """What changes while a run goes on.

    `unfinished` names jobs that were not finished and why; `notices` is what a person should know besides.
    `may_buy` is False until the approval is given and the canaries are judged. `cancelled` is set where a
    person cancelled the run or did not approve it. `trouble` says why nothing can be sent at the moment, ""
    while all is well. `active` holds the jobs being worked on in this process, `polled` what fal last said of
    those that it has.
    `bought` is set with every POST. `background` are the jobs that the reconcile loop follows. `begun` is set
    when a flow begins to carry out the run. `summary` is there once the run is `finalized`. `shards` are
    those that Prefect's tasks render, by number. `fetch_pauses_s` are the pauses between attempts to fetch a
    file. `accepting` are endpoints of which fal has accepted a request in this run; the others' requests go
    one at a time (`first_requests`). `lost` are jobs whose submission got no reply here, until their request
    id is known; `unjudged` are rendered jobs whose next ones wait until a clip of the price group has passed.
    """

    limiter: Limiter
    breaker: Breaker
    times: RenderTimes
    fetch_pauses_s: tuple[float, ...] = FETCH_PAUSES_S
    unfinished: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    may_buy: bool = False
    cancelled: bool = False
    trouble: str = ""
    active: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    polled: dict[int, Polled] = field(default_factory=dict)
    background: set[asyncio.Future[Any]] = field(default_factory=set)
    bought: asyncio.Event = field(default_factory=asyncio.Event)
    upload_locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DOWNLOADS_AT_ONCE))
    seeds: random.Random = field(default_factory=random.SystemRandom)
    summary: dict[str, Any] | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    finalized: asyncio.Event = field(default_factory=asyncio.Event)
    shards: dict[int, Any] = field(default_factory=dict)
    accepting: set[str] = field(default_factory=set)
    first_requests: dict[str, asyncio.Lock] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    unjudged: dict[str, set[int]] = field(default_factory=dict)
    slot_line: SlotLine = field(default_factory=SlotLine)

    def notice(self, text: str) -> None:
        """Add a notice, once."""
        if text not in self.notices:
            self.notices.append(text)

    def note_unfinished(self, text: str) -> None:
        """Add to what was not finished, once."""
        if text not in self.unfinished:
            self.unfinished.append(text)


NAMED = 20


def named(things: Iterable[object]) -> str:
    """Return the first few of these in words: `a, b, c, d, e and 12 more`."""
    listed = [str(each) for each in things]
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def _silent(_text: str) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Everything that the steps of a run need.

    `catalog` has the rates that hold now, `pins` all rates that the run ever had. `folder` is the run's own.
    `within` is the part of the run that is carried out here, None for the whole.
    `storage` is where results are copied to, None where the folder is all there is. `look` says what is
    flagged in clips. `tell` shows one line to the person who watches. `announcer` passes on what happens.
    `webhook` makes the addresses at which fal reports, None where it is not asked to. `spans` begins a span.
    """

    account: AccountSession
    run: Run
    request: RunRequest
    catalog: Catalog
    pins: tuple[Pin, ...]
    folder: Path
    look: LookRules
    storage: ObjectStore | None
    stop: StopSignal
    state: RunState
    tell: Callable[[str], None] = _silent
    within: Range | None = None
    announcer: Announcer = field(default_factory=Announcer)
    webhook: WebhookAddress | None = None
    spans: Spans = no_spans

    @property
    def scope(self) -> Scope:
        """The jobs that are carried out here."""
        return Scope.of(self.run.run_id, self.within)

    async def jobs(self, *states: State) -> list[JobRow]:
        """Return the jobs that are carried out here, or those in one of these states."""
        return await self.do(queries.jobs, self.run.run_id, states=states or None, within=self.within)

    def span(self, name: str, row: JobRow, *, attempt: int | None = None) -> AbstractContextManager[object]:
        """Begin a span of a job: of its latest attempt, where no other is given."""
        told: dict[str, str | int] = {"run": self.run.run_id, "job": row.custom_id, "endpoint": row.endpoint}
        told["attempt"] = row.attempt if attempt is None else attempt
        if attempt is None and row.ticket is not None:
            told["request_id"] = row.ticket.request_id
        return self.spans(name, told)

    @property
    def settings(self) -> Settings:
        """The settings of the account."""
        return self.account.settings

    @property
    def queue(self) -> FalQueue:
        """Fal's queue."""
        return self.account.queue

    @property
    def do(self) -> LedgerExecutor:
        """The ledger, called from the event loop: `await ctx.do(queries.job, job_id)`."""
        return self.account.do

    @property
    def media(self) -> Path:
        """The folder of finished videos."""
        return self.folder / "media"

    def tell_trouble(self, text: str) -> None:
        """Say why nothing can be sent at the moment, or with "" that it can again; each change once."""
        if text == self.state.trouble:
            return
        self.state.trouble = text
        logger.warning("%s", text or "submitting again", extra={"run": self.run.run_id})
        self.tell(text or "submitting again")

    @property
    def resume_command(self) -> str:
        """The command that goes on with this run."""
        return command("resume", self.run.run_id, sandbox=self.request.sandbox)

    @property
    def retry_command(self) -> str:
        """The command that tries this run's failed jobs again."""
        return command("retry", self.run.run_id, sandbox=self.request.sandbox)


def context_of(
    account: AccountSession,
    run: Run,
    request: RunRequest,
    stop: StopSignal,
    tell: Callable[[str], None] = _silent,
    *,
    within: Range | None = None,
    folder: Path | None = None,
) -> RunContext:
    """Return the context of a run, or of a part of it, with the prices that are pinned for it.

    `folder` is the run's folder on this machine where that is another one than the run was opened in.
    """
    pins = read_pins(run.prices, account.catalog)
    address = results_address(run)
    settings = account.settings
    state = RunState(
        limiter=Limiter(settings.concurrency),
        breaker=Breaker(settings.breaker),
        # Until renders have been seen, the sandbox is expected to render at the speed it was asked for.
        times=RenderTimes(scale=1 / request.speed if request.sandbox else 1.0),
    )
    return RunContext(
        account=account,
        run=run,
        request=request,
        catalog=at_pin(account.catalog, pins[-1]),
        pins=pins,
        folder=folder or Path(run.out),
        look=read_look(run.look),
        storage=open_storage(address) if address else None,
        stop=stop,
        state=state,
        tell=tell,
        within=within,
        webhook=webhook_address(settings),
        spans=exported_spans() if settings.traces else no_spans,
    )


current_run: ContextVar[RunContext | None] = ContextVar("current_run", default=None)
"""The run that this process carries out. Prefect's flow and tasks take ids only as parameters, so that
nothing secret and nothing large reaches Prefect's server; they find the rest here."""


@contextmanager
def as_current_run(ctx: RunContext) -> Iterator[None]:
    """Let Prefect's flow and tasks that begin inside find this run."""
    token = current_run.set(ctx)
    try:
        yield
    finally:
        current_run.reset(token)


@asynccontextmanager
async def open_account(settings: Settings) -> AsyncIterator[AccountSession]:
    """Open the ledger, fal's queue and fal's platform API, and close them at the end.

    Raises LedgerError where the ledger cannot be opened.
    """
    quiet_http_logs()
    ledger = await asyncio.to_thread(Ledger.open, settings.ledger)
    executor, decoders = LedgerExecutor(ledger), Decoders()
    try:
        catalog = load_catalog()
        platform_api = FalPlatform(settings, canonical=catalog.canonical)
        async with FalQueue(settings) as queue, platform_api as platform:
            yield AccountSession(
                settings=settings,
                catalog=catalog,
                ledger=ledger,
                do=executor,
                queue=queue,
                platform=platform,
                decode=decoders,
                prepare_decoding=decoders.prepare,
            )
    finally:
        decoders.close()
        executor.close()
        ledger.close()
