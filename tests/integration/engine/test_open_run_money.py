"""What a new run is measured against before anything is sent."""

import json
import time
from pathlib import Path

import pytest

from callsheet.engine.open_run import changed_caps, refuse_frozen, require_a_cap, room_for, select
from callsheet.engine.rollback_guard import accept, mark_file, refuse_older_ledger, remember
from callsheet.errors import AccountFrozen, LedgerUnsafe, OverBudget, UsageError
from callsheet.ledger import (
    Ledger,
    NewJob,
    NewRun,
    Settlement,
    admission,
    history,
    queries,
    runs,
    settlement,
    transitions,
)
from callsheet.ticket import Ticket
from manifests.plan import Plan, PlanOptions
from manifests.planner import make_plan
from pricing.budgets import Cap

DAY_MS = 86_400_000
COST_NANO = 30_000_000


class Office:
    """A folder with a manifest of two clips, and a ledger with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = time.time_ns() // 1_000_000
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}", clock=lambda: self.now_ms)

    def plan(self, *, budget_usd: str | None = None, daily_usd: str = "") -> Plan:
        """Plan two clips of one campaign."""
        (self.folder / "shots.csv").write_text(
            "custom_id,prompt,model,resolution,duration,client\n"
            "a,A boat,seedance-1.0-lite,480p,2,acme\nb,A ship,seedance-1.0-lite,480p,2,acme\n"
        )
        budget = f"[budget]\ndaily_usd = {daily_usd}\n" if daily_usd else ""
        (self.folder / "c.toml").write_text(f'[campaign]\nname = "spring"\nmanifest = "shots.csv"\n{budget}')
        return make_plan(self.folder / "c.toml", overrides=PlanOptions(budget_usd=budget_usd))

    def bought(self, run_id: str, *, cost_nano: int = COST_NANO, caps: tuple[...] = ()) -> None:
        """Buy one clip of the campaign."""
        run = NewRun(run_id=run_id, campaign="spring", plan_hash="h", price_book="p", out=str(self.folder))
        job = NewJob(
            row=2,
            custom_id="x",
            endpoint="fal-ai/x",
            model="seedance-1.0-lite",
            fingerprint=run_id,
            payload="{}",
            expected_nano=COST_NANO,
            maximum_nano=COST_NANO,
            client="acme",
        )
        self.ledger.do(runs.open_run, run, [job], caps)
        (row,) = self.ledger.do(queries.jobs, run_id)
        self.ledger.do(admission.admit, row.job_id, slots=10)
        self.ledger.do(transitions.send, row.job_id, arguments_sha256="x")
        self.ledger.do(transitions.accept, row.job_id, Ticket(f"request-{run_id}", "e", "s", "r", "c"))
        self.ledger.do(transitions.render, row.job_id)
        self.ledger.do(
            settlement.settle,
            row.job_id,
            Settlement(cost_nano=cost_nano, cost_basis="expected", result_json="{}"),
        )


@pytest.fixture
def office(tmp_path):
    """An office whose ledger is closed at the end."""
    made = Office(tmp_path)
    yield made
    made.ledger.close()


def test_the_cap_of_an_earlier_run_is_not_in_the_way_of_the_next(office):
    """`--budget-usd` of one run bounds that run alone, also when it is spent."""
    cap = Cap("run", "one", "total", COST_NANO)
    office.bought("one", caps=(cap,))
    plan = office.plan(budget_usd="1")
    assert list(room_for(office.ledger, plan).values()) == [1_000_000_000]
    assert len(select(office.ledger, plan, fit=False).buy) == 2


def test_a_day_is_measured_by_what_was_spent_on_it(office):
    """Yesterday's spending leaves today's cap whole; today's does not. Days begin by the ledger's clock."""
    office.bought("yesterday")
    office.now_ms += DAY_MS
    plan = office.plan(daily_usd="0.10")
    assert list(room_for(office.ledger, plan).values()) == [100_000_000]
    office.bought("today")
    assert list(room_for(office.ledger, plan).values()) == [100_000_000 - COST_NANO]


def test_the_month_of_a_campaign_counts_every_day_of_it(office):
    """A standing cap per month is part of what a plan is measured against."""
    office.bought("one")
    office.ledger.do(admission.set_cap, "campaign", "spring", "month", 2 * COST_NANO)
    (left,) = room_for(office.ledger, office.plan()).values()
    assert left == COST_NANO
    with pytest.raises(OverBudget, match="month cap of the campaign spring"):
        select(office.ledger, office.plan(), fit=False)


@pytest.mark.parametrize(
    ("scope", "key", "bounds"),
    [
        ("ledger", "", True),
        ("client", "acme", True),
        ("campaign_client", "spring/acme", True),
        ("model", "seedance-1.0-lite", True),
        ("campaign", "summer", False),
        ("campaign_client", "summer/acme", False),
        ("client", "northwind", False),
        ("model", "seedance-1.0-pro", False),
    ],
)
def test_a_plan_is_set_beside_the_caps_that_bound_it(office, scope, key, bounds):
    """Caps of other campaigns, clients and models stand in no plan."""
    office.ledger.do(admission.set_cap, scope, key, "total", 10**9)
    assert [cap.scope for cap in room_for(office.ledger, office.plan())] == [scope] * bounds


def test_a_cap_that_a_campaign_file_will_replace_is_named(office):
    """A file that raises what a person has set does not do it in silence; an equal cap is no news."""
    office.ledger.do(admission.set_cap, "campaign", "spring", "day", 100_000_000)
    assert changed_caps(office.ledger, office.plan(daily_usd="0.10")) == []
    ((old, new),) = changed_caps(office.ledger, office.plan(daily_usd="5"))
    assert (old.label, old.limit_nano, new.limit_nano) == (
        "campaign spring, per day",
        100_000_000,
        5 * 10**9,
    )


@pytest.mark.parametrize(
    ("scope", "key", "bounded"),
    [
        ("ledger", "", True),
        ("campaign", "spring", True),
        ("client", "acme", True),
        ("model", "seedance-1.0-lite", True),
        ("run", "one", False),
        ("campaign", "summer", False),
        ("client", "northwind", False),
    ],
)
def test_only_a_cap_that_bounds_the_run_is_a_cap(office, scope, key, bounded):
    """A cap on something else, or of an earlier run, does not let an unbounded run through."""
    office.bought("one")
    office.ledger.do(admission.set_cap, scope, key, "total", 10**12)
    if bounded:
        require_a_cap(office.ledger, office.plan())
    else:
        with pytest.raises(UsageError, match="budget set ledger"):
            require_a_cap(office.ledger, office.plan())


def test_a_frozen_account_stops_a_run_before_anything_is_sent(office):
    """A bill above its hold lets nothing in until a person has looked, and the message says what to do."""
    office.bought("exact")
    office.bought("one", cost_nano=900 * COST_NANO)
    with pytest.raises(OverBudget, match="budget unfreeze"):
        refuse_frozen(office.ledger, office.plan())
    assert list(room_for(office.ledger, office.plan(daily_usd="100")).values()) == [0]
    with pytest.raises(AccountFrozen, match="is frozen: a cost came out above"):
        office.bought("two")
    (over,) = office.ledger.do(history.overruns)
    assert (over.request_id, over.cost_nano, over.hold_nano) == ("request-one", 900 * COST_NANO, COST_NANO)
    office.ledger.do(admission.unfreeze)
    refuse_frozen(office.ledger, office.plan())


def test_a_refusal_on_the_sandbox_names_commands_for_the_sandbox(tmp_path):
    """Pasted without `--sandbox` they would act on the ledger of real money, and find nothing to release."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    office = Office(folder)
    with office.ledger as ledger:
        office.bought("one", cost_nano=900 * COST_NANO)
        with pytest.raises(OverBudget, match=r"`callsheet budget list --sandbox`.*unfreeze --sandbox`"):
            refuse_frozen(ledger, office.plan())
        mark_file(ledger, tmp_path).write_text('{"entries": 9, "run_id": "later"}')
        with pytest.raises(LedgerUnsafe, match=f"`callsheet ledger accept {tmp_path} --sandbox`"):
            refuse_older_ledger(ledger, tmp_path)


def test_a_ledger_restored_from_a_copy_is_refused_until_a_person_accepts_it(office, tmp_path):
    """Yesterday's copy would buy today's videos again: it is refused, named, and accepted by a command."""
    out = tmp_path / "runs"
    out.mkdir()
    office.bought("one")
    copy = tmp_path / "copy.sqlite"
    office.ledger.backup(copy)
    office.bought("two")
    remember(office.ledger, out, "two")
    refuse_older_ledger(office.ledger, out)
    with Ledger.open(f"sqlite:///{copy}") as restored:
        with pytest.raises(LedgerUnsafe, match="lacks the run two"):
            refuse_older_ledger(restored, out)
        assert accept(restored, out).entries == 6
        refuse_older_ledger(restored, out)


@pytest.mark.parametrize(("entries", "run_id"), [(3, "two"), (4, "one")])
def test_either_a_missing_run_or_a_missing_entry_shows_an_old_ledger(office, tmp_path, entries, run_id):
    """A run opened without an entry, and an entry of a run that is known, are both missed."""
    out = tmp_path / "runs"
    out.mkdir()
    office.bought("one")
    mark_file(office.ledger, out).write_text(json.dumps({"entries": entries, "run_id": run_id}))
    with pytest.raises(LedgerUnsafe, match=f"3 entries of {entries}"):
        refuse_older_ledger(office.ledger, out)


def test_a_mark_that_cannot_be_read_is_named(office, tmp_path):
    """A damaged mark stops the run too, and the message says which file it is."""
    office.bought("one")
    mark_file(office.ledger, tmp_path).write_text("{")
    with pytest.raises(LedgerUnsafe, match=r"\.ledger-.*cannot be read"):
        refuse_older_ledger(office.ledger, tmp_path)


def test_ledgers_do_not_meet_in_one_folder(office, tmp_path):
    """The sandbox's ledger and the real one may run into the same folder: each has its own mark."""
    out = tmp_path / "runs"
    out.mkdir()
    office.bought("one")
    remember(office.ledger, out, "one")
    with Ledger.open(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        refuse_older_ledger(other, out)
