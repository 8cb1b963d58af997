"""What a running campaign works with: one object, made at the edge, passed down to every step."""

from __future__ import annotations

import asyncio
import random
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callsheet.engine.slots import Places
from callsheet.engine.stopping import StopSign
from callsheet.ledger import Run
from callsheet.media.storage import Storage
from callsheet.provider.client import FalQueue
from callsheet.reconcile.desk import Books, Desk
from callsheet.settings import Settings
from pricing.catalog import Catalog
from pricing.price_list import Pin, catalog_at
from pricing.render_times import RenderTimes

if TYPE_CHECKING:
    from callsheet.engine.work import Work

DOWNLOADS_AT_ONCE = 10
"""Files fetched and verified at once; they hold no slot, so nothing else bounds them."""


@dataclass(slots=True)
class Studio:
    """Everything the steps of a job share. `folder` is the run's own.

    `notes` say what was not finished, `remarks` what a person should know besides. `catalog` has the rates
    that hold now, `pins` all that the run ever had. `may_buy` says that whoever has to has agreed: until the
    approval is given and the canaries are judged, nothing is bought beside the plan's own steps. `work`
    renders the run's jobs, once it has begun, and `watched` is what Prefect is just being told of. `summary`
    is there once the run is finished. `buying` is set with every POST. `under_way` are the jobs that somebody
    here works on, each with what ends when that does.
    """

    settings: Settings
    catalog: Catalog
    books: Books
    queue: FalQueue
    run: Run
    folder: Path
    stop: StopSign
    places: Places
    times: RenderTimes
    desk: Desk
    is_sandbox: bool = False
    may_buy: bool = False
    storage: Storage | None = None
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DOWNLOADS_AT_ONCE))
    uploads: dict[str, asyncio.Lock] = field(default_factory=dict)
    followed: set[asyncio.Future[Any]] = field(default_factory=set)
    under_way: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    buying: asyncio.Event = field(default_factory=asyncio.Event)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    pins: tuple[Pin, ...] = ()
    work: Work | None = None
    watched: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    summary: dict[str, Any] | None = None
    seeds: random.Random = field(default_factory=random.SystemRandom)

    def catalog_at(self, at_ms: int | None) -> Catalog:
        """Return the catalog with the rates at which something was bought; those of now without a time."""
        if at_ms is None or len(self.pins) < 2:
            return self.catalog
        return catalog_at(self.catalog, self.pins, at_ms)

    @property
    def again(self) -> str:
        """The command that goes on with this run."""
        return f"callsheet resume {self.run.run_id}" + " --sandbox" * self.is_sandbox

    @property
    def media(self) -> Path:
        """Where finished videos go."""
        return self.folder / "media"


current_studio: ContextVar[Studio] = ContextVar("current_studio")
"""The studio of the flow that is running: Prefect's tasks take ids only, so that nothing secret and nothing
large ever becomes a parameter."""
