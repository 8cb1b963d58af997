"""Money in the ledger: accounts and their caps, what a submission was booked at, and the entries.

Money is whole nano-dollars, times are whole Unix milliseconds (UTC); None means "not yet" or "not known".

A submission counts in all of its accounts, capped or not: a cap that is set later then knows what was spent
before. A day or a month is the UTC one in which the money was held; its cost stays there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from callsheet.ledger.states import CostBasis
from manifests.job import label
from pricing.budgets import Scope, Window, campaign_client_key, client_key, scope_label

TOTAL: Final = "total"
WINDOW_KINDS: Final[Mapping[Scope, tuple[Window, ...]]] = MappingProxyType(
    {
        "ledger": ("total",),
        "campaign": ("total", "day", "month"),
        "client": ("total",),
        "campaign_client": ("total",),
        "model": ("total",),
        "run": ("total",),
        "retakes": ("total",),
    }
)
"""Which caps there can be: an account exists for each of these."""

_FORMATS: Final[Mapping[Window, str]] = MappingProxyType(
    {"total": TOTAL, "day": "%Y-%m-%d", "month": "%Y-%m"}
)
_KIND_BY_LENGTH: Final[Mapping[int, Window]] = MappingProxyType({5: "total", 7: "month", 10: "day"})


class AccountRef(NamedTuple):
    """The name of one account. `window` is `total`, a UTC date (`2026-11-21`) or a month (`2026-11`)."""

    scope: Scope
    key: str
    window: str = TOTAL

    @property
    def window_kind(self) -> Window:
        """Which kind of cap applies here."""
        return window_kind(self.window)

    @property
    def cap(self) -> tuple[Scope, str, Window]:
        """Whose cap applies here, and in which kind of window."""
        return self.scope, self.key, self.window_kind

    def __str__(self) -> str:
        name = scope_label(self.scope, self.key)
        return name if self.window == TOTAL else f"{name} in {self.window}"


def window_kind(window: str) -> Window:
    """Return the kind of a window by its form: `total`, `2026-11` or `2026-11-21`."""
    return _KIND_BY_LENGTH[len(window)]


def account_refs(
    *, campaign: str, client: str, model: str, run_id: str, at_ms: int, is_retake: bool = False
) -> list[AccountRef]:
    """Return every account that money put aside at `at_ms` (Unix milliseconds) counts in.

    `client` is empty where the job names none; it then counts in no client's account. `is_retake` says that a
    run has ordered the job by itself.
    """
    owners: list[tuple[Scope, str]] = [("ledger", ""), ("campaign", campaign), ("model", model)]
    owners.append(("run", run_id))
    if is_retake:
        owners.append(("retakes", run_id))
    if client:
        owners += [("client", client_key(client)), ("campaign_client", campaign_client_key(campaign, client))]
    return [
        AccountRef(scope, key, window_at(kind, at_ms))
        for scope, key in owners
        for kind in WINDOW_KINDS[scope]
    ]


def refs_of_owners(
    owners: Iterable[tuple[str, str]], *, campaign: str, run_id: str, at_ms: int
) -> list[AccountRef]:
    """Return, each once, every account that jobs of these clients and models count in: see `account_refs`."""
    return list(
        dict.fromkeys(
            ref
            for client, model in owners
            for ref in account_refs(campaign=campaign, client=client, model=model, run_id=run_id, at_ms=at_ms)
        )
    )


def window_at(kind: Window, at_ms: int) -> str:
    """Name the window of that kind which the moment falls in."""
    return datetime.fromtimestamp(at_ms // 1000, tz=UTC).strftime(_FORMATS[kind])


EntryKind = Literal["hold", "release", "settle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a render cost in the end, with fal's reply to keep. `billable_units` is decimal text."""

    cost_nano: int
    cost_basis: CostBasis
    result_json: str
    billable_units: str | None = None
    seed_used: int | None = None

    @property
    def kept(self) -> dict[str, str | int | None]:
        """What the submission keeps of it besides its cost."""
        return {name: getattr(self, name) for name in ("result_json", "billable_units", "seed_used")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """How a submission was booked.

    `overrun_nano` is what the cost is above its hold by. `replayed` means that it had been booked before and
    that nothing was changed.
    """

    cost_nano: int
    cost_basis: CostBasis
    overrun_nano: int = 0
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one account holds.

    `frozen` means that a cost came out above its hold: nothing more is admitted until `unfreeze`.
    `over_nano` is how much of what is taken no limit was asked about: overruns, and what was there already
    when a lower limit was set.
    """

    ref: AccountRef
    limit_nano: int | None
    held_nano: int = 0
    spent_nano: int = 0
    over_nano: int = 0
    frozen: bool = False

    @property
    def taken_nano(self) -> int:
        """What is held and what is spent."""
        return self.held_nano + self.spent_nano

    @property
    def left_nano(self) -> int | None:
        """What can still be held here; None where there is no limit."""
        if self.frozen:
            return 0
        return None if self.limit_nano is None else max(0, self.limit_nano - self.taken_nano)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A render whose bill is known: what it cost, and the render kind that says how large it was.

    `payload` is the engine's own text of the job.
    """

    endpoint: str
    render_kind: str
    payload: str
    cost_nano: int
    cost_basis: CostBasis


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFilter:
    """Which lines of the book are wanted; None wants all.

    `since_ms` (inclusive) and `until_ms` (exclusive) bound the moment at which the money was put aside, so
    that the hold, the release and the cost of one submission are always shown together.
    """

    run_id: str | None = None
    campaign: str | None = None
    client: str | None = None
    model: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


Grouping = Literal["campaign", "client", "model", "day", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What submissions hold and cost, added up. What was not grouped by is empty.

    `submissions` counts those whose cost is booked, also where they cost nothing in the end. `day` is the UTC
    day in which the money was held, also where the cost was booked later.
    """

    campaign: str = ""
    client: str = ""
    model: str = ""
    day: str = ""
    run: str = ""
    submissions: int
    spent_nano: int
    held_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrun:
    """A submission that cost more than was held for it. `row` is the manifest's row of its job."""

    run_id: str
    custom_id: str
    row: int
    request_id: str | None
    hold_nano: int
    cost_nano: int

    @property
    def label(self) -> str:
        """The job's name with its row of the manifest, for messages."""
        return label(self.custom_id, self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A submission that fal accepted, whatever became of it. `cost_nano` is None until it is booked."""

    request_id: str
    run_id: str
    job_id: int
    custom_id: str
    row: int
    endpoint: str
    submitted_ms: int
    hold_nano: int
    cost_nano: int | None
    cost_basis: CostBasis | None
    booked_ms: int | None

    @property
    def label(self) -> str:
        """The job's name with its row of the manifest, for messages."""
        return label(self.custom_id, self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the book.

    `amount_nano` is signed: a hold adds, a release takes away, a settlement adds its cost and a correction
    the difference; the sum is what is held and spent. `admitted_ms` is when the money was put aside: it
    decides in which day's and month's account the whole submission counts. `why` says how
    it was settled, and who decided, if the submission was unknown; otherwise it is empty.
    """

    entry_id: int
    at_ms: int
    kind: EntryKind
    amount_nano: int
    submission_id: int
    admitted_ms: int
    request_id: str | None
    job_id: int
    run_id: str
    custom_id: str
    client: str
    model: str
    campaign: str
    why: str = ""
