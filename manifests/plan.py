"""The plan: every job with its price, the caps over them, and one hash over all of it. Nothing is spent."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from callsheet.errors import Problem
from callsheet.settings import Settings
from manifests.job import DRAFT_RESOLUTION, Job
from manifests.look import LookRules, RetakeRules
from manifests.plan_hash import plan_hash, rows_of_jobs
from manifests.row_filter import RowFilter
from manifests.table import MAX_BYTES
from pricing.budgets import Cap, Spend, first_spellings
from pricing.quotes import Quote, Shot


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the command line or the environment says about a plan; it goes before the campaign file.

    `budget_usd` is text as a person types it, and caps this run; the caps of the campaign file hold as well.
    `defaults` fills columns that are absent or empty. `input_root` is the one folder that local pictures may
    come from, instead of the manifest's folder and the working directory. `allow_private_hosts` lets
    manifests be fetched from addresses inside the network; a plan file never says so. `header_row` and
    `skip_hidden` are as in `ReadOptions`; `manifest_max_mb` bounds CSV and JSONL files, in MiB. `rows` says
    which rows are taken. `pictures_from` is as in `ReadOptions`, and `campaign` the campaign's name, both for
    rows in memory.
    """

    budget_usd: str | None = None
    concurrency: int | None = None
    out: str | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    input_root: Path | None = None
    allow_private_hosts: bool = False
    header_row: int | None = None
    skip_hidden: bool = False
    manifest_max_mb: int = MAX_BYTES >> 20
    rows: RowFilter = field(default_factory=RowFilter)
    pictures_from: Path | None = None
    campaign: str | None = None

    def under(self, settings: Settings) -> PlanOptions:
        """Return the options with what the environment allows of reading manifests."""
        return replace(
            self,
            allow_private_hosts=settings.allow_private_hosts,
            manifest_max_mb=settings.manifest_max_mb,
        )


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job, its price, and the row it came from.

    `cells` is the row as text, with the campaign's renamings, defaults and templates applied; `file` is where
    it stands.
    """

    job: Job
    quote: Quote
    fingerprint: str
    cells: Mapping[str, str]
    file: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Total:
    """How many jobs, and what they cost in nano-dollars."""

    jobs: int
    expected_nano: int
    maximum_nano: int


class Size(NamedTuple):
    """How large a clip is, and where it is made. `pixels` is width x height."""

    endpoint_id: str
    resolution: str
    pixels: int
    frames: int


@dataclass(frozen=True, slots=True)
class Part:
    """Some jobs together: totals by model and client, and by size."""

    groups: Mapping[tuple[str, str], Total]
    sizes: Mapping[Size, Total]

    @property
    def total(self) -> Total:
        """All of them together."""
        return _sum(self.groups.values())


@dataclass(frozen=True, slots=True)
class Summary(Part):
    """All jobs of a plan together; `rows` is what the plan's hash takes of them."""

    rows: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerCaps:
    """The caps that a ledger, known by its id, had under the names of a plan's own when it was shown."""

    ledger_id: str
    caps: tuple[Cap, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that a run would buy.

    `source` is what the plan was made from (a manifest, its address, or a campaign file); `out` and
    `concurrency` are None where nothing was said. `caps` holds those of the campaign file and the run's own.
    `priority` and `share` say who goes first where several campaigns wait for slots.
    `jobs` of a large plan are read from disk when they are asked for; `counted` is then known already.
    `look` says what a technical look at the clips flags, and `retakes` what of it is bought again.
    `shown_with` are the caps of the ledger that a plan file was written beside, None where none was there.
    """

    campaign: str
    source: Path | str
    jobs: Sequence[PlannedJob]
    caps: tuple[Cap, ...]
    price_book: str
    warnings: tuple[Problem, ...] = ()
    out: str | None = None
    concurrency: int | None = None
    priority: int = 0
    share: int = 1
    options: PlanOptions = field(default_factory=PlanOptions)
    counted: Summary | None = None
    look: LookRules = field(default_factory=LookRules)
    retakes: RetakeRules | None = None
    shown_with: LedgerCaps | None = None

    @cached_property
    def summary(self) -> Summary:
        """All jobs together, by model and client."""
        return self.counted or summary_of(self.jobs)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over every job's content and price, the caps and the price book."""
        return plan_hash(
            campaign=self.campaign,
            price_book=self.price_book,
            caps=self.caps,
            jobs=self.total.jobs,
            rows=self.summary.rows,
            retakes=self.retakes,
        )

    @cached_property
    def total(self) -> Total:
        """All jobs together."""
        return self.summary.total

    def by_model(self) -> dict[str, Total]:
        """Totals by the model's alias, in the order of the jobs."""
        return _grouped((model, total) for (model, _), total in self.summary.groups.items())

    def by_client(self) -> dict[str, Total]:
        """Totals by client as first spelled; "" for the jobs that name none."""
        spelled = first_spellings(client for _, client in self.summary.groups)
        return _grouped((spelled[client], total) for (_, client), total in self.summary.groups.items())

    def by_resolution(self) -> dict[str, Total]:
        """Totals by resolution, in the order of the jobs."""
        return _grouped((size.resolution, total) for size, total in self.summary.sizes.items())

    def demands(self) -> list[Spend]:
        """Return what is needed by model and client: it says whether all fits without a look at any job."""
        return [
            Spend(self.campaign, client, model, priority=0, maximum_nano=total.maximum_nano)
            for (model, client), total in self.summary.groups.items()
        ]

    def spends(self, positions: Collection[int] | None = None) -> list[Spend]:
        """Return what budgets need to know of every job, or of those at these positions, in order."""
        wanted = range(len(self.jobs)) if positions is None else frozenset(positions)
        if isinstance(self.jobs, StoredJobs):
            rows = self.jobs.values("client", "model", "priority", "maximum_nano")
            return [Spend(self.campaign, *row) for at, row in enumerate(rows) if at in wanted]
        return [self.spend(each) for at, each in enumerate(self.jobs) if at in wanted]

    def spend(self, planned: PlannedJob) -> Spend:
        """Return what budgets need to know of one job."""
        job = planned.job
        return Spend(self.campaign, job.client, job.endpoint.model, job.priority, planned.quote.maximum_nano)

    def largest_take(self) -> int:
        """Return the largest number of a take, at least 1."""
        if isinstance(self.jobs, StoredJobs):
            return max((int(take) for (take,) in self.jobs.values("take")), default=1)
        return max((planned.job.take for planned in self.jobs), default=1)

    def identities(self) -> Iterator[tuple[str, str]]:
        """Yield every job's fingerprint and custom_id, in order."""
        if isinstance(self.jobs, StoredJobs):
            ids = (custom_id for (custom_id,) in self.jobs.values("custom_id"))
            return zip(self.jobs.fingerprints(), ids, strict=True)
        return ((planned.fingerprint, planned.job.custom_id) for planned in self.jobs)

    def picked(self, positions: Iterable[int]) -> Iterator[tuple[int, PlannedJob]]:
        """Yield the jobs at these positions, with them, in ascending order."""
        wanted = sorted(positions)
        if isinstance(self.jobs, StoredJobs):
            return zip(wanted, self.jobs.picked(wanted), strict=True)
        return ((position, self.jobs[position]) for position in wanted)

    def part(self, positions: Container[int]) -> Part:
        """Add up the jobs at these positions."""
        return part_of(Counter(kind for at, kind in enumerate(_kinds(self.jobs)) if at in positions))


def summary_of(jobs: Sequence[PlannedJob]) -> Summary:
    """Count jobs that are in memory."""
    part = part_of(Counter(_kinds(jobs)))
    rows = rows_of_jobs([(each.job, each.quote) for each in jobs])
    return Summary(part.groups, part.sizes, rows)


class JobKind(NamedTuple):
    """What the totals know of a job, by the columns of the plan's table."""

    model: str
    client: str
    endpoint: str
    resolution: str
    draft: str
    width_px: int
    height_px: int
    frames: int
    expected_nano: int
    maximum_nano: int


def _kinds(jobs: Sequence[PlannedJob]) -> Iterator[tuple[Any, ...]]:
    if isinstance(jobs, StoredJobs):
        yield from jobs.values(*JobKind._fields)
        return
    for planned in jobs:
        job, price = planned.job, planned.quote
        size = (price.width_px, price.height_px, price.frames)
        amounts = (price.expected_nano, price.maximum_nano)
        draft = "true" if job.draft else ""
        yield job.endpoint.model, job.client, job.endpoint.id, job.resolution, draft, *size, *amounts


def part_of(counts: Mapping[tuple[Any, ...], int]) -> Part:
    """Multiply kinds (values as in `JobKind`) by how many there are of each; nothing is rounded."""
    groups: dict[tuple[str, str], Total] = {}
    sizes: dict[Size, Total] = {}
    for values, jobs in counts.items():
        kind = JobKind(*values)
        group = (kind.model, kind.client)
        resolution = DRAFT_RESOLUTION if kind.draft == "true" else kind.resolution
        size = Size(kind.endpoint, resolution, kind.width_px * kind.height_px, kind.frames)
        these = Total(jobs, jobs * kind.expected_nano, jobs * kind.maximum_nano)
        groups[group] = _sum((groups[group], these)) if group in groups else these
        sizes[size] = _sum((sizes[size], these)) if size in sizes else these
    return Part(groups, sizes)


def _grouped(totals: Iterable[tuple[str, Total]]) -> dict[str, Total]:
    found: dict[str, list[Total]] = {}
    for name, total in totals:
        found.setdefault(name, []).append(total)
    return {name: _sum(group) for name, group in found.items()}


def _sum(totals: Iterable[Total]) -> Total:
    jobs = expected_nano = maximum_nano = 0
    for each in totals:
        jobs += each.jobs
        expected_nano += each.expected_nano
        maximum_nano += each.maximum_nano
    return Total(jobs, expected_nano, maximum_nano)


class StoredJobs(Sequence["PlannedJob"], ABC):
    """The jobs of a large plan, as a sequence; making one of them takes some 30 microseconds."""

    @abstractmethod
    def values(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield what every job has in these columns of the plan's table (`manifests.plan_rows`), in order."""

    @abstractmethod
    def fingerprints(self) -> Iterator[str]:
        """Yield every job's fingerprint, in order."""

    @abstractmethod
    def cells_table(self) -> Any:
        """Return an Arrow table of the cells that the jobs came from (`plan_rows.manifest_table`)."""

    @abstractmethod
    def part(self, positions: Sequence[int]) -> tuple[StoredJobs, Summary]:
        """Return the jobs at these positions, in ascending order, as jobs of their own, and their sums."""

    @abstractmethod
    def picked(self, positions: Iterable[int]) -> Iterator[PlannedJob]:
        """Yield the jobs at these positions, in ascending order."""


_DECISIVE = (
    "client",
    "priority",
    "endpoint",
    "resolution",
    "aspect_ratio",
    "duration_s",
    "num_frames",
    "generate_audio",
    "draft",
    "expected_nano",
    "maximum_nano",
)


def alike(plan: Plan, without: Container[int]) -> tuple[list[PlannedJob], list[int]]:
    """Return one job of each kind, and for every job of the plan which kind it is, in order.

    Jobs at the positions `without` are passed over. Jobs in memory are few: each is a kind of its own.
    """
    if not isinstance(plan.jobs, StoredJobs):
        jobs = [planned for at, planned in enumerate(plan.jobs) if at not in without]
        return jobs, list(range(len(jobs)))
    kinds: dict[tuple[Any, ...], int] = {}
    firsts: list[int] = []
    which: list[int] = []
    rows = plan.jobs.values(*_DECISIVE, "end_image_url", "pictures")
    for at, (*decisive, end_image, pictures) in enumerate(rows):
        if at in without:
            continue
        kind = (*decisive, bool(end_image), _first_size(pictures))
        number = kinds.setdefault(kind, len(kinds))
        if number == len(firsts):
            firsts.append(at)
        which.append(number)
    return [planned for _, planned in plan.picked(firsts)], which


def drafts_in(plan: Plan) -> list[tuple[Shot, int]]:
    """Return what the drafts of a plan order, each kind with how many there are of it."""
    jobs, which = alike(plan, ())
    counts = Counter(which)
    return [(planned.job.shot, counts[number]) for number, planned in enumerate(jobs) if planned.job.draft]


@lru_cache
def _first_size(pictures: str) -> tuple[int, ...] | None:
    """Return width and height of the first frame, where they are known; see `plan_rows.pictures_text`."""
    found = json.loads(pictures).get("image_url") if pictures else None
    size = found[0][-1] if found else None
    return tuple(size) if size else None
