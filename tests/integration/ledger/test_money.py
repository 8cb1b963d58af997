import pytest

from callsheet.errors import CapReached, LedgerError, NoSlot, UsageError
from callsheet.ledger import (
    AccountRef,
    Event,
    Settlement,
    State,
    admission,
    history,
    queries,
    settlement,
    verify,
)
from pricing.budgets import Cap

E = Event
UNTIL_RENDERED = (E.ADMIT, E.SEND, E.ACCEPT, E.START, E.RENDER)
DAY_MS = 86_400_000

# what happened -> what is held, what is spent, how many slots are taken
EFFECTS = [
    ((), (0, 0, 0)),
    ((E.ADMIT,), (100, 0, 1)),
    ((E.ADMIT, E.RELEASE), (0, 0, 0)),
    ((E.ADMIT, E.FAIL_INPUTS), (0, 0, 0)),
    ((E.ADMIT, E.CANCEL), (0, 0, 0)),
    ((E.ADMIT, E.SEND), (100, 0, 1)),
    ((E.ADMIT, E.SEND, E.NOT_SENT), (100, 0, 1)),
    ((E.ADMIT, E.SEND, E.REFUSE), (0, 0, 0)),
    ((E.ADMIT, E.SEND, E.LOSE), (100, 0, 1)),
    ((E.ADMIT, E.SEND, E.LOSE, E.FIND), (100, 0, 1)),
    ((E.ADMIT, E.SEND, E.LOSE, E.DECLARE_ABSENT), (0, 0, 0)),
    ((E.ADMIT, E.SEND, E.LOSE, E.WRITE_OFF), (0, 100, 0)),
    ((E.ADMIT, E.SEND, E.ACCEPT), (100, 0, 1)),
    ((E.ADMIT, E.SEND, E.ACCEPT, E.START), (100, 0, 1)),
    ((E.ADMIT, E.SEND, E.ACCEPT, E.CANCEL), (0, 0, 0)),
    (UNTIL_RENDERED, (100, 0, 0)),
    ((*UNTIL_RENDERED, E.FAIL_RENDER), (0, 0, 0)),
    ((*UNTIL_RENDERED, E.SETTLE), (0, 90, 0)),
    ((*UNTIL_RENDERED, E.SETTLE, E.SETTLE), (0, 90, 0)),
    ((*UNTIL_RENDERED, E.SETTLE, E.COLLECT), (0, 90, 0)),
    ((*UNTIL_RENDERED, E.SETTLE, E.FAIL_MEDIA), (0, 90, 0)),
    ((*UNTIL_RENDERED, E.SETTLE, E.FAIL_MEDIA, E.RETRY, E.ADMIT), (100, 90, 1)),
]


@pytest.mark.parametrize(("events", "effect"), EFFECTS)
def test_every_verb_moves_exactly_its_money_and_its_slot(desk, events, effect) -> None:
    """Held, spent and taken slots after each path are those of the drawing, in each account alike."""
    (job_id,) = desk.run()
    for event in events:
        desk.do(event, job_id)
    owners = [("ledger", ""), ("campaign", "spring"), ("client", "acme"), ("campaign_client", "spring/acme")]
    owners += [("model", "seedance-1.0-pro-fast"), ("run", "run-0")]
    assert {desk.account(*owner) for owner in owners} == {effect[:2]}
    assert desk.account(window="2026-11-21") == desk.account(window="2026-11") == effect[:2]
    assert desk.slots() == effect[2]
    assert sum(entry.amount_nano for entry in desk.ledger.stream(history.entries)) == effect[0] + effect[1]


@pytest.mark.parametrize(
    ("given", "booked"),
    [
        ({"charged": "no"}, (0, "none", "no")),
        ({"charged": "no", "cost_nano": 50}, (0, "none", "no")),
        (
            {"charged": "yes", "cost_nano": 50, "cost_basis": "billable_units"},
            (50, "billable_units", "yes"),
        ),
        ({"charged": "yes"}, (100, "hold", "yes")),  # charged, and nobody says how much
        ({"charged": "unknown"}, (100, "hold", "unknown")),
        ({"charged": "unknown", "cost_nano": 50}, (100, "hold", "unknown")),
    ],
)
def test_a_failed_render_costs_what_is_known_and_else_the_hold(desk, given, booked) -> None:
    """Only what fal certainly did not charge is given back; unclear is counted as spent."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.IN_PROGRESS)
    desk.ledger.do(settlement.fail_render, job_id, error="x", **given)
    row = desk.ledger.do(queries.job, job_id)
    assert (row.submission.cost_nano, row.submission.cost_basis, row.charged) == booked
    assert desk.account() == (0, booked[0])


@pytest.mark.parametrize(("charged", "spent"), [("no", 0), ("unknown", 100)])
@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_QUEUE, State.IN_PROGRESS])
def test_refused_and_cancelled_jobs_give_back_only_what_is_certainly_free(
    desk, state, charged, spent
) -> None:
    """A 422 and a cancellation that fal is not clear about are booked at the hold."""
    (job_id,) = desk.run()
    desk.bring(job_id, state)
    end = settlement.refuse if state is State.SUBMITTING else settlement.cancel
    desk.ledger.do(end, job_id, charged=charged)
    assert desk.account() == (0, spent)


def test_settling_stores_what_fal_said_in_the_same_breath(desk) -> None:
    """Cost, basis, units, seed and the whole reply are there as soon as the hold is gone."""
    (job_id,) = desk.run()
    row = desk.bring(job_id, State.RENDERED, settled=True)
    submission = row.submission
    assert (submission.cost_nano, submission.cost_basis, submission.billable_units) == (
        90,
        "billable_units",
        "0.9",
    )
    assert (submission.seed_used, submission.result_json, row.charged) == (7, '{"a": 1}', "yes")


def test_a_replayed_settlement_answers_with_the_first_one(desk) -> None:
    """The second reply may say what it likes: the first one was booked."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.RENDERED, settled=True)
    other = Settlement(cost_nano=55, cost_basis="expected", result_json="{}")
    again = desk.ledger.do(settlement.settle, job_id, other)
    assert (again.cost_nano, again.cost_basis, again.replayed) == (90, "billable_units", True)


def test_a_cost_above_its_hold_is_booked_in_full_and_stops_the_spending(desk) -> None:
    """Spent money is never left out; nothing more is admitted until a person has looked."""
    first, second = desk.run(2)
    desk.bring(first, State.RENDERED)
    booking = desk.ledger.do(
        settlement.settle, first, Settlement(cost_nano=130, cost_basis="billable_units", result_json="{}")
    )
    assert booking.overrun_nano == 30
    assert desk.account() == (0, 130)
    assert all(account.frozen and account.left_nano == 0 for account in desk.ledger.do(admission.balances))
    with pytest.raises(CapReached, match="frozen"):
        desk.ledger.do(admission.admit, second, slots=10)
    assert desk.ledger.do(admission.unfreeze) == 8
    desk.ledger.do(admission.admit, second, slots=10)


def test_an_overrun_is_reported_once(desk) -> None:
    """The second settlement changes nothing, so it has no overrun that a run would stop for again."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.RENDERED)
    paid = Settlement(cost_nano=130, cost_basis="billable_units", result_json="{}")
    first, again = (desk.ledger.do(settlement.settle, job_id, paid) for _ in range(2))
    assert (first.overrun_nano, first.replayed) == (30, False)
    assert (again.cost_nano, again.overrun_nano, again.replayed) == (130, 0, True)


@pytest.mark.parametrize(("cost_nano", "overrun_nano"), [(130, 0), (120, 0), (150, 20)])
def test_a_bill_that_confirms_an_overrun_freezes_nothing_again(desk, cost_nano, overrun_nano) -> None:
    """After a person has looked at it, only what is above the booked cost is another overrun."""
    (job_id,) = desk.run()
    ticket = desk.bring(job_id, State.RENDERED).ticket
    paid = Settlement(cost_nano=130, cost_basis="billable_units", result_json="{}")
    desk.ledger.do(settlement.settle, job_id, paid)
    desk.ledger.do(admission.unfreeze)
    booking = desk.ledger.do(
        settlement.correct, ticket.request_id, cost_nano=cost_nano, cost_basis="billing_event"
    )
    assert booking.overrun_nano == overrun_nano
    assert {account.frozen for account in desk.ledger.do(admission.balances)} == {overrun_nano > 0}


def test_a_later_freeze_does_not_list_what_was_released_before(desk) -> None:
    """Whoever released it has looked at it; in the account of its run it stays an overrun for good."""
    jobs = desk.run(3)
    dear = Settlement(cost_nano=130, cost_basis="billable_units", result_json="{}")
    for job_id in jobs[:2]:
        desk.bring(job_id, State.RENDERED)

    def listed(**wanted: bool) -> list[str]:
        return [over.custom_id for over in desk.ledger.do(history.overruns, **wanted)]

    names = [desk.ledger.do(queries.job, job_id).custom_id for job_id in jobs]
    desk.ledger.do(settlement.settle, jobs[0], dear)
    assert listed(since_release=True) == names[:1]
    count, shown = desk.ledger.do(history.unfreeze)
    assert (count > 0, [over.custom_id for over in shown]) == (True, names[:1])
    assert desk.ledger.do(history.unfreeze) == (0, [])
    assert listed(since_release=True) == []
    desk.ledger.do(settlement.settle, jobs[1], dear)  # at the same moment by the clock, which stands still
    assert listed(since_release=True) == names[1:2]
    assert listed() == names[1::-1]
    desk.ledger.do(admission.unfreeze)
    assert listed(since_release=True) == []
    assert desk.ledger.do(verify.verify) == []


def test_a_release_shows_every_bill_that_it_is_about(desk) -> None:
    """Also where there are more than a list has: what was not shown would never be seen again."""
    jobs = desk.run(22)
    for job_id in jobs:
        desk.bring(job_id, State.RENDERED)
    for job_id in jobs:
        dear = Settlement(cost_nano=130, cost_basis="billable_units", result_json="{}")
        desk.ledger.do(settlement.settle, job_id, dear)
    assert len(desk.ledger.do(history.overruns, since_release=True)) == 20
    _, shown = desk.ledger.do(history.unfreeze)
    assert len(shown) == 22


@pytest.mark.parametrize(("cost_nano", "is_listed"), [(130, False), (120, False), (150, True)])
def test_a_higher_bill_of_a_released_overrun_is_listed_again(desk, cost_nano, is_listed) -> None:
    """It freezes again, so a person has to look at it again; one that confirms or lowers it does not."""
    (job_id,) = desk.run()
    ticket = desk.bring(job_id, State.RENDERED).ticket
    paid = Settlement(cost_nano=130, cost_basis="billable_units", result_json="{}")
    desk.ledger.do(settlement.settle, job_id, paid)
    desk.ledger.do(admission.unfreeze)
    desk.ledger.do(settlement.correct, ticket.request_id, cost_nano=cost_nano, cost_basis="billing_event")
    assert bool(desk.ledger.do(history.overruns, since_release=True)) == is_listed


def test_an_overrun_past_the_limit_is_still_booked(desk) -> None:
    """No limit can make the ledger forget what was paid."""
    (job_id,) = desk.run(caps=[Cap("run", "run-0", "total", 100)])
    desk.bring(job_id, State.RENDERED)
    desk.ledger.do(
        settlement.settle,
        job_id,
        Settlement(cost_nano=1_000_000, cost_basis="billable_units", result_json="{}"),
    )
    assert desk.account("run", "run-0") == (0, 1_000_000)


def test_a_bill_for_what_was_given_back_is_booked_though_the_money_is_taken(desk) -> None:
    """A late charge counts even where others have meanwhile used the cap up, and shows in `charged`."""
    first, second = desk.run(2, caps=[Cap("campaign", "spring", "total", 100)])
    ticket = desk.bring(first, State.IN_QUEUE).ticket
    desk.ledger.do(settlement.fail_render, first, charged="no", error="500")
    desk.ledger.do(admission.admit, second, slots=10)
    assert desk.account() == (100, 0)
    booking = desk.ledger.do(settlement.correct, ticket.request_id, cost_nano=90, cost_basis="billing_event")
    assert (booking.cost_nano, booking.overrun_nano) == (90, 0)
    assert desk.account() == (100, 90)
    row = desk.ledger.do(queries.job, first)
    assert (row.spent_nano, row.charged, row.submission.cost_basis) == (90, "yes", "billing_event")


def test_a_late_bill_of_an_earlier_attempt_says_nothing_about_the_latest(desk) -> None:
    """It is spent by the job; `charged` is about the attempt that is under way."""
    (job_id,) = desk.run()
    ticket = desk.bring(job_id, State.IN_QUEUE).ticket
    desk.ledger.do(settlement.fail_render, job_id, charged="no", error="500")
    for event in (E.RETRY, E.ADMIT):
        desk.do(event, job_id)
    desk.ledger.do(settlement.correct, ticket.request_id, cost_nano=90, cost_basis="billing_event")
    row = desk.ledger.do(queries.job, job_id)
    assert (row.spent_nano, row.charged) == (90, "")


@pytest.mark.parametrize("cost_nano", [0, 50, 90])
def test_a_correction_books_the_difference_once(desk, cost_nano: int) -> None:
    """The billing event decides in the end, and reading it twice changes nothing more."""
    (job_id,) = desk.run()
    ticket = desk.bring(job_id, State.SUCCEEDED).ticket
    for replayed in (False, True):
        booking = desk.ledger.do(
            settlement.correct, ticket.request_id, cost_nano=cost_nano, cost_basis="billing_event"
        )
        assert booking.replayed is replayed
    assert desk.account() == (0, cost_nano)


def test_what_cannot_be_corrected_says_why(desk) -> None:
    """A request that is unknown or not settled yet has no cost that could be wrong."""
    (job_id,) = desk.run()
    ticket = desk.bring(job_id, State.IN_QUEUE).ticket
    with pytest.raises(UsageError, match="no request nobody"):
        desk.ledger.do(settlement.correct, "nobody", cost_nano=1, cost_basis="billing_event")
    with pytest.raises(LedgerError, match="not settled yet"):
        desk.ledger.do(settlement.correct, ticket.request_id, cost_nano=1, cost_basis="billing_event")


def test_a_negative_cost_is_refused(desk) -> None:
    """A cost below zero would give money back that was never there."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.RENDERED)
    before = desk.dump()
    with pytest.raises(LedgerError, match="at least 0"):
        desk.ledger.do(
            settlement.settle, job_id, Settlement(cost_nano=-1, cost_basis="expected", result_json="{}")
        )
    assert desk.dump() == before


CAPS = [
    (Cap("ledger", "", "total", 199), "ledger"),
    (Cap("campaign", "spring", "total", 199), "campaign spring"),
    (Cap("campaign", "spring", "day", 199), "campaign spring in 2026-11-21"),
    (Cap("campaign", "spring", "month", 199), "campaign spring in 2026-11"),
    (Cap("client", "acme", "total", 199), "client acme"),
    (Cap("campaign_client", "spring/acme", "total", 199), "client acme in campaign spring"),
    (Cap("model", "seedance-1.0-pro-fast", "total", 199), "model seedance-1.0-pro-fast"),
    (Cap("run", "run-0", "total", 199), "run run-0"),
]


@pytest.mark.parametrize(("cap", "name"), CAPS)
def test_every_kind_of_cap_stops_the_job_that_would_pass_it(desk, cap: Cap, name: str) -> None:
    """The refusal names the account, its limit, what is taken and what is needed, and changes nothing."""
    first, second = desk.run(2, caps=[cap])
    desk.ledger.do(admission.admit, first, slots=10)
    before = desk.dump()
    with pytest.raises(CapReached) as refusal:
        desk.ledger.do(admission.admit, second, slots=10)
    error = refusal.value
    assert (error.scope, error.limit_nano, error.taken_nano, error.needed_nano) == (name, 199, 100, 100)
    assert desk.dump() == before


def test_a_refusal_says_in_dollars_what_is_taken_and_what_is_needed(desk) -> None:
    """What is held and what is spent are one sum; the next job's maximum is the other figure."""
    price = {"expected_nano": 100_000_000, "maximum_nano": 150_000_000}
    first, second, third = desk.run(3, caps=[Cap("campaign", "spring", "total", 400_000_000)], **price)
    desk.bring(first, State.RENDERED)
    desk.ledger.do(
        settlement.settle, first, Settlement(cost_nano=120_000_000, cost_basis="expected", result_json="{}")
    )
    desk.ledger.do(admission.admit, second, slots=10)
    said = "is 0.40 USD; 0.27 USD are held or spent, and the next job needs 0.15 USD"
    with pytest.raises(CapReached, match=said):
        desk.ledger.do(admission.admit, third, slots=10)


def test_a_job_that_fits_to_the_nano_dollar_is_admitted(desk) -> None:
    """The cap is the last amount that may be held, not the first that may not."""
    jobs = desk.run(2, caps=[Cap("campaign", "spring", "total", 200)])
    for job_id in jobs:
        desk.ledger.do(admission.admit, job_id, slots=10)
    assert desk.account() == (200, 0)


def test_a_daily_cap_starts_anew_at_midnight_utc_and_a_settlement_stays_in_its_day(desk) -> None:
    """The money of a hold is spent on the day it was put aside, whenever it is settled."""
    caps = [Cap("campaign", "spring", "day", 100)]
    first, second = desk.run(2, caps=caps)
    desk.bring(first, State.RENDERED)
    desk.clock.now_ms += DAY_MS
    desk.ledger.do(admission.admit, second, slots=10)
    desk.do(Event.SETTLE, first)
    assert desk.account(window="2026-11-21") == (0, 90)
    assert desk.account(window="2026-11-22") == (100, 0)
    assert desk.account(window="2026-11") == (100, 90)


def test_a_cap_that_is_set_later_knows_what_was_spent_before(desk) -> None:
    """Accounts count from the beginning, capped or not."""
    first, second = desk.run(2)
    desk.bring(first, State.SUCCEEDED)
    desk.ledger.do(admission.set_cap, "client", "acme", "total", 150)
    with pytest.raises(CapReached, match="client acme"):
        desk.ledger.do(admission.admit, second, slots=10)
    desk.ledger.do(admission.set_cap, "client", "acme", "total", None)
    desk.ledger.do(admission.admit, second, slots=10)
    assert desk.ledger.do(admission.caps) == []


def test_a_cap_of_one_window_leaves_the_others_as_they_are(desk) -> None:
    """A daily cap is the limit of the days; the month and the whole campaign get none."""
    desk.bring(*desk.run(), State.HELD)
    desk.ledger.do(admission.set_cap, "campaign", "spring", "day", 300)
    accounts = desk.ledger.do(admission.balances, scope="campaign", key="spring")
    limits = {account.ref.window: account.limit_nano for account in accounts}
    assert limits == {"total": None, "2026-11": None, "2026-11-21": 300}


def test_a_cap_below_what_is_taken_stops_everything_new_and_breaks_nothing(desk) -> None:
    """Lowering a cap is always possible; what was admitted before is finished and paid."""
    first, second = desk.run(2)
    desk.bring(first, State.RENDERED)
    desk.ledger.do(admission.set_cap, "campaign", "spring", "total", 10)
    with pytest.raises(CapReached):
        desk.ledger.do(admission.admit, second, slots=10)
    desk.do(Event.SETTLE, first)
    assert desk.account() == (0, 90)
    assert desk.ledger.do(verify.verify) == []


@pytest.mark.parametrize(
    ("scope", "key", "window", "limit_nano", "said"),
    [
        ("galaxy", "x", "total", 1, "there are caps on ledger, campaign"),
        ("model", "x", "day", 1, "per total, not per day"),
        ("campaign", "x", "week", 1, "per total or day or month"),
        ("campaign", "x", "total", -1, "at least 0"),
        ("campaign", "", "total", 1, "takes a name"),
        ("ledger", "x", "total", 1, "takes no name"),
    ],
)
def test_a_cap_that_no_account_could_carry_is_refused(desk, scope, key, window, limit_nano, said) -> None:
    """A typing mistake in a cap must not leave a campaign without one."""
    with pytest.raises(UsageError, match=said):
        desk.ledger.do(admission.set_cap, scope, key, window, limit_nano)
    assert desk.ledger.do(admission.caps) == []


def test_headroom_knows_accounts_that_nothing_counts_in_yet(desk) -> None:
    """A plan sees tomorrow's daily cap before the first job of that day."""
    desk.ledger.do(admission.set_cap, "campaign", "spring", "day", 300)
    (job_id,) = desk.run()
    desk.ledger.do(admission.admit, job_id, slots=10)
    today, tomorrow = (AccountRef("campaign", "spring", day) for day in ("2026-11-21", "2026-11-22"))
    free = AccountRef("model", "never used")
    found = desk.ledger.do(admission.headroom, [today, tomorrow, free])
    assert [found[ref].left_nano for ref in (today, tomorrow, free)] == [200, 300, None]


def test_slots_are_counted_over_the_whole_ledger(desk) -> None:
    """Two campaigns share the places at fal, and a place is free when the render ends."""
    (one,), (two,) = desk.run(), desk.run(campaign="summer")
    desk.bring(one, State.UNKNOWN)
    with pytest.raises(NoSlot, match="all 1 slots"):
        desk.ledger.do(admission.admit, two, slots=1)
    desk.do(Event.FIND, one)
    desk.do(Event.RENDER, one)
    desk.ledger.do(admission.admit, two, slots=1)
