"""Every bill of a period, by client and campaign: what a statement lists."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, case, select

from callsheet.ledger import schema
from callsheet.ledger.accounts import EntryFilter, Spending
from callsheet.ledger.history import conditions, spending
from callsheet.ledger.states import CostBasis, State
from callsheet.ledger.transaction import Transaction, read
from pricing.budgets import first_spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one submission cost, and what it was for.

    `client` is the first spelling of the client's name. `stage` is `draft` or `finish` for the two purchases
    of a draft, else empty. `state` is the job's. Amounts are nano-dollars, times Unix milliseconds, sizes
    pixels, `duration_s` seconds; None where no video was made. `admitted_ms` is when the money was held: it
    decides the day that the bill counts in.
    """

    submission_id: int
    admitted_ms: int
    client: str
    campaign: str
    run_id: str
    custom_id: str
    take: int
    model: str
    endpoint: str
    stage: str
    state: State
    request_id: str
    account: str
    cost_nano: int
    cost_basis: CostBasis
    billable_units: str
    width_px: int | None
    height_px: int | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class BillSums:
    """The sums of a period's bills by client and campaign.

    Groups that only hold money are among them. `costs` has the cost of each bill of each group, in
    nano-dollars and in the order of the bills, where that was asked for; else each is empty.
    """

    groups: tuple[Spending, ...]
    costs: tuple[Sequence[int], ...]


@read()
def read_bills(tx: Transaction, wanted: EntryFilter, *, with_costs: bool) -> Iterator[BillSums | Bill]:
    """Yield the sums, then every bill by client, campaign and time. For `Ledger.stream`.

    Whole days count: those from `since_ms` to before `until_ms`. A bill is the cost of a submission that was
    bought; what was refused or given back for free is none. The sums are those of `history.spending`, and
    the bills add up to them.
    """
    parts = spending(tx, ("client", "campaign"), wanted)
    shown = first_spellings(part.client for part in parts)
    sums: dict[tuple[str, str], Spending] = {}
    for part in parts:
        key = (shown[part.client], part.campaign)
        sums[key] = _added(sums.get(key), replace(part, client=key[0]))
    client = _first_spelling(shown)
    order = (client, _run.c.campaign, _submission.c.admitted_ms, _submission.c.submission_id)
    where = _conditions(wanted, shown)
    costs = {key: array("q") for key in sums}
    if with_costs:
        columns = (client.label("client"), _run.c.campaign, _submission.c.cost_nano)
        for row in tx.stream(select(*columns).select_from(_FROM).where(*where).order_by(*order)):
            costs[row.client, row.campaign].append(row.cost_nano)
    yield BillSums(tuple(sums.values()), tuple(costs.values()))
    query = select(client.label("client"), *_COLUMNS).select_from(_FROM.outerjoin(_output, _ITS_OUTPUT))
    for row in tx.stream(query.where(*where).order_by(*order)):
        yield _bill(dict(row._mapping))


_submission, _job, _run, _output = schema.submission, schema.job, schema.run, schema.output
_FROM = _submission.join(_job, _job.c.job_id == _submission.c.job_id).join(
    _run, _run.c.run_id == _job.c.run_id
)
_ITS_OUTPUT = _output.c.submission_id == _submission.c.submission_id
_is_finish = and_(_job.c.draft_output_id.is_not(None), _submission.c.endpoint == _job.c.endpoint)
_COLUMNS = (
    _run.c.campaign,
    *(_job.c[name] for name in ("run_id", "custom_id", "take", "model", "state")),
    case((_job.c.draft == 0, ""), (_is_finish, "finish"), else_="draft").label("stage"),
    *(_submission.c[name] for name in ("submission_id", "admitted_ms", "endpoint", "request_id", "account")),
    *(_submission.c[name] for name in ("cost_nano", "cost_basis", "billable_units")),
    *(_output.c[name] for name in ("width_px", "height_px", "duration_s")),
)


def _bill(values: dict[str, Any]) -> Bill:
    empty = {name: values[name] or "" for name in ("request_id", "billable_units")}
    return Bill(**{**values, **empty, "state": State(values["state"])})


def _added(sums: Spending | None, part: Spending) -> Spending:
    if sums is None:
        return part
    return replace(
        sums,
        submissions=sums.submissions + part.submissions,
        spent_nano=sums.spent_nano + part.spent_nano,
        held_nano=sums.held_nano + part.held_nano,
    )


def _first_spelling(shown: Mapping[str, str]) -> ColumnElement[str]:
    """Return the column of a client's first spelling: bills of one client stand together."""
    others = {name: first for name, first in shown.items() if name != first}
    return case(others, value=_job.c.client, else_=_job.c.client) if others else _job.c.client


def _conditions(wanted: EntryFilter, shown: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Return which submissions are bills of the wanted days, of these spellings of clients."""
    at = _submission.c.admitted_ms
    found = conditions(wanted, _run.c.campaign, _job.c.run_id, _job.c.model, at)
    if wanted.client is not None:
        found.append(_job.c.client.in_(list(shown)))
    return [_submission.c.cost_basis != "none", *found]
