"""The next take of a shot, as a row that can be bought."""

from dataclasses import replace
from pathlib import Path

import pytest

from callsheet.errors import ManifestError
from manifests.error_file import CAMPAIGN_COLUMN
from manifests.job import Job
from manifests.planner import make_plan
from manifests.retakes import checked_retake, kept_drafts, next_take, retake_cells, shot_of, take_name
from manifests.selection import RUN_COLUMN, read_kept
from pricing.catalog import load_catalog

CATALOG = load_catalog()
JOB = Job(
    row=2,
    custom_id="hero",
    endpoint=CATALOG.endpoints["fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"],
    prompt="A glass teapot",
    resolution="720p",
    aspect_ratio="16:9",
    duration_s=4,
    seed=7,
    output_name="acme/hero",
)


@pytest.mark.parametrize(
    ("name", "take", "shot", "following"),
    [
        ("hero", 1, "hero", "hero-t2"),
        ("hero-t2", 2, "hero", "hero-t3"),
        ("hero-t2", 1, "hero-t2", "hero-t2-t2"),
        ("x" * 120, 1, "x" * 120, "x" * 117 + "-t2"),
    ],
)
def test_takes_of_a_shot_share_its_name(name: str, take: int, shot: str, following: str) -> None:
    """A take is called after its shot and its number; a name that only looks like one stays whole."""
    assert shot_of(name, take) == shot
    assert take_name(shot, take + 1) == following


def test_the_next_take_follows_the_highest() -> None:
    """Also where there are gaps."""
    assert (next_take([]), next_take([1]), next_take([1, 5])) == (1, 2, 6)


def test_a_retake_is_the_same_order_but_for_what_was_changed() -> None:
    """Take, names and seed are new, and so is what it costs to make: another purchase."""
    changes = {"take": 2, "seed": 99, "prompt": "A lamp"}
    retake = checked_retake(retake_cells(JOB, changes), Path(), CATALOG)
    assert (retake.cells["custom_id"], retake.cells["retake_of"]) == ("hero-t2", "hero")
    assert retake.job.output_name == "acme/hero-t2"
    same = replace(
        retake.job,
        row=2,
        prompt=JOB.prompt,
        seed=7,
        take=1,
        custom_id="hero",
        output_name="acme/hero",
        extra={},
    )
    assert same.fingerprint == JOB.fingerprint
    assert retake.job.fingerprint != JOB.fingerprint


def test_another_model_takes_what_it_can() -> None:
    """Options that the model does not have are left out; a size that it cannot make is a mistake."""
    fixed = replace(JOB, camera_fixed=True)
    retake = checked_retake(
        retake_cells(fixed, {"take": 2, "seed": 5, "model": "seedance-2.0"}), Path(), CATALOG
    )
    assert retake.job.endpoint.model == "seedance-2.0"
    assert retake.job.camera_fixed is None
    short = replace(JOB, duration_s=2)
    with pytest.raises(ManifestError) as refused:
        checked_retake(retake_cells(short, {"take": 2, "model": "seedance-2.0"}), Path(), CATALOG)
    assert [each.column for each in refused.value.problems] == ["duration"]


HEADER = (
    f"custom_id,prompt,model,resolution,duration,draft,take,retake_of,verdict,{CAMPAIGN_COLUMN},{RUN_COLUMN}"
)
KEPT = "a,'=A,seedance-1.0-lite,480p,2,,1,,keep,spring,r1"
DRAFT = "d,D,seedance-2.5,480p,5,true,1,,keep,spring,r1"
AGAIN = "b-t2,'=B,seedance-1.0-lite,480p,2,,2,b,retake,spring,r1"


def selection(folder: Path, *rows: str) -> Path:
    """Write a selection.csv."""
    path = folder / "selection.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n", "utf-8")
    return path


def test_a_selection_orders_its_retakes_alone(tmp_path: Path) -> None:
    """What is kept or rejected is not bought again; the retake belongs to the campaign and names its clip."""
    plan = make_plan(selection(tmp_path, KEPT, AGAIN, KEPT.replace("a,", "c,").replace("keep", "reject")))
    assert (plan.campaign, [each.job.custom_id for each in plan.jobs]) == ("spring", ["b-t2"])
    job = plan.jobs[0].job
    assert (job.row, job.take, job.prompt, dict(job.extra)) == (3, 2, "=B", {"retake_of": "b"})


def test_a_selection_without_retakes_buys_nothing(tmp_path: Path) -> None:
    """It is an empty plan and no mistake."""
    plan = make_plan(selection(tmp_path, KEPT))
    assert plan.total.jobs == 0


def test_a_word_that_is_no_verdict_is_named_with_its_row(tmp_path: Path) -> None:
    """A verdict that a person mistyped is not passed over."""
    with pytest.raises(ManifestError) as refused:
        make_plan(selection(tmp_path, KEPT, AGAIN.replace("retake,", "retakes,")))
    assert [(each.row, each.column, each.found) for each in refused.value.problems] == [
        (3, "verdict", "retakes")
    ]


def test_a_persons_own_file_with_verdicts_is_planned_whole(tmp_path: Path) -> None:
    """Only the file that a review wrote is read in this way."""
    path = tmp_path / "shots.csv"
    path.write_text("custom_id,prompt,model,verdict\na,A,seedance-1.0-lite,keep\n", "utf-8")
    assert make_plan(path).total.jobs == 1


def test_what_is_kept_is_read_from_the_same_file(tmp_path: Path) -> None:
    """`finish` takes the kept drafts, other commands all that is kept."""
    path = str(selection(tmp_path, KEPT, DRAFT, AGAIN))
    assert [each.custom_id for each in read_kept([path], option="--keep")] == ["a", "d"]
    assert [each.custom_id for each in read_kept([path], option="--keep", drafts=True)] == ["d"]


@pytest.mark.parametrize("written", ["true", "TRUE", "WAHR", " VRAI", "1"])
def test_a_kept_draft_is_one_however_a_spreadsheet_writes_true(tmp_path: Path, written: str) -> None:
    """Excel saves `true` in capitals, or in the language of its user."""
    path = selection(tmp_path, KEPT, DRAFT.replace("true", written))
    assert [each.custom_id for each in read_kept([path], option="--keep", drafts=True)] == ["d"]
    assert len(kept_drafts(path, CATALOG)[1]) == 1


def test_the_kept_drafts_of_a_selection_are_priced(tmp_path: Path) -> None:
    """What finishing them costs is known before; other kept rows and other files cost nothing."""
    run_id, prices = kept_drafts(selection(tmp_path, KEPT, DRAFT, AGAIN), CATALOG)
    assert (run_id, len(prices)) == ("r1", 1)
    assert prices[0].expected_nano > 0
    (tmp_path / "shots.csv").write_text("custom_id,prompt,model\na,A,seedance-1.0-lite\n", "utf-8")
    assert kept_drafts(tmp_path / "shots.csv", CATALOG) == ("", [])
