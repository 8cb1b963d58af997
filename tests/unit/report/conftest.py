from collections.abc import Callable
from typing import Any

import pytest

from callsheet.report.rows import ResultRow
from callsheet.report.summary import RunFacts
from manifests.job import Job
from pricing.catalog import load_catalog

PRO_FAST = "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"

_JOB_FIELDS = set(Job.__dataclass_fields__)
_FINISHED: dict[str, Any] = {
    "status": "succeeded",
    "request_id": "0a1b",
    "attempts": 1,
    "actual_nano": 102_960_000,
    "cost_basis": "billable_units",
    "billable_units": "102.96",
    "output_path": "media/a.mp4",
    "output_url": "https://v3.fal.media/files/a.mp4",
    "sha256": "ab" * 32,
    "bytes": 1_000,
    "width_px": 1248,
    "height_px": 704,
    "fps": 24.0,
    "duration_s": 5.041667,
    "has_audio": False,
    "seed_used": 7,
    "submitted_ms": 1_795_000_000_000,
    "started_ms": 1_795_000_001_500,
    "finished_ms": 1_795_000_050_001,
    "render_s": 41.5,
}


def row(status: str = "succeeded", **fields: Any) -> ResultRow:
    """Make the row of a job: finished with everything known, or in another state with nothing known."""
    job: dict[str, Any] = {
        "row": 2,
        "custom_id": "a",
        "prompt": "A lighthouse",
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "duration_s": 5,
        **{name: value for name, value in fields.items() if name in _JOB_FIELDS},
    }
    endpoint = load_catalog().endpoints[job.pop("endpoint", PRO_FAST)]
    known = _FINISHED if status == "succeeded" else {"status": status}
    given = {name: value for name, value in fields.items() if name not in _JOB_FIELDS}
    return ResultRow(
        **{
            "job": Job(endpoint=endpoint, **job),
            "model": endpoint.model,
            "expected_nano": 102_960_000,
            "maximum_nano": 103_818_000,
            "price_book": "2026-11-21",
            **known,
            **given,
        }
    )


@pytest.fixture(scope="session")
def make_row() -> Callable[..., ResultRow]:
    """Make rows of jobs in any state."""
    return row


@pytest.fixture(scope="session")
def run() -> RunFacts:
    """Give a finished run with a cap of 5 USD."""
    return RunFacts(
        run_id="r1",
        campaign="Spring <launch>",
        dir="runs/r1",
        price_book="2026-11-21",
        started_ms=1_795_000_000_000,
        finished_ms=1_795_000_900_000,
        cap_nano=5_000_000_000,
    )
