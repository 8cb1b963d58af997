"""Parts of a run: fixed ranges of its jobs, which several processes render side by side.

A part is claimed like a run (`Ledger.claim(run_id, part=...)`); the ledger says which have work left. A run
that was never split has one part, the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, func, select

from callsheet.errors import UsageError
from callsheet.ledger import queries, schema
from callsheet.ledger.locks import WHOLE, claims_of, is_alive, is_owned, is_reserved
from callsheet.ledger.records import PartWork, Range
from callsheet.ledger.states import FOLLOWED, State
from callsheet.ledger.transaction import Transaction, chunks, read, write

COORDINATOR = "coordinator"
"""What the process claims that starts the shards of a run: it renders nothing, and there is one."""


@write()
def split(tx: Transaction, run_id: str, size: int) -> list[Range]:
    """Split a run into parts of `size` places in the plan (at least 1), once.

    What was split before stays as it is. A clip and its retakes have one place.
    """
    if size < 1:
        raise UsageError(f"a part has at least 1 job, not {size}")
    if known := ranges(tx, run_id):
        return known
    job = schema.job
    rows = tx.execute(
        select(job.c.position, func.max(job.c.priority).label("priority"))
        .where(job.c.run_id == run_id)
        .group_by(job.c.position)
        .order_by(job.c.position)
    )
    made: list[Range] = []
    for piece in chunks(rows, size):
        span = Range(piece[0].position, piece[-1].position)
        made.append(span)
        row = {
            "run_id": run_id,
            "part": span.name,
            "first_position": span.first,
            "last_position": span.last,
            "priority": max(each.priority for each in piece),
        }
        tx.execute(schema.part.insert(), row)
    return made


@read()
def ranges(tx: Transaction, run_id: str) -> list[Range]:
    """Return the parts of a run in the plan's order; none where it was never split."""
    part = schema.part
    query = select(part.c.first_position, part.c.last_position).where(part.c.run_id == run_id)
    return [Range(first, last) for first, last in tx.execute(query.order_by(part.c.first_position))]


@read()
def work(tx: Transaction, run_id: str) -> list[PartWork]:
    """Return the parts of a run with what is left of each, those of the highest priority first.

    A run that was never split is one part, the whole. Each part is a few probes of an index, however many
    jobs it has.
    """
    part = schema.part
    columns = (part.c.part, part.c.first_position, part.c.last_position)
    inside = schema.job.c.position.between(part.c.first_position, part.c.last_position)
    found = tx.execute(
        select(*columns, *_left(part.c.run_id, inside))
        .where(part.c.run_id == run_id)
        .order_by(part.c.priority.desc(), part.c.first_position)
    ).all()
    claims = _claims(tx, run_id)
    if not found:
        left = tx.execute(select(*_left(schema.run.c.run_id)).where(schema.run.c.run_id == run_id)).one()
        return [_as_work(tx, run_id, WHOLE, None, left, claims)]
    spans = [Range(row.first_position, row.last_position) for row in found]
    return [_as_work(tx, run_id, row.part, span, row, claims) for row, span in zip(found, spans, strict=True)]


def _claims(tx: Transaction, run_id: str) -> dict[str, Row[Any]]:
    """Return the claims of a run by part."""
    return {claim.part: claim for claim in claims_of(tx.connection, {run_id})[run_id]}


@read()
def has_coordinator(tx: Transaction, run_id: str) -> bool:
    """Say whether a living process starts the shards of a run."""
    claims = _claims(tx, run_id)
    return is_owned(tx, run_id, COORDINATOR, [claims[COORDINATOR]] if COORDINATOR in claims else [])


def _left(run_id: ColumnElement[str], *inside: ColumnElement[bool]) -> Iterator[ColumnElement[bool]]:
    """Ask whether there is a job in these states: one probe of the index for each."""
    job = schema.job
    for name, states in (
        ("pending", [State.PENDING]),
        ("active", sorted(FOLLOWED)),
        ("rendered", [State.RENDERED]),
    ):
        probes = [
            exists(select(job.c.job_id).where(job.c.run_id == run_id, job.c.state == state.value, *inside))
            for state in states
        ]
        found = probes[0]
        for probe in probes[1:]:
            found = found | probe  # type: ignore[assignment] # an OR of conditions is one
        yield found.label(name)


def _as_work(
    tx: Transaction,
    run_id: str,
    part: str,
    span: Range | None,
    left: Row[Any],
    claims: Mapping[str, Row[Any]],
) -> PartWork:
    claim, now_ms = claims.get(part), tx.lease_ms
    owners = [claims[name] for name in {WHOLE, part} if name in claims]
    return PartWork(
        run_id=run_id,
        part=part,
        range=span,
        pending=bool(left.pending),
        active=bool(left.active),
        rendered=bool(left.rendered),
        token=claim.fencing_token if claim else 0,
        alive=is_owned(tx, run_id, part, owners),
        resting=claim is not None and (claim.rest_until_ms or 0) > now_ms,
        reserved=claim is not None and is_reserved(claim, now_ms),
    )


@read()
def open_runs(tx: Transaction) -> list[str]:
    """Return the runs that were opened completely and neither closed nor asked to stop, oldest first."""
    run = schema.run
    query = select(run.c.run_id).where(
        run.c.opened_ms.is_not(None), run.c.closed_ms.is_(None), run.c.stopping_ms.is_(None)
    )
    return list(tx.execute(query.order_by(run.c.created_ms, run.c.run_id)).scalars())


@write()
def reserve(tx: Transaction, run_id: str, part: str, *, for_ms: int) -> bool:
    """Keep others from taking up a part for `for_ms`, because a process for it is being started.

    False where somebody else has done so, or owns it. The process ends the reservation once it owns the part.
    """
    queries.run(tx, run_id)
    known, now_ms = _claims(tx, run_id).get(part), tx.lease_ms
    if known is not None and (is_reserved(known, now_ms) or is_alive(known, now_ms)):
        return False
    _set(tx, run_id, part, reserved_until_ms=now_ms + for_ms)
    return True


@write()
def begin(tx: Transaction, run_id: str, part: str) -> None:
    """Say that a part is owned and worked on: it is neither reserved nor rests, nor is it stopped."""
    _set(tx, run_id, part, reserved_until_ms=None, rest_until_ms=None, stopped_why="")


@write()
def release(tx: Transaction, run_id: str, part: str) -> None:
    """End a reservation: no process could be started."""
    _set(tx, run_id, part, reserved_until_ms=None)


@write()
def rest(tx: Transaction, run_id: str, part: str, *, for_ms: int) -> None:
    """Say that nothing can be done for a part for a while, in milliseconds."""
    _set(tx, run_id, part, rest_until_ms=tx.lease_ms + for_ms)


@write()
def note_stop(tx: Transaction, run_id: str, part: str, why: str) -> None:
    """Keep why a process stopped before a part was done (`part` is "" for a whole run)."""
    _set(tx, run_id, part, stopped_why=why)


@write()
def forget_stops(tx: Transaction, run_id: str) -> None:
    """Forget why a run and its parts were stopped, because it goes on."""
    tx.execute(schema.claim.update().where(schema.claim.c.run_id == run_id).values(stopped_why=""))


@read()
def stops(tx: Transaction, run_ids: Collection[str]) -> dict[str, str]:
    """Return why these runs were stopped, where nobody has gone on with them since: the latest reason."""
    claim = schema.claim
    query = select(claim.c.run_id, claim.c.stopped_why).where(claim.c.stopped_why != "")
    rows = tx.rows_with(query.order_by(claim.c.claimed_ms), claim.c.run_id, run_ids)
    return {row.run_id: row.stopped_why for row in rows}


def _set(tx: Transaction, run_id: str, part: str, **columns: int | str | None) -> None:
    claim = schema.claim
    mine = (claim.c.run_id == run_id, claim.c.part == part)
    if tx.execute(claim.update().where(*mine).values(columns)).rowcount:
        return
    nobody = {"owner": "", "host": "", "pid": 0, "process": "", "fencing_token": 0, "expires_ms": 0}
    row = {"run_id": run_id, "part": part, "claimed_ms": tx.at_ms, **nobody, **columns}
    tx.execute(claim.insert(), row)
