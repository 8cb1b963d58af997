"""The summary that a run leaves."""

from pathlib import Path

from callsheet.engine.finalize import empty_summary
from manifests.planner import make_plan


def test_the_summary_of_no_rows_is_the_callers_own(tmp_path: Path) -> None:
    """What is added to one is not in the next."""
    source = tmp_path / "none.csv"
    source.write_text("prompt,model\n")
    plan = make_plan(source)
    first = empty_summary(plan, sandbox=True)
    first["remarks"].append("said")
    first["notes"].append("noted")
    second = empty_summary(plan, sandbox=True)
    assert (second["remarks"], second["notes"]) == ([], [])
