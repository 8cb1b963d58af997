"""Drafts: what they and their finishes hold, and what a plan counts them as."""

from dataclasses import replace
from pathlib import Path

import pytest

from manifests import planner
from manifests.job import Image, Job
from manifests.planner import make_plan
from pricing.catalog import load_catalog

CATALOG = load_catalog()


def test_a_finish_holds_as_much_video_as_its_draft() -> None:
    """A reference video at an address has no known length: draft and finish hold the longest allowed."""
    draft = Job(
        row=2,
        custom_id="a",
        endpoint=CATALOG.endpoints["bytedance/seedance-2.5/reference-to-video"],
        prompt="A boat",
        resolution="720p",
        aspect_ratio="16:9",
        duration_s=4,
        references=(Image("url", "https://example.com/a.mp4", media="video"),),
        draft=True,
    )
    complete = CATALOG.endpoints["bytedance/seedance-2.5/draft/complete"]
    finish = replace(draft, endpoint=complete, draft_id="draft-1")
    assert finish.shot.input_ms == draft.shot.input_ms == 30_200
    assert (draft.shot.resolution, finish.shot.resolution) == ("480p", "1080p")
    assert finish.images == ()


@pytest.mark.parametrize("few_jobs", [-1, 1000])
def test_a_plan_counts_drafts_as_what_is_rendered_and_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_jobs: int
) -> None:
    """The resolution of a row is that of the finish; the totals have the draft's, few rows or many."""
    monkeypatch.setattr(planner, "FEW_JOBS", few_jobs)
    shots = tmp_path / "shots.csv"
    rows = ["a,1080p,true", "b,1080p,", "c,,yes", "d,480p,false"]
    lines = [f"a fox,seedance-2.5,{row}" for row in rows]
    shots.write_text("\n".join(["prompt,model,client,resolution,draft", *lines]) + "\n")
    totals = make_plan(shots).by_resolution()
    assert {resolution: total.jobs for resolution, total in totals.items()} == {"480p": 3, "1080p": 1}
