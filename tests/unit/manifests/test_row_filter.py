"""A part of a plan: the rows that options name, or the jobs that fit, of a few rows and of many."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from callsheet.errors import PlanChanged, UsageError
from manifests import planner
from manifests.part import fitting
from manifests.plan import Plan, PlanOptions, StoredJobs
from manifests.plan_file import write_plan
from manifests.planner import make_plan
from manifests.row_filter import RowFilter

HEADER = ["custom_id", "prompt", "client", "seed", "Market"]
ROWS = [
    ["a", "A fox", "Acme", "007", "de"],
    ["b", "A cat", " acme ", "", "fr"],
    ["c", "A dog", "Zoe\u0308", "7", "de"],
    ["", "A hen", "beta", "", " de "],
    ["e", "A hen", "beta", "", "DE"],
    ["f", "An owl, barred", "", "9", ""],
]
CAMPAIGN = """
[campaign]
name = "c"
manifest = "shots.csv"
[defaults]
model = "seedance-1.0-pro-fast"
resolution = "480p"
[columns]
"Market" = "region"
[matrix]
aspect_ratio = ["16:9", "9:16"]
"""


@pytest.fixture(params=["few", "many"])
def is_many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether rows are planned one by one, or column by column as large manifests are."""
    if request.param == "many":
        monkeypatch.setattr(planner, "FEW_JOBS", -1)
    return bool(request.param == "many")


def _source(folder: Path, rows: list[list[str]] = ROWS) -> Path:
    with (folder / "shots.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    (folder / "c.toml").write_text(CAMPAIGN, "utf-8")
    return folder / "c.toml"


def _part(source: Path, **options: Any) -> Plan:
    return make_plan(source, overrides=PlanOptions(rows=RowFilter.of(**options)))


def _rows(plan: Plan) -> list[int]:
    return list(dict.fromkeys(planned.job.row for planned in plan.jobs))


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"first": 2}, [2, 3]),
        ({"first": 99}, [2, 3, 4, 5, 6, 7]),
        ({"where": ["client=ACME"]}, [2, 3]),
        ({"where": ["Client=zo\u00cb"]}, [4]),
        ({"where": ["client="]}, [7]),
        ({"where": ["region=de"]}, [2, 4, 5]),
        ({"where": ["Market=de", "Market=fr", "client=acme"]}, [2, 3]),
        ({"where": ["seed=7"]}, [2, 4]),
        ({"where": ["prompt=An owl, barred"]}, [7]),
        ({"where": ["prompt=an owl, barred"]}, []),
        ({"where": ["resolution=480p"], "first": 1}, [2]),
        ({"where": ["client=beta"], "first": 1}, [5]),
        ({"where": ["custom_id=e-9x16"]}, [6]),
    ],
)
@pytest.mark.usefixtures("is_many")
def test_options_take_rows_of_the_manifest(tmp_path: Path, options: Any, rows: list[int]) -> None:
    """Each option leaves the rows that it names; clients compare as clients, other columns exactly."""
    assert _rows(_part(_source(tmp_path), **options)) == rows


def test_a_matrix_can_be_narrowed_to_one_of_its_values(tmp_path: Path, is_many: bool) -> None:
    """`where` sees what defaults and matrix put into a row; the first rows have all their jobs."""
    source = _source(tmp_path)
    one = _part(source, where=["aspect_ratio=9:16"], first=2)
    assert [planned.job.custom_id for planned in one.jobs] == ["a-9x16", "b-9x16"]
    assert _part(source, first=2).total.jobs == 4
    assert isinstance(one.jobs, StoredJobs) == is_many


def test_both_ways_make_the_same_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row and column by column: the same jobs, sums and hash, and another than the whole's."""
    source = _source(tmp_path)
    options: dict[str, Any] = {"where": ["region=de", "region="], "sample": 3}
    few, whole = _part(source, **options), make_plan(source)
    monkeypatch.setattr(planner, "FEW_JOBS", -1)
    many = _part(source, **options)
    assert few.hash == many.hash != whole.hash
    assert [(each.job, each.quote) for each in many.jobs] == [(each.job, each.quote) for each in few.jobs]
    assert many.summary == few.summary
    assert [each.job for each in few.jobs] == [each.job for each in whole.jobs if each in few.jobs]


@pytest.mark.usefixtures("is_many")
def test_a_sample_is_the_same_in_any_order(tmp_path: Path) -> None:
    """The same rows are drawn each time, also from the rows in another order; larger samples hold smaller."""
    first = {each.job.custom_id for each in _part(_source(tmp_path), sample=3).jobs}
    again = {each.job.custom_id for each in _part(_source(tmp_path, ROWS[::-1]), sample=3).jobs}
    larger = {each.job.custom_id for each in _part(_source(tmp_path), sample=4).jobs}
    assert first == again < larger
    assert len(first) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": ["colour=red"]}, "no column is called 'colour'; there are custom_id, "),
        ({"where": ["acme"]}, "--where is 'acme'; write COLUMN=VALUE"),
        ({"where": ["=acme"]}, "write COLUMN=VALUE"),
        ({"first": 0}, "-n is 0; use a number of rows, 1 or more"),
        ({"sample": -1}, "--sample is -1"),
    ],
)
@pytest.mark.usefixtures("is_many")
def test_a_bad_option_is_refused(tmp_path: Path, options: Any, message: str) -> None:
    """An option that cannot be meant is refused, with the columns there are."""
    with pytest.raises(UsageError, match=message):
        _part(_source(tmp_path), **options)


@pytest.mark.usefixtures("is_many")
def test_a_part_without_rows_says_so(tmp_path: Path) -> None:
    """A value that no row has leaves an empty plan and a warning, not an error: a night may have none."""
    plan = _part(_source(tmp_path), where=["client=acne"], first=5)
    assert plan.total.jobs == 0
    assert "no row is left by -n 5 --where client=acne" in str(plan.warnings[-1])


@pytest.mark.usefixtures("is_many")
def test_a_value_that_no_row_has_is_named_beside_others(tmp_path: Path) -> None:
    """A slip in one of several values takes the other rows, and is told."""
    plan = _part(_source(tmp_path), where=["client=acme", "client=acne"])
    assert plan.total.jobs == _part(_source(tmp_path), where=["client=acme"]).total.jobs > 0
    assert "no row has --where client=acne" in str(plan.warnings[-1])


@pytest.mark.usefixtures("is_many")
def test_a_plan_file_keeps_its_rows(tmp_path: Path) -> None:
    """A plan file is planned again with its own rows; other options for rows beside it are refused."""
    write_plan(_part(_source(tmp_path), where=["client=acme"], sample=1), tmp_path / "plan.json")
    planned = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    again = make_plan(tmp_path / "plan.json")
    assert (again.hash, again.total.jobs) == (planned["plan_hash"], 2)
    with pytest.raises(UsageError, match=r"so it takes no -n 1; plan .*c\.toml with it"):
        _part(tmp_path / "plan.json", first=1)


@pytest.mark.usefixtures("is_many")
def test_a_plan_of_what_fits_holds_while_other_rows_change(tmp_path: Path) -> None:
    """Only the rows of the part are held against the plan file: the rest may change, they may not."""
    source = _source(tmp_path)
    part = fitting(make_plan(source), left=[0, 1, 4])
    write_plan(part, tmp_path / "plan.json")
    assert part.total.jobs == 9
    changed = [["a", "Another fox", *ROWS[0][2:]], *ROWS[1:], ["g", "A gnu", "", "", ""]]
    _source(tmp_path, changed)
    assert make_plan(tmp_path / "plan.json").hash == part.hash
    _source(tmp_path, [*ROWS[:4], ["e", "A goose", *ROWS[4][2:]], ROWS[5]])
    with pytest.raises(PlanChanged, match="2 rows changed: e-16x9, e-9x16"):
        make_plan(tmp_path / "plan.json")
