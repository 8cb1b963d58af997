"""What is paid for can be fetched for free until fal says that it is gone."""

import csv
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from callsheet.cli.commands.run import _show_selection
from callsheet.engine.open_run import Selection
from callsheet.engine.run import carry_out, open_context, open_plan
from callsheet.engine.stopping import StopSignal
from callsheet.ledger import Ledger, State, transitions
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio

BAD_FILES = [
    "file_wrong",  # a page of HTML with 200
    "file_cut",
    "file_truncated",
    "file_redirect",
    "file_webm",
    "file_empty",
    "not_found",
]


async def carried_out(house: Any, run_id: str) -> dict[str, Any]:
    """Do what `callsheet run` and `callsheet resume` do, without Prefect and with short pauses."""
    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        ctx.state.fetch_pauses_s = (0.0, 0.0)
        return await carry_out(ctx)


def results(house: Any, run_id: str, name: str = "results.csv") -> list[dict[str, str]]:
    """Return the rows of a run's table."""
    return list(csv.DictReader((house.folder / "runs" / run_id / name).read_text().splitlines()))


@pytest.mark.parametrize("kind", BAD_FILES)
async def test_a_media_host_that_answers_badly_for_a_while_costs_nothing(house: Any, kind: str) -> None:
    """Two bad answers and a good one: the job succeeds in the same run, from the one purchase."""
    prompt = f"fetched at last {kind}"
    run_id = house.open_run(f"a,{prompt}")
    house.arm(kind, route="file", count=2)
    summary = await carried_out(house, run_id)
    assert (house.row(run_id).state, summary["exit_code"]) == (State.SUCCEEDED, 0)
    assert len(house.accepted(prompt)) == 1
    assert house.sound()


async def by_resume(house: Any, run_id: str) -> None:
    """Go on with the run."""
    await carried_out(house, run_id)


async def by_reconcile(house: Any, run_id: str) -> None:
    """Do what `callsheet reconcile` does."""
    (found,) = (await house.settled()).each
    assert (found.run_id, found.outcome) == (run_id, "collected")


async def by_the_next_run(house: Any, _run_id: str) -> None:
    """Run the same manifest once more, as the next night does."""
    plan = make_plan(str(house.folder / "spring.csv"))
    request = house.request("").model_copy(update={"run_id": None})
    second = await open_plan(plan, request, house.settings)
    assert house.rows(second) == []
    summary = await carried_out(house, second)
    assert (summary["exit_code"], summary["actual_usd"]) == (0, "0.00")
    (line,) = results(house, second)
    assert (house.folder / "runs" / second / line["output_path"]).is_file()


Fetch = Callable[[Any, str], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("fetch", [by_resume, by_reconcile, by_the_next_run])
@pytest.mark.parametrize("kind", ["file_wrong", "file_cut", "file_redirect"])
async def test_a_media_host_that_is_bad_for_a_whole_run_costs_nothing_either(
    house: Any, kind: str, fetch: Fetch
) -> None:
    """The run ends with 4, its row keeps the address, and whoever looks next fetches the video for free."""
    prompt = f"fetched later {kind} {fetch.__name__}"
    run_id = house.open_run(f"a,{prompt}")
    house.arm(kind, route="file", count=None)
    summary = await carried_out(house, run_id)
    row = house.row(run_id)
    assert (row.state, summary["exit_code"]) == (State.RENDERED, 4)
    assert "The video is paid for and can be fetched until" in row.error
    (line,) = results(house, run_id)
    assert line["status"] == "rendered"
    assert line["output_url"].startswith(house.address.url)
    assert results(house, run_id, "errors.csv") == []
    spent_nano = row.spent_nano

    house.faults.clear()
    await fetch(house, run_id)
    row = house.row(run_id)
    assert (row.state, row.error, row.spent_nano) == (State.SUCCEEDED, "", spent_nano)
    assert (house.folder / "runs" / run_id / row.output.path).is_file()
    assert len(house.accepted(prompt)) == 1
    assert house.sound()


async def test_the_next_run_buys_nothing_of_what_it_cannot_fetch_yet(house: Any) -> None:
    """The media host is still bad: the row is not bought again, and keeps its status and address."""
    prompt = "fetched not yet"
    run_id = house.open_run(f"a,{prompt}")
    house.arm("file_wrong", route="file", count=None)
    await carried_out(house, run_id)
    request = house.request("").model_copy(update={"run_id": None})
    second = await open_plan(make_plan(str(house.folder / "spring.csv")), request, house.settings)
    assert house.rows(second) == []
    assert (await carried_out(house, second))["exit_code"] == 4
    (line,) = results(house, second)
    assert line["status"] == "rendered"
    assert line["output_url"].startswith(house.address.url)
    assert len(house.accepted(prompt)) == 1


@pytest.mark.parametrize(
    ("kind", "bought", "said"),
    [
        ("file_wrong", (), "1 video not bought again: paid for and not downloaded yet"),
        ("not_found", (0,), "1 video to buy again: paid for before, and gone at fal"),
    ],
)
async def test_what_was_paid_for_before_is_told_before_anything_is_bought(
    house: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, kind, bought, said
) -> None:
    """What may still be had is left out; what fal no longer has is bought again, and also logged."""
    run_id = house.open_run(f"a,told of what was paid for {kind}")
    house.arm(kind, route="file", count=None)
    await carried_out(house, run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        row = house.row(run_id)
        if row.state is State.RENDERED:
            ledger.do(transitions.fail_media, row.job_id, error_type="file_gone", error="gone")

    def review(_ledger: Ledger, selection: Selection) -> None:
        assert selection.buy == bought
        assert (selection.lost, selection.waiting) == (bought, () if bought else (0,))
        _show_selection(selection, sandbox=True)

    request = house.request("").model_copy(update={"run_id": None})
    await open_plan(make_plan(str(house.folder / "spring.csv")), request, house.settings, review=review)
    assert said in capsys.readouterr().err
    assert ("no longer has the videos that were paid for: 1" in caplog.text) is bool(bought)


async def test_a_clip_of_the_wrong_size_is_read_once_and_stays_fetchable(house: Any) -> None:
    """The same bytes would come again: one download, kept in rejected/. `resume` looks again, for free."""
    prompt = "fetched askew"
    run_id = house.open_run(f"a,{prompt}")
    house.arm("swapped_size", prompt_contains=prompt)
    house.arm("file_slow", delay_s=0, count=None)  # it counts the downloads
    summary = await carried_out(house, run_id)
    downloads = house.faults.fired["file_slow"]
    row = house.row(run_id)
    assert (row.state, row.error_type, row.charged) == (State.FAILED, "wrong_size", "yes")
    assert (downloads, summary["exit_code"]) == (1, 4)
    (kept,) = (house.folder / "runs" / run_id / "rejected").iterdir()
    assert kept.name in row.error
    (line,) = results(house, run_id)
    assert line["output_url"].startswith(house.address.url)

    assert (await carried_out(house, run_id))["exit_code"] == 4
    assert house.faults.fired["file_slow"] > downloads
    assert (house.row(run_id).error_type, house.row(run_id).spent_nano) == ("wrong_size", row.spent_nano)
    assert len(house.accepted(prompt)) == 1
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert house.sound()
