"""The bills of a statement: all of them, each once, and they add up."""

from callsheet.ledger import EntryFilter, Event, State, finishing, history, queries
from callsheet.ledger.bill_lines import Bill, read_bills
from tests.integration.ledger.conftest import NOON_MS, new_finish

DAY_MS = 86_400_000


def bills(desk, **wanted) -> tuple[tuple, list[Bill]]:
    """Return the groups and the bills, having checked that they add up to the ledger's own sums."""
    sums, *lines = desk.ledger.stream(read_bills, EntryFilter(**wanted), with_costs=True)
    for group, costs in zip(sums.groups, sums.costs, strict=True):
        own = [each for each in lines if (each.client, each.campaign) == (group.client, group.campaign)]
        assert [each.cost_nano for each in own] == list(costs)
        assert (group.submissions, group.spent_nano) == (len(own), sum(costs))
    total = desk.ledger.do(history.spending, [], EntryFilter(**wanted))
    assert sum(each.cost_nano for each in lines) == sum(each.spent_nano for each in total)
    return sums.groups, lines


def test_every_bill_is_listed_once_by_client_and_campaign(desk) -> None:
    """What was refused or is only held is no bill; spellings of a client stand together."""
    jobs = desk.run(5)
    for job, state in zip(jobs, (State.SUCCEEDED, State.FAILED, State.HELD, State.UNKNOWN), strict=False):
        desk.bring(job, state)
    (north,) = desk.run(campaign="autumn", client="north")
    (shout,) = desk.run(client="ACME")
    (nobody,) = desk.run(client="")
    for job in (north, shout, nobody):
        desk.bring(job, State.SUCCEEDED)
    desk.do(Event.WRITE_OFF, jobs[3])
    groups, lines = bills(desk)
    assert {(each.client.lower(), each.campaign, each.submissions) for each in groups} == {
        ("", "spring", 1),
        ("acme", "spring", 3),
        ("north", "autumn", 1),
    }
    assert len({each.client for each in lines if each.client.lower() == "acme"}) == 1
    assert {each.cost_basis for each in lines} == {"billable_units", "hold"}
    assert len(bills(desk, client=" Acme ")[1]) == 3
    assert [each.run_id for each in bills(desk, campaign="autumn")[1]] == [lines[-1].run_id]
    assert bills(desk, client="nobody else") == ((), [])


def test_a_bill_counts_in_the_day_of_its_hold(desk) -> None:
    """As in the sums: a month's statement has what was ordered in it."""
    (first,) = desk.run()
    desk.bring(first, State.RENDERED)
    desk.clock.now_ms += DAY_MS
    desk.do(Event.SETTLE, first)
    (second,) = desk.run()
    desk.bring(second, State.SUCCEEDED)
    midnight_ms = NOON_MS - NOON_MS % DAY_MS + DAY_MS
    assert [each.admitted_ms for each in bills(desk, until_ms=midnight_ms)[1]] == [NOON_MS]
    assert [each.admitted_ms for each in bills(desk, since_ms=midnight_ms)[1]] == [NOON_MS + DAY_MS]


def test_a_draft_and_its_finish_are_two_bills_of_one_clip(desk) -> None:
    """Each says which of the two it is; a clip that is no draft says nothing."""
    drafted, plain = desk.run(2, run_id="r")
    desk.bring(drafted, State.SUCCEEDED)
    desk.sql(f"UPDATE job SET draft = 0 WHERE job_id = {plain}")
    desk.bring(plain, State.SUCCEEDED)
    assert sorted(each.stage for each in bills(desk)[1]) == ["", "draft"]
    desk.ledger.do(finishing.finish, "r", [new_finish(drafted)])
    desk.bring(drafted, State.SUCCEEDED)
    named = {each.stage: each.custom_id for each in bills(desk)[1]}
    assert named["draft"] == named["finish"] == desk.ledger.do(queries.job, drafted).custom_id
    assert len(bills(desk)[1]) == 3
