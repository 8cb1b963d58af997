"""The examples are real campaigns that plan."""

import subprocess
import sys
from pathlib import Path

import pytest

from manifests.planner import make_plan

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "jobs", "fits"), [("marketing-assets", 12, True), ("last-500-dollars", 90, False)]
)
def test_an_example_campaign_plans_without_a_warning(name, jobs, fits):
    """Each campaign file is valid, has its expected jobs, earns no warning, and fits its cap or not."""
    plan = make_plan(EXAMPLES / name / "campaign.toml")
    assert len(plan.jobs) == jobs
    assert plan.warnings == ()
    limit_nano = min(cap.limit_nano for cap in plan.caps if cap.scope == "campaign")
    assert (plan.total.maximum_nano <= limit_nano) is fits
    assert plan.total.maximum_nano <= limit_nano * 13 // 10


def test_the_nightly_manifest_plans(tmp_path):
    """The script writes a Parquet manifest of 40 jobs."""
    script = EXAMPLES / "nightly-parquet" / "make_night.py"
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=True)
    assert len(make_plan(tmp_path / "night.parquet").jobs) == 40
