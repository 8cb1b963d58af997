"""A person says which request an unknown submission bought: what is checked, written down, and followed."""

import pytest

from callsheet.engine.collect_runs import settle_and_collect
from callsheet.errors import Unavailable, UsageError
from callsheet.ledger import Ledger, State, history
from callsheet.reconciliation.decisions import adopt

pytestmark = pytest.mark.anyio

NEVER = "00000000-0000-4000-8000-00000000dead"
PRO = "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"


async def doubled(house, prompt):
    """Open a run whose lost reply fits two requests; return the run, our request and the stranger's."""
    run_id = house.open_run(f"a,{prompt},77")
    house.arm("reset")
    await house.work(run_id)
    (ours,) = house.accepted(prompt)
    other = house.buy_by_hand(ours["arguments"])
    await house.ended(prompt, 2)
    (found,) = (await house.settled()).each
    assert found.outcome == "ambiguous"
    return run_id, ours["id"], other


async def adopted(house, request_id, *, name="a", reason="the dashboard shows our seed"):
    """Do what `callsheet reconcile --adopt` does."""
    async with house.account() as account:
        await adopt(account, name, request_id, reason=reason)
        return await settle_and_collect(account)


async def test_an_ambiguous_job_takes_the_request_that_a_person_names(house):
    """It is followed to its file, at its price, and the book's lines carry who decided and why."""
    run_id, ours, _ = await doubled(house, "A named boat")

    await adopted(house, ours)

    row = house.row(run_id)
    assert (row.state, row.purchases, row.ticket.request_id) == (State.SUCCEEDED, 1, ours)
    assert (house.folder / "runs" / run_id / row.output.path).exists()
    with Ledger.open(house.settings.ledger) as ledger:
        hold, *rest = [line.why for line in ledger.stream(history.entries)]
    assert hold == ""
    assert all(f"request {ours} adopted by " in why and "shows our seed" in why for why in rest)
    assert house.sound()


async def test_a_closed_history_leaves_the_queue_to_ask(house):
    """With the platform API down the queue's word that the request exists is enough."""
    run_id, ours, _ = await doubled(house, "A dark boat")
    house.arm("nginx_error", route="platform", count=None)
    await adopted(house, ours)
    assert house.row(run_id).state is State.SUCCEEDED


async def refused(house, run_id, request_id, **more):
    """Return why a request cannot be adopted; nothing is changed by that."""
    with pytest.raises(UsageError) as caught:
        await adopted(house, request_id, **more)
    assert (house.row(run_id).state, house.row(run_id).ticket) == (State.UNKNOWN, None)
    assert house.sound()
    return str(caught.value)


async def test_a_request_that_fal_does_not_have_is_not_adopted(house):
    """Neither history nor queue has it."""
    run_id, _, _ = await doubled(house, "A boat of nowhere")
    assert "neither fal's request history nor its queue" in await refused(house, run_id, NEVER)
    assert "is not the id of a request" in await refused(house, run_id, "x")


async def test_a_request_of_another_endpoint_is_not_adopted(house):
    """Both endpoints are named."""
    run_id, _, _ = await doubled(house, "A fast boat")
    fast = house.buy_by_hand({"prompt": "A fast boat", "resolution": "480p"}, endpoint=PRO)
    said = await refused(house, run_id, fast)
    assert f"sent to {PRO}" in said
    assert "seedance/v1/lite/text-to-video" in said


async def test_a_request_with_another_body_is_not_adopted(house):
    """The fields in which it differs are named, so that a wrong id does not bring a wrong video."""
    run_id, _, _ = await doubled(house, "A right boat")
    wrong = house.buy_by_hand({"prompt": "A wrong boat", "resolution": "480p", "num_frames": 29, "seed": 77})
    assert "differs from the job in aspect_ratio, prompt" in await refused(house, run_id, wrong)


async def test_a_request_that_another_job_has_is_not_adopted(house):
    """Its owner is named by number, name and run."""
    bought = house.open_run("b,An owned boat,77", campaign="first")
    await house.work(bought)
    owner = house.row(bought)
    run_id, _, _ = await doubled(house, "A poor boat")
    said = await refused(house, run_id, owner.ticket.request_id)
    assert f"belongs to job {owner.job_id} (b, run {bought})" in said


@pytest.mark.parametrize("reason", ["", "   ", "a\x1b[31m"])
async def test_an_adoption_needs_its_reason(house, reason):
    """Nothing is asked and nothing changed without one that can be read."""
    run_id, ours, _ = await doubled(house, f"A mute boat {len(reason)}")
    assert "reason" in await refused(house, run_id, ours, reason=reason)


async def test_while_fal_is_silent_nothing_is_adopted(house):
    """A request that nobody can vouch for stays where it is; the error says that fal could not be read."""
    run_id, ours, _ = await doubled(house, "A silent boat")
    for route in ("platform", "status"):
        house.arm("nginx_error", route=route, count=None)
    with pytest.raises(Unavailable):
        await adopted(house, ours)
    assert house.row(run_id).state is State.UNKNOWN


async def test_a_job_that_somebody_works_on_is_not_adopted_for(house):
    """A living owner keeps its run to itself."""
    run_id, ours, _ = await doubled(house, "A manned boat")
    with Ledger.open(house.settings.ledger) as owner, owner.claim(run_id):
        assert "being worked on by another process" in await refused(house, run_id, ours)
