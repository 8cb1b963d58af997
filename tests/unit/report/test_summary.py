import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.report.rows import ResultRow
from callsheet.report.summary import RunFacts, rollups, shown_together, summarise, summary_document, total

MakeRow = Callable[..., ResultRow]

WITH_SOUND = "fal-ai/bytedance/seedance/v1.5/pro/text-to-video"


@pytest.fixture(scope="module")
def rows(make_row: MakeRow) -> list[ResultRow]:
    """Give a run with a job in every kind of state."""
    return [
        make_row(custom_id="a", client="acme"),
        make_row(custom_id="b", client="acme", render_s=50.0, endpoint=WITH_SOUND),
        make_row("already_made", custom_id="c", actual_nano=0),
        make_row("failed", custom_id="d", client="globex", actual_nano=1),
        make_row("cancelled", custom_id="e", actual_nano=0),
        make_row("unknown", custom_id="f", held_nano=103_818_000),
        make_row("skipped_budget", custom_id="g", actual_nano=0),
        make_row("in_progress", custom_id="h", held_nano=103_818_000),
    ]


def test_every_job_is_counted_once(rows: list[ResultRow]) -> None:
    """Finished, failed, left out and unknown are told apart; the rest are open."""
    sums = total(rows)
    assert (sums.jobs, sums.succeeded, sums.failed, sums.skipped, sums.unknown) == (8, 3, 2, 1, 1)
    assert sums.actual_nano == 2 * 102_960_000 + 1
    assert sums.held_nano == 2 * 103_818_000


def test_expected_is_of_what_was_paid_for(make_row: MakeRow) -> None:
    """Jobs made before, left out, waiting, and failed for nothing are not what spent is compared with."""
    free = [make_row(status) for status in ("already_made", "skipped_budget", "pending", "cancelled")]
    free += [make_row("failed", actual_nano=0, charged="no"), make_row("held", held_nano=103_818_000)]
    paid = [make_row(), make_row("failed", actual_nano=5), make_row("unknown", held_nano=103_818_000)]
    sums = total([*free, *paid])
    assert sums.expected_nano == 3 * 102_960_000
    assert sums.maximum_nano == 9 * 103_818_000


def test_groups_add_up(rows: list[ResultRow]) -> None:
    """By model and by client the same sums come out, under the right names."""
    whole = total(rows)
    for by in ("model", "client"):
        groups = rollups(rows, by)
        assert [group.name for group in groups] == sorted(group.name for group in groups)
        for field in ("jobs", "succeeded", "expected_nano", "maximum_nano", "actual_nano", "held_nano"):
            assert sum(getattr(group, field) for group in groups) == getattr(whole, field)
    clients = {group.name: group.jobs for group in rollups(rows, "client")}
    assert clients == {"": 5, "acme": 2, "globex": 1}


@settings(max_examples=30)
@given(amounts=st.lists(st.integers(min_value=0, max_value=9 * 10**15), min_size=1, max_size=40))
def test_money_is_added_to_the_last_nano(make_row: MakeRow, amounts: list[int]) -> None:
    """Sums are exact far beyond what a float can tell apart."""
    base = make_row()
    rows = [
        replace(base, actual_nano=amount, expected_nano=amount, status=("succeeded", "failed")[index % 2])
        for index, amount in enumerate(amounts)
    ]
    assert total(rows).actual_nano == sum(amounts)
    assert sum(group.expected_nano for group in rollups(rows, "model")) == sum(amounts)


def test_one_client_is_one_group(make_row: MakeRow) -> None:
    """However a client is typed it is one group, under the spelling that came first."""
    rows = [
        make_row(custom_id=name, client=name)
        for name in ("Acme  Corp", "acme corp", "Ac\u00e9me", "Ace\u0301me")
    ]
    assert [(group.name, group.jobs) for group in rollups(rows, "client")] == [
        ("Acme  Corp", 2),
        ("Ac\u00e9me", 2),
    ]


CENT = 10**7


@given(st.lists(st.integers(min_value=0, max_value=10**12), max_size=30))
def test_shown_cents_add_up(amounts: list[int]) -> None:
    """What a table shows adds up to the total that it shows, and no figure is off by a cent or more."""
    shown = shown_together(amounts, CENT)
    assert sum(shown) == -(-sum(amounts) // CENT) * CENT
    assert all(each % CENT == 0 for each in shown)
    assert all(abs(each - exact) < CENT for each, exact in zip(shown, amounts, strict=True))


def test_the_largest_remainder_gets_the_cent() -> None:
    """Three times 3.33 cents of a total of 10 cents are 4, 3 and 3; what is exact stays exact."""
    assert shown_together([33_333_334, 33_333_333, 33_333_333], CENT) == [40_000_000, 30_000_000, 30_000_000]
    assert shown_together([20_000_000, 0], CENT) == [20_000_000, 0]


def test_a_run_without_jobs_has_sums(run: RunFacts) -> None:
    """Nothing adds up to nothing."""
    document = summary_document(summarise(run, []))
    assert document["jobs"] == 0
    assert document["actual_usd"] == "0.00"
    assert document["by_model"] == {}
    assert document["render_seconds"] == {"p50": None, "p95": None}


def test_the_summary_is_a_document(run: RunFacts, rows: list[ResultRow]) -> None:
    """summary.json says what the run is, what it made and what it cost, in text and whole numbers."""
    document = json.loads(json.dumps(summary_document(summarise(run, rows)), allow_nan=False))
    assert {
        name: document[name] for name in ("run_id", "dir", "succeeded", "failed", "skipped", "unknown")
    } == {
        "run_id": "r1",
        "dir": "runs/r1",
        "succeeded": 3,
        "failed": 2,
        "skipped": 1,
        "unknown": 1,
    }
    assert (document["actual_usd"], document["held_usd"], document["cap_usd"]) == (
        "0.205920001",
        "0.207636",
        "5.00",
    )
    assert document["statuses"]["already_made"] == 1
    assert document["finished_at"] == "2026-11-18T11:21:40.000Z"
    assert document["render_seconds"] == {"p50": 45.75, "p95": 49.575}
    assert document["by_client"]["acme"]["succeeded"] == 2
    assert set(document["by_model"]) == {"seedance-1.0-pro-fast", "seedance-1.5-pro"}


def test_paid_failures_are_counted_by_the_run_whose_job_it_is(run: RunFacts, make_row: MakeRow) -> None:
    """Only that run can retry them; nobody goes on with them by itself."""
    own = make_row("failed", custom_id="a", output_url="https://v3.fal.media/a.mp4")
    other = replace(own, other_run="r0")
    refused = make_row("failed", custom_id="c", output_url="")
    going_on = replace(make_row("pending", custom_id="d", output_url=""), other_run="r0")
    document = summary_document(summarise(run, [own, other, refused, going_on]))
    assert document["fetchable"] == {run.run_id: 1, "r0": 1}
    assert document["elsewhere"] == {"r0": {"pending": 1}}


def test_an_open_run_has_no_end(run: RunFacts, rows: list[ResultRow]) -> None:
    """What is not there is null, not an empty text."""
    document = summary_document(summarise(replace(run, finished_ms=None, cap_nano=None), rows))
    assert document["finished_at"] is None
    assert document["cap_usd"] is None
