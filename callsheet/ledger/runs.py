"""Runs: opened whole, asked to stop, closed, opened again; and what a campaign is buying right now.

A second run must not buy the same videos beside the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from types import MappingProxyType

from sqlalchemy import ColumnElement, TextClause, bindparam, cast, func, select, text

from callsheet.errors import Busy, InFlight, LedgerError, UsageError
from callsheet.ledger import parts, queries, schema, transitions
from callsheet.ledger.admission import set_cap
from callsheet.ledger.records import NewJob, NewRun
from callsheet.ledger.states import HAS_OPEN_SUBMISSION, State
from callsheet.ledger.transaction import Transaction, chunks, read, write
from pricing.budgets import Cap

IN_FLIGHT = HAS_OPEN_SUBMISSION | {State.PENDING}
"""Bought and not finished, or waiting in a run that `resume` goes on with. What was left out is neither."""


BATCH = 250
"""The most jobs of a run that are written in one transaction, so that no other writer waits long."""

FIRST_BATCH = 50
SMALLEST_BATCH = 10
BATCH_S = 0.05
"""How long writing one batch should take, in seconds: a slow disk or a busy machine gets smaller ones."""

NOTHING_MADE: Mapping[int, int] = MappingProxyType({})
NOTHING_SEEN: Mapping[str, int] = MappingProxyType({})


@read()
def refuse_in_flight(tx: Transaction, campaign: str, wanted: Collection[str], *, besides: str = "") -> None:
    """Raise InFlight where a run of the campaign is about to make, or is making, some of these.

    The run `besides` is the one that asks; it is not looked at. Raises Busy while another run of the campaign
    is being opened: what it will buy is not known yet.
    """
    _refuse_opening(tx, campaign, besides=besides)
    job, run = schema.job, schema.run
    others = (run.c.campaign == campaign, run.c.run_id != besides, run.c.opened_ms.is_not(None))
    in_flight = select(job.c.job_id).join_from(run, job, job.c.run_id == run.c.run_id).where(*others)
    if not tx.execute(in_flight.where(job.c.state.in_(_values(IN_FLIGHT))).limit(1)).first():
        return
    each = _with(tx, campaign, wanted, job.c.state.in_(_values(IN_FLIGHT)))
    found = Counter(run_id for run_id, _ in each)
    del found[besides]
    if not found:
        return
    run_id, count = found.most_common(1)[0]
    rest = len(found) - 1
    more = f" (and {rest} more run{' has' if rest == 1 else 's have'} some)" if rest else ""
    raise InFlight(f"run {run_id} has {count} of these in flight{more}; nothing was sent", run_id=run_id)


@read()
def in_flight(
    tx: Transaction, campaign: str, wanted: Collection[str], run_ids: Collection[str] | None = None
) -> dict[str, str]:
    """Return those of these fingerprints that one of these runs is making or about to make, with the run.

    None asks about every run of the campaign.
    """
    each = _with(tx, campaign, wanted, schema.job.c.state.in_(_values(IN_FLIGHT)))
    return {fingerprint: run_id for run_id, fingerprint in each if run_ids is None or run_id in run_ids}


@read()
def pending(tx: Transaction, run_id: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Return, by client and model, how many jobs of a run hold nothing yet, and the most that they need.

    Amounts are in nano-dollars.
    """
    job = schema.job
    maximum = cast(func.sum(job.c.maximum_nano), schema.INT)
    query = (
        select(job.c.client, job.c.model, func.count(), maximum)
        .where(job.c.run_id == run_id, job.c.state == State.PENDING.value)
        .group_by(job.c.client, job.c.model)
        .order_by(job.c.client, job.c.model)
    )
    return {(client, model): (jobs, most) for client, model, jobs, most in tx.execute(query)}


@read()
def refuse_made(
    tx: Transaction, campaign: str, wanted: Collection[str], *, over: Mapping[str, int] = NOTHING_SEEN
) -> None:
    """Raise UsageError where some of these were made since a run was planned that is to buy them.

    `over` are those that are bought although they were made: {fingerprint: the newest job that made it}.
    """
    found = Counter(run_id for run_id, _ in _with(tx, campaign, wanted, text(schema.MADE), over=over))
    if found:
        run_id, count = found.most_common(1)[0]
        raise UsageError(
            f"run {run_id} has made {count} of these meanwhile; nothing was sent. Run the same "
            "command again: it uses them"
        )


def _values(states: Collection[State]) -> list[str]:
    return [state.value for state in states]


def _with(
    tx: Transaction,
    campaign: str,
    wanted: Collection[str],
    which: ColumnElement[bool] | TextClause,
    *,
    over: Mapping[str, int] = NOTHING_SEEN,
) -> Iterator[tuple[str, str]]:
    """Yield run and fingerprint of the campaign's jobs with these fingerprints, looked up by their index.

    Of a fingerprint in `over` only jobs count that are newer than the one named there.
    """
    job, ours = schema.job, queries.runs_of(tx, campaign)
    query = select(job.c.run_id, job.c.fingerprint, job.c.job_id).where(
        tx.is_among(job.c.fingerprint, "piece"), which
    )
    for piece in chunks(set(wanted), queries.LOOK_UP_AT_ONCE):
        for run_id, fingerprint, job_id in tx.execute(query, {"piece": piece}):
            if run_id in ours and job_id > over.get(fingerprint, 0):
                yield run_id, fingerprint


# -- opening a run -------------------------------------------------------------------------------------------


@write()
def open_run(
    tx: Transaction,
    run: NewRun,
    jobs: Iterable[NewJob],
    caps: Iterable[Cap] = (),
    *,
    left: Collection[int] = (),
    made: Mapping[int, int] = NOTHING_MADE,
    once: bool = False,
    over: Mapping[str, int] = NOTHING_SEEN,
) -> None:
    """Write a run, its jobs in the plan's order, and its caps, in one transaction. See `Ledger.open_run`.

    `left` are the positions of jobs that the budget does not reach, `made` those of jobs that get the file of
    an earlier one: {position: the job that made it}. They are marked in the same transaction, because a
    pending job is one that `resume` buys. `once` refuses with UsageError to buy what the campaign has or is
    buying: another process may have opened the same since the plan was made; `over` is that of
    `refuse_made`. Raises UsageError for a run id in use.
    """
    jobs = list(jobs)
    if once:
        wanted = to_buy(jobs, left, made)
        refuse_in_flight(tx, run.campaign, wanted)
        refuse_made(tx, run.campaign, wanted, over=over)
    _insert(tx, run)
    add_jobs(tx, run.run_id, 0, jobs, left=left, made=made)
    finish_opening(tx, run.run_id, caps)


def to_buy(jobs: Iterable[NewJob], left: Collection[int], made: Collection[int]) -> list[str]:
    """Return the fingerprints of the jobs that are neither left out nor made."""
    kept = {*left, *made}
    return [
        job.fingerprint
        for number, job in enumerate(jobs)
        if (number if job.position is None else job.position) not in kept
    ]


@write()
def reserve(tx: Transaction, run: NewRun) -> None:
    """Reserve a campaign for a run whose jobs follow: the run admits nothing before `finish_opening`.

    Raises Busy while another run of the campaign is being opened, UsageError for a run id in use.
    """
    _refuse_opening(tx, run.campaign)
    _insert(tx, run)


@write()
def add_jobs(
    tx: Transaction,
    run_id: str,
    first: int,
    jobs: Iterable[NewJob],
    *,
    left: Collection[int] = (),
    made: Mapping[int, int] = NOTHING_MADE,
) -> None:
    """Write jobs of a run that is being opened. Those without a position get the next ones from `first`."""
    names = [name for name in NewJob.__dataclass_fields__ if name != "position"]
    rows = [
        {
            "run_id": run_id,
            "position": number if job.position is None else job.position,
            **{name: getattr(job, name) for name in names},
            "draft": int(job.draft),
        }
        for number, job in enumerate(jobs, first)
    ]
    if not rows:
        return
    tx.execute(schema.job.insert(), rows)
    positions = {row["position"] for row in rows}
    left_here, made_here = positions.intersection(left), positions.intersection(made)
    if left_here or made_here:
        table = schema.job
        low, high = min(positions), max(positions)
        found = tx.execute(
            select(table.c.position, table.c.job_id).where(
                table.c.run_id == run_id, table.c.position.between(low, high)
            )
        )
        ids = {row.position: row.job_id for row in found}
        transitions.skip(tx, [ids[each] for each in sorted(left_here)], why="does not fit the budget")
        transitions.reuse(tx, {ids[each]: made[each] for each in sorted(made_here)})


def next_batch(size: int, took_s: float) -> int:
    """Return how many jobs the next batch should have, where one of `size` took so long."""
    wanted = 2 * size if took_s <= BATCH_S else int(size * BATCH_S / took_s)
    return min(BATCH, max(SMALLEST_BATCH, wanted))


@write()
def finish_opening(tx: Transaction, run_id: str, caps: Iterable[Cap] = ()) -> None:
    """Set a run's caps and let it admit: all of its jobs are written."""
    for cap in caps:
        set_cap(tx, cap.scope, cap.key, cap.window, cap.limit_nano)
    _mark(tx, run_id, opened_ms=tx.at_ms)


@write()
def discard(tx: Transaction, run_id: str) -> None:
    """Close a run whose opening was broken off. Nothing of it was bought, and nothing of it counts."""
    if queries.run(tx, run_id).opened_ms is not None:
        raise UsageError(f"run {run_id} was opened completely: cancel it")
    _mark(tx, run_id, closed_ms=tx.at_ms)


@read()
def all_options(tx: Transaction) -> list[str]:
    """Return the options of all runs, which are the engine's own texts, each once."""
    return list(tx.execute(select(schema.run.c.options).distinct()).scalars())


@read()
def being_opened(tx: Transaction, campaign: str | None = None) -> list[str]:
    """Return the runs, of one campaign or of all, whose opening has begun and not ended, oldest first."""
    table = schema.run
    query = select(table.c.run_id).where(table.c.opened_ms.is_(None), table.c.closed_ms.is_(None))
    if campaign is not None:
        query = query.where(table.c.campaign == campaign)
    return list(tx.execute(query.order_by(table.c.created_ms)).scalars())


def _refuse_opening(tx: Transaction, campaign: str, *, besides: str = "") -> None:
    if opening := [run_id for run_id in being_opened(tx, campaign) if run_id != besides]:
        raise Busy(f"run {opening[0]} of this campaign is being opened by another process; wait for it")


def _insert(tx: Transaction, run: NewRun) -> None:
    table = schema.run
    if tx.execute(select(table.c.run_id).where(table.c.run_id == run.run_id)).first():
        raise UsageError(f"run {run.run_id} exists already: resume it")
    tx.execute(table.insert(), {**asdict(run), "created_ms": tx.at_ms})


# -- stopping and closing ------------------------------------------------------------------------------------


@write()
def request_stop(tx: Transaction, run_id: str) -> None:
    """Ask a run to stop: from now on `admit` raises RunStopping for its jobs, in every process."""
    _mark(tx, run_id, stopping_ms=tx.at_ms)


@write()
def close_run(tx: Transaction, run_id: str) -> None:
    """Record that there is nothing left to do for a run."""
    _mark(tx, run_id, closed_ms=tx.at_ms)


@write()
def reopen_run(tx: Transaction, run_id: str) -> None:
    """Let a stopped or closed run admit again. Raises UsageError for one whose opening was broken off."""
    if queries.run(tx, run_id).opened_ms is None:
        raise UsageError(f"run {run_id} was never opened completely, and bought nothing; run it anew")
    _mark(tx, run_id, stopping_ms=None, closed_ms=None)
    parts.forget_stops(tx, run_id)


def _mark(tx: Transaction, run_id: str, **columns: int | None) -> None:
    """Set a run's times. Raises UsageError for an unknown run, naming the nearest."""
    queries.run(tx, run_id)
    table = schema.run
    tx.execute(table.update().where(table.c.run_id == run_id).values(**columns))


@write()
def reprice(
    tx: Transaction, run_id: str, amounts: Mapping[int, tuple[int, int]], *, prices: str | None = None
) -> None:
    """Give pending jobs of a run other prices, {job: (expected, maximum)}, and pin `prices`: all or none.

    Without `prices` the run's pins stay: another process may have added to them.

    What has been held for a job is not touched: its price was that of the moment it was bought.
    Raises LedgerError where a job is not pending.
    """
    queries.run(tx, run_id)
    table = schema.job
    pending = tx.execute(
        select(table.c.job_id).where(table.c.run_id == run_id, table.c.state == State.PENDING.value)
    ).scalars()
    if others := set(amounts) - set(pending):
        raise LedgerError(f"job {min(others)} is no pending job of run {run_id}; its price stays")
    if amounts:
        tx.execute(
            table.update()
            .where(table.c.job_id == bindparam("wanted"))
            .values(expected_nano=bindparam("expected"), maximum_nano=bindparam("maximum")),
            [
                {"wanted": job_id, "expected": expected_nano, "maximum": maximum_nano}
                for job_id, (expected_nano, maximum_nano) in amounts.items()
            ],
        )
    if prices is not None:
        runs = schema.run
        tx.execute(runs.update().where(runs.c.run_id == run_id).values(prices=prices))
