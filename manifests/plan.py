"""The plan: every job with its price, the caps over them, and one hash over all of it. Nothing is spent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from callsheet.errors import Problem
from manifests.job import Job, canonical_json
from pricing.budgets import Cap, Spend
from pricing.quotes import Quote


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the command line or the environment says about a plan; it goes before the campaign file.

    `budget_usd` is text as a person types it, and caps this run; the caps of the campaign file hold as well.
    `defaults` fills columns that are absent or empty. `input_root` is the one folder that local pictures may
    come from, instead of the manifest's folder and the working directory.
    """

    budget_usd: str | None = None
    concurrency: int | None = None
    out: str | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    input_root: Path | None = None


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job, its price, and the row it came from.

    `cells` is the row as text, with the campaign's renamings, defaults and templates applied.
    """

    job: Job
    quote: Quote
    fingerprint: str
    cells: Mapping[str, str]

    @property
    def content(self) -> dict[str, Any]:
        """What the plan's hash is taken over, of this job: what is bought, for whom and at what price."""
        return {
            "custom_id": self.job.custom_id,
            "fingerprint": self.fingerprint,
            "priority": self.job.priority,
            "client": self.job.client,
            "output_name": self.job.output_name,
            "extra": dict(self.job.extra),
            "width_px": self.quote.width_px,
            "height_px": self.quote.height_px,
            "frames": self.quote.frames,
            "expected_nano": self.quote.expected_nano,
            "maximum_nano": self.quote.maximum_nano,
        }

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of `content`."""
        return hashlib.sha256(canonical_json(self.content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Total:
    """How many jobs, and what they cost in nano-dollars."""

    jobs: int
    expected_nano: int
    maximum_nano: int


@dataclass(frozen=True)
class Plan:
    """Everything that a run would buy.

    `source` is what the plan was made from (a manifest or a campaign file); `out` and `concurrency` are None
    where nothing was said. `caps` holds those of the campaign file and the run's own.
    """

    campaign: str
    source: Path
    jobs: tuple[PlannedJob, ...]
    caps: tuple[Cap, ...]
    price_book: str
    warnings: tuple[Problem, ...] = ()
    out: str | None = None
    concurrency: int | None = None
    options: PlanOptions = field(default_factory=PlanOptions)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over every job's content and price, the caps and the price book."""
        caps = sorted([cap.scope, cap.key, cap.window, cap.limit_nano] for cap in self.caps)
        content = {
            "campaign": self.campaign,
            "jobs": [planned.digest for planned in self.jobs],
            "caps": caps,
            "price_book": self.price_book,
        }
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    @cached_property
    def total(self) -> Total:
        """All jobs together."""
        return _total(self.jobs)

    def by_model(self) -> dict[str, Total]:
        """Totals by the model's alias, in the order of the jobs."""
        return self._by(lambda planned: planned.job.endpoint.model)

    def by_client(self) -> dict[str, Total]:
        """Totals by client; "" for the jobs that name none."""
        return self._by(lambda planned: planned.job.client)

    def spends(self) -> list[Spend]:
        """Return what budgets need to know of every job, in order."""
        return [
            Spend(
                campaign=self.campaign,
                client=planned.job.client,
                model=planned.job.endpoint.model,
                priority=planned.job.priority,
                maximum_nano=planned.quote.maximum_nano,
            )
            for planned in self.jobs
        ]

    def _by(self, key: Callable[[PlannedJob], str]) -> dict[str, Total]:
        groups: dict[str, list[PlannedJob]] = {}
        for planned in self.jobs:
            groups.setdefault(key(planned), []).append(planned)
        return {name: _total(jobs) for name, jobs in groups.items()}


def _total(jobs: Iterable[PlannedJob]) -> Total:
    quotes = [planned.quote for planned in jobs]
    expected_nano = sum(each.expected_nano for each in quotes)
    return Total(len(quotes), expected_nano, sum(each.maximum_nano for each in quotes))
