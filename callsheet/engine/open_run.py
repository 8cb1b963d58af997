"""From a plan to an opened run: does it fit, what is made already, what is left out. Nothing is sent yet."""

from __future__ import annotations

import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from callsheet import failpoints
from callsheet.engine.image_changes import Etags, etags_to_remember, remembering, with_changed_images
from callsheet.engine.in_flight import naming_commands
from callsheet.engine.rollback_guard import refuse_older_ledger, remember
from callsheet.errors import Busy, DiskFull, OverBudget, PlanChanged, UsageError
from callsheet.files import naming_full_disk
from callsheet.ledger import (
    Account,
    AccountRef,
    Ledger,
    NewJob,
    NewRun,
    admission,
    queries,
    refs_of_owners,
    runs,
)
from callsheet.ledger.accounts import window_at
from callsheet.wording import command
from manifests.diff import Changes, look_up
from manifests.images import materialised
from manifests.job import Job, encode_job
from manifests.look import look_text
from manifests.plan import Plan
from manifests.plan_file import ROWS_FILE, write_plan
from manifests.plan_rows import manifest_table
from manifests.readers.remote import bare_address
from pricing.budgets import Cap, Room, Spend, choose, counts_in, scope_label, shortfalls
from pricing.catalog import load_catalog
from pricing.money import usd_rounded_up, usd_text
from pricing.pins import first_pin, pins_text
from pricing.quotes import Quote
from pricing.render_times import RenderKind

OF_A_RUN = frozenset({"run", "retakes"})
"""Scopes of caps that end with their run."""


class Demand(Protocol):
    """What needs money: a plan, or drafts to be finished. `caps` are those that it brings itself."""

    @property
    def campaign(self) -> str: ...  # noqa: D102
    @property
    def caps(self) -> tuple[Cap, ...]: ...  # noqa: D102
    def demands(self) -> Sequence[Spend]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run will do with a plan: buy or leave out. Holds positions in `plan.jobs`.

    What is made already is in `changes.made`; `waiting` are the positions of jobs that are paid for and whose
    video fal still has; `elsewhere` are those of jobs that an unfinished run has in flight which nobody works
    on, each with that run. None of them is bought, and none becomes a job of the run. `lost` are those in
    `buy` that were paid for before, but fal no longer has them. `room` is what was left under each cap that
    bounds the plan (`room_for`).
    """

    buy: tuple[int, ...]
    left: tuple[int, ...]
    left_maximum_nano: int = 0
    changes: Changes = field(default_factory=Changes)
    waiting: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    elsewhere: Mapping[int, str] = field(default_factory=dict)
    again: bool = False
    room: Room = field(default_factory=dict)


def select(
    ledger: Ledger,
    plan: Plan,
    *,
    fit: bool,
    again: bool = False,
    waiting: Container[str] = frozenset(),
    idle: Collection[str] = (),
    etags: Etags | None = None,
) -> Selection:
    """Decide what is bought; with `again` also what was made already.

    `waiting` are the fingerprints of what is paid for and can still be fetched. `idle` are unfinished runs of
    the campaign that nobody works on: what they have in flight is left out. Raises OverBudget, and nothing is
    sent, where it does not fit and `fit` is off, and where an account is frozen. Raises InFlight where
    another unfinished run has some of it in flight and `again` is off.
    """
    identities = list(plan.identities())
    prints = [fingerprint for fingerprint, _ in identities]
    changes = Changes() if again else changes_of(ledger, plan, etags, identities=identities)
    fetchable = tuple(
        position
        for position, fingerprint in enumerate(prints)
        if not again and position not in changes.made and fingerprint in waiting
    )
    kept = {*changes.made, *fetchable}
    wanted = [position for position in range(len(prints)) if position not in kept]
    elsewhere: dict[int, str] = {}
    if not again:
        ledger.discard_unopened(plan.campaign)
        if idle:
            there = ledger.do(runs.in_flight, plan.campaign, {prints[each] for each in wanted}, idle)
            elsewhere = {each: there[prints[each]] for each in wanted if prints[each] in there}
            wanted = [position for position in wanted if position not in elsewhere]
        with naming_commands(ledger):
            ledger.do(runs.refuse_in_flight, plan.campaign, {prints[position] for position in wanted})
    if wanted:
        refuse_frozen(ledger, plan)
    spends = plan.spends(wanted)
    room = room_for(ledger, plan)
    every = Selection(
        tuple(wanted), (), changes=changes, waiting=fetchable, elsewhere=elsewhere, again=again, room=room
    )
    if not fit:
        refuse_unless_it_fits(spends, room)
        return every
    since_ms = ledger.do(queries.waiting_since, plan.campaign)
    waited = (since_ms.get(prints[position]) for position in wanted)
    choice = choose(
        [replace(spend, waiting_since_ms=since) for spend, since in zip(spends, waited, strict=True)], room
    )
    return replace(
        every,
        buy=tuple(wanted[number] for number in choice.taken),
        left=tuple(wanted[number] for number in choice.left),
        left_maximum_nano=choice.left_maximum_nano,
    )


def changes_of(
    ledger: Ledger,
    plan: Plan,
    etags: Etags | None = None,
    *,
    identities: Sequence[tuple[str, str]] | None = None,
) -> Changes:
    """Set a plan beside what its campaign has made and paid for.

    `identities` are the plan's, where the caller has them: those of 100,000 jobs take a second.
    """
    changes = look_up(
        list(plan.identities()) if identities is None else identities,
        lambda prints: ledger.do(queries.made_by_fingerprint, plan.campaign, prints),
        lambda names: ledger.do(queries.made_by_name, plan.campaign, names),
    )
    return with_changed_images(ledger, plan, changes, etags)


def room_for(ledger: Ledger, plan: Demand) -> dict[Cap, int]:
    """Return what is left under each cap that bounds the plan, in nano-dollars.

    These are the plan's own and those of the ledger that any of its jobs counts in. A cap of the plan takes
    the place of the ledger's cap of the same name: it is what the run will set. Nothing is left where an
    account is frozen.
    """
    demands = plan.demands()
    standing = [cap for cap in standing_caps(ledger) if any(counts_in(each, cap) for each in demands)]
    caps = {(cap.scope, cap.key, cap.window): cap for cap in [*standing, *plan.caps]}
    now_ms = ledger.do(queries.now_ms)
    refs = {cap: AccountRef(cap.scope, cap.key, window_at(cap.window, now_ms)) for cap in caps.values()}
    now = ledger.do(admission.headroom, refs.values())
    return {
        cap: 0 if now[ref].frozen else max(0, cap.limit_nano - now[ref].taken_nano)
        for cap, ref in refs.items()
    }


def standing_caps(ledger: Ledger) -> list[Cap]:
    """Return the ledger's caps that a new run obeys: those of earlier runs are theirs alone."""
    return [cap for cap in ledger.do(admission.caps) if cap.scope not in OF_A_RUN]


def standing_under(ledger: Ledger, plan: Plan) -> list[Cap]:
    """Return the standing caps that have the name of one of the plan's own."""
    names = {(cap.scope, cap.key, cap.window) for cap in plan.caps}
    return [cap for cap in standing_caps(ledger) if (cap.scope, cap.key, cap.window) in names]


def changed_caps(ledger: Ledger, plan: Plan) -> list[tuple[Cap, Cap]]:
    """Return the standing caps that the plan's own will replace, each with the new one."""
    new = {(cap.scope, cap.key, cap.window): cap for cap in plan.caps}
    pairs = ((old, new[old.scope, old.key, old.window]) for old in standing_under(ledger, plan))
    return [(old, cap) for old, cap in pairs if cap.limit_nano != old.limit_nano]


def refuse_caps_set_since(ledger: Ledger, plan: Plan) -> None:
    """Raise PlanChanged where a plan file would replace a cap that was set since it was written.

    Whoever set it meant something by it; the plan was approved without knowing. What is compared is the
    limit: one that was changed and changed back, or taken away, is not noticed. Nothing is compared with
    another ledger than the one that the plan was shown with.
    """
    shown = plan.shown_with
    if shown is None or shown.ledger_id != ledger.id:
        return
    then = {(cap.scope, cap.key, cap.window): cap.limit_nano for cap in shown.caps}
    since = [
        f"the cap on {new.label} was set to ${usd_text(old.limit_nano)} since, and the plan would replace it "
        f"with its own of ${usd_text(new.limit_nano)}"
        for old, new in changed_caps(ledger, plan)
        if then.get((old.scope, old.key, old.window)) != old.limit_nano
    ]
    if since:
        raise PlanChanged(since)


def refuse_unless_it_fits(spends: Sequence[Spend], room: Room) -> None:
    """Raise OverBudget, naming the cap, where all of these together do not fit; nothing was sent."""
    for short in shortfalls(spends, room):
        cap = short.cap
        name = scope_label(cap.scope, cap.key)
        raise OverBudget(
            f"it does not fit: up to {usd_rounded_up(short.needed_nano)} needed, "
            f"{usd_rounded_up(short.left_nano)} left under the {cap.window} cap of the {name} "
            f"({usd_rounded_up(cap.limit_nano)}); nothing was sent. Raise the cap, shorten the list, or take "
            "what fits with --fit",
            scope=cap.scope,
            limit_nano=cap.limit_nano,
            taken_nano=cap.limit_nano - short.left_nano,
            needed_nano=short.needed_nano,
        )


def require_a_cap(ledger: Ledger, plan: Demand) -> None:
    """Raise UsageError for a run against fal that nothing bounds: a cap on something else is none."""
    spends = plan.demands()
    caps = [*plan.caps, *standing_caps(ledger)]
    if spends and not any(counts_in(spend, cap) for cap in caps for spend in spends):
        raise UsageError(
            "this run has no cap. Say the most it may cost: --budget-usd 25, [budget] in the campaign file, "
            "or once for all runs `callsheet budget set ledger 100`"
        )


def open_run(
    ledger: Ledger, plan: Plan, selection: Selection, *, out: Path, options: str, etags: Etags | None = None
) -> str:
    """Make the run's folder, write plan and manifest, put the jobs to buy into the ledger; returns its id.

    A run that is refused leaves no folder.
    """
    refuse_older_ledger(ledger, out)
    run_id = new_run_id(plan.campaign)
    folder = (out / run_id).resolve()
    (folder / "media").mkdir(parents=True)
    try:
        with naming_commands(ledger):
            _write_run(ledger, plan, selection, run_id, folder, options=options, etags=etags)
    except (UsageError, DiskFull, Busy):  # refused: the ledger has no such run, or it was never opened
        _remove_unused(folder)
        raise
    failpoints.passing("after_open")
    remember(ledger, out, run_id)
    return run_id


def _write_run(
    ledger: Ledger,
    plan: Plan,
    selection: Selection,
    run_id: str,
    folder: Path,
    *,
    options: str,
    etags: Etags | None,
) -> None:
    """Write plan and manifest into the run's folder, then the run and its jobs into the ledger.

    Pictures that are written into the manifest itself become files of the run.
    """
    import pyarrow as pa  # noqa: PLC0415 -- 0.1 s
    import pyarrow.parquet as pq  # noqa: PLC0415 -- 0.1 s

    kept = replace(plan, source=bare_address(plan.source)) if isinstance(plan.source, str) else plan
    write_plan(kept, folder / "plan.json")
    with naming_full_disk(folder, "make room or name another folder with --out"):
        pq.write_table(manifest_table(plan), folder / "manifest.parquet")
    known = etags_to_remember(plan, selection.buy, etags)
    changes = selection.changes
    retakes = replace(plan.retakes, step=plan.largest_take()) if plan.retakes else None
    ledger.open_run(
        NewRun(
            run_id=run_id,
            campaign=plan.campaign,
            plan_hash=plan.hash,
            price_book=plan.price_book,
            out=str(folder),
            options=options,
            prices=pins_text([first_pin(load_catalog())]),
            look=look_text(plan.look, retakes),
            priority=plan.priority,
            share=plan.share,
        ),
        [
            new_job(
                remembering(materialised(planned.job, folder / "inputs"), known),
                planned.fingerprint,
                planned.quote,
                position=position,
                retakes_max=retakes.most if retakes else 0,
            )
            for position, planned in plan.picked((*selection.buy, *selection.left))
        ],
        [replace(cap, key=run_id) if cap.scope in OF_A_RUN else cap for cap in plan.caps],
        left=selection.left,
        once=not selection.again,
        over={changes.changed[each].fingerprint: changes.changed[each].job_id for each in changes.pictures},
    )
    pa.default_memory_pool().release_unused()  # Arrow keeps what it has freed, and a run takes hours


def _remove_unused(folder: Path) -> None:
    """Remove the folder of a run that was refused. One that holds more than was written for it stays."""
    ours = {"inputs", "manifest.parquet", "media", "plan.json", ROWS_FILE}
    if {each.name for each in folder.iterdir()} <= ours and not any((folder / "media").iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def new_run_id(campaign: str) -> str:
    """Name a run after its campaign and the UTC second it begins in, with four letters against twins.

    Letters lose their accents, because the name is typed in commands: `fruhling` for `Frühling`.
    """
    letters = unicodedata.normalize("NFKD", campaign.casefold())
    plain = "".join(each for each in letters if not unicodedata.combining(each))
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "run"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def new_job(
    job: Job, fingerprint: str, quote: Quote, *, position: int, retake: int = 0, retakes_max: int = 0
) -> NewJob:
    """Make the ledger's row of a job that is to be bought."""
    return NewJob(
        position=position,
        row=job.row,
        custom_id=job.custom_id,
        endpoint=job.endpoint.id,
        model=job.endpoint.model,
        fingerprint=fingerprint,
        payload=encode_job(job),
        expected_nano=quote.expected_nano,
        maximum_nano=quote.maximum_nano,
        take=job.take,
        priority=job.priority,
        client=job.client,
        output_name=job.output_name,
        render_kind=RenderKind.of(job.endpoint.id, quote).text,
        draft=bool(job.draft),
        retake=retake,
        retakes_max=retakes_max,
    )


def refuse_frozen(ledger: Ledger, plan: Demand) -> None:
    """Raise OverBudget where an account that the plan counts in is frozen; nothing was sent."""
    frozen = frozen_accounts(ledger, plan)
    if not frozen:
        return
    owners = dict.fromkeys(scope_label(each.ref.scope, each.ref.key) for each in frozen)
    names = ", ".join(list(owners)[:5])
    first = frozen[0]
    look, go_on = (command("budget", verb, sandbox=ledger.is_sandbox) for verb in ("list", "unfreeze"))
    raise OverBudget(
        f"frozen: {names}. A bill came out above what was held for it, and has not been checked yet; nothing "
        f"was sent. `{look}` names the bill; go on with `{go_on}`",
        scope=str(first.ref),
        limit_nano=first.limit_nano or 0,
        taken_nano=first.taken_nano,
        needed_nano=0,
    )


def frozen_accounts(ledger: Ledger, plan: Demand) -> list[Account]:
    """Return the frozen accounts that jobs of the plan would count in now."""
    frozen = [account for account in ledger.do(admission.balances) if account.frozen]
    if not frozen:
        return []
    owners = {(need.client, need.model) for need in plan.demands()}
    now_ms = ledger.do(queries.now_ms)
    concerned = refs_of_owners(owners, campaign=plan.campaign, run_id="", at_ms=now_ms)
    return [account for account in frozen if account.ref in concerned]
