"""A finish holds the video that came in with the draft, also where its length is not known."""

from dataclasses import replace

from manifests.job import Image, Job
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
