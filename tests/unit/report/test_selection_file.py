import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from callsheet.ledger import Review
from callsheet.report.rows import ResultRow, with_reviews
from callsheet.report.run_files import selection_text, write_selection
from manifests.plan import Plan
from manifests.plan_rows import manifest_table
from manifests.planner import make_plan
from manifests.retakes import retake_cells
from manifests.selection import read_kept

MakeRow = Callable[..., ResultRow]

SHOTS = (
    "Shot,prompt,model,resolution,seed,client\r\n"
    "=1+1,=HYPERLINK(1) a lamp,seedance-1.0-lite,480p,7,acme\r\n"
    "two,A pot,seedance-1.0-lite,480p,8,\r\n"
    "three,A cup,seedance-1.0-lite,480p,9,\r\n"
)


def judged(verdict: str, note: str = "") -> Review:
    """Say something about a clip."""
    return Review(review_id=1, at_ms=1, job_id=1, verdict=verdict, note=note, changes={}, by="Ana")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Give a plan of three shots."""
    (tmp_path / "shots.csv").write_text(SHOTS, "utf-8", newline="")
    return make_plan(tmp_path / "shots.csv")


def written(folder: Path, plan: Plan, make_row: MakeRow) -> Path:
    """Write the selection of a run of which one clip is retaken and one is kept."""
    rows = [replace(make_row(), job=planned.job) for planned in plan.jobs]
    rows[0] = with_reviews(rows[0], [judged("retake", "=too dark")])
    rows[1] = with_reviews(rows[1], [judged("keep")])
    again = retake_cells(rows[0].job, {"take": 2, "seed": 99})
    retakes = {rows[0].custom_id: again}
    text = selection_text(manifest_table(plan), rows, retakes, campaign="spring", run_id="r1")
    assert write_selection(folder, text) is None
    return folder / "selection.csv"


def test_the_retakes_of_a_selection_can_be_planned(tmp_path: Path, plan: Plan, make_row: MakeRow) -> None:
    """The retake has every column of its row, in the campaign; what was not judged is left out."""
    again = make_plan(written(tmp_path, plan, make_row))
    (planned,) = again.jobs
    job, first = planned.job, plan.jobs[0].job
    assert (again.campaign, job.take, job.seed, job.prompt) == ("spring", 2, 99, first.prompt)
    assert dict(job.extra) == {"Shot": "=1+1", "retake_of": first.custom_id}
    assert planned.quote == plan.jobs[0].quote
    assert job.client == "acme"


def test_a_selection_is_safe_in_a_spreadsheet(tmp_path: Path, plan: Plan, make_row: MakeRow) -> None:
    """No cell is a formula, and what is kept is listed beside what is retaken."""
    path = written(tmp_path, plan, make_row)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [(row["verdict"], row["review_note"]) for row in rows] == [("retake", "'=too dark"), ("keep", "")]
    assert not any(cell.startswith(tuple("=+-@\t\r")) for row in rows for cell in row.values())
    assert [each.custom_id for each in read_kept([str(path)], option="--keep")] == [
        plan.jobs[1].job.custom_id
    ]


@pytest.mark.parametrize("note", ["too dark", "zu dunkel für 茶器"])
def test_a_selection_is_edited_only_where_a_person_changed_it(
    tmp_path: Path, plan: Plan, make_row: MakeRow, note: str
) -> None:
    """A byte order mark for Excel, or none, is no change; the file is planned with either."""
    row = with_reviews(replace(make_row(), job=plan.jobs[1].job), [judged("keep", note)])
    text = selection_text(manifest_table(plan), [row], {}, campaign="spring", run_id="r1")
    path = tmp_path / "selection.csv"
    for written_as in ("utf-8", "utf-8-sig"):
        path.write_bytes(text.removeprefix("\ufeff").encode(written_as))
        assert write_selection(tmp_path, text) is None
        assert path.read_bytes().startswith(b"\xef\xbb\xbf") is not note.isascii()
        assert [each.custom_id for each in read_kept([path], option="--keep")] == [row.custom_id]
    path.write_bytes(text.encode() + b"\r\n")
    assert write_selection(tmp_path, text) == tmp_path / "selection-edited.csv"
