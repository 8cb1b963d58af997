"""What errors.csv does to cells, and what reading it undoes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import ManifestError, UsageError
from manifests.error_file import CAMPAIGN_COLUMN, RESULTS_ONLY, escaped, restored
from manifests.planner import make_plan
from manifests.selection import campaign_of
from tests.rig.workbooks import book, sheet, workbook

HEADER = "custom_id,prompt,model,resolution,duration"
ROW = "{id},{prompt},seedance-1.0-lite,480p,2"


@given(st.text() | st.from_regex(r"\A'{0,3}[=+\-@\t\r'a5]{0,3}\Z"))
def test_any_text_comes_back(text: str) -> None:
    """What is escaped is restored to the last character, apostrophes included."""
    assert restored(escaped(text)) == text


@given(st.text(min_size=1))
def test_no_escaped_cell_is_a_formula(text: str) -> None:
    """After escaping, no text but a plain number begins with a sign that a spreadsheet runs."""
    shown = escaped(text)
    assert shown[0] not in "=@\t\r\n\uff1d\uff0b\uff0d\uff20"
    assert shown[0] not in "+-" or float(shown) == float(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('=HYPERLINK("https://evil.example")', '\'=HYPERLINK("https://evil.example")'),
        ("@SUM(1)", "'@SUM(1)"),
        ("-calm", "'-calm"),
        ("'=1", "''=1"),
        ("-5", "-5"),
        ("'tis the season", "'tis the season"),
        ("a = b", "a = b"),
    ],
)
def test_only_what_could_run_is_changed(text: str, written: str) -> None:
    """Plain text and numbers stay as they are; an apostrophe that is already there gets another one."""
    assert escaped(text) == written
    assert restored(written) == text


def manifest(folder: Path, name: str, *rows: str, header: str = HEADER) -> Path:
    """Write a CSV manifest."""
    path = folder / name
    path.write_text("\n".join([header, *rows, ""]), "utf-8")
    return path


def test_a_persons_own_apostrophe_is_kept(tmp_path: Path) -> None:
    """Without the column that marks the file as ours, an apostrophe before a sign is part of the prompt."""
    path = manifest(tmp_path, "shots.csv", ROW.format(id="a", prompt="'=quoted"))
    plan = make_plan(path)
    assert (plan.campaign, plan.jobs[0].job.prompt) == ("shots", "'=quoted")


@pytest.mark.parametrize("separator", [",", ";"])
def test_ours_is_restored_and_belongs_to_its_campaign(tmp_path: Path, separator: str) -> None:
    """With the column, cells come back, the plan is the campaign's, and the column is not carried on."""
    header, row = f"{HEADER},{CAMPAIGN_COLUMN}", ROW.format(id="a", prompt="'=quoted") + ",spring"
    path = manifest(
        tmp_path, "errors.csv", row.replace(",", separator), header=header.replace(",", separator)
    )
    plan = make_plan(path)
    assert (plan.campaign, plan.jobs[0].job.prompt) == ("spring", "=quoted")
    assert CAMPAIGN_COLUMN not in plan.jobs[0].cells


def _saved(folder: Path, kind: str, rows: list[list[str]]) -> Path:
    """Save a table as a program of that kind does."""
    path = folder / f"errors.{kind}"
    lines = ["\t".join(row) for row in rows]
    if kind == "xlsx":
        path.write_bytes(book(Sheet=rows))
    elif kind == "parquet":
        pq.write_table(pa.table(dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))), path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(rows[0], row, strict=True))) for row in rows[1:]))
    else:
        path.write_bytes("\n".join(lines).encode("utf-16" if kind == "txt" else "utf-8"))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "xlsx", "parquet", "jsonl"])
def test_ours_is_ours_in_every_format(tmp_path: Path, kind: str) -> None:
    """Saved by another program, with a row of the person's own first, it keeps its campaign and its caps."""
    header = [*HEADER.split(","), CAMPAIGN_COLUMN]
    ours = ROW.format(id="a", prompt="'=quoted").split(",")
    added = ROW.format(id="b", prompt="added").split(",")
    plan = make_plan(_saved(tmp_path, kind, [header, [*added, ""], [*ours, "spring"]]))
    assert (plan.campaign, [each.job.prompt for each in plan.jobs]) == ("spring", ["added", "=quoted"])
    assert CAMPAIGN_COLUMN not in plan.jobs[0].cells


@pytest.mark.parametrize(
    ("separator", "encoding"),
    [(",", "utf-8"), (",", "utf-8-sig"), (";", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16")],
    ids=["no mark", "as written", "semicolons, no mark", "CSV UTF-8", "Unicode Text"],
)
def test_ours_comes_back_from_excel(tmp_path: Path, separator: str, encoding: str) -> None:
    """Opened, corrected and saved as Excel offers it, the letters and the campaign are the same."""
    row = ROW.format(id="a", prompt="Käse und 茶器")
    content = f"{HEADER},{CAMPAIGN_COLUMN}\r\n{row},Frühling\r\n"
    path = tmp_path / "errors.csv"
    path.write_bytes(content.replace(",", separator).encode(encoding))
    plan = make_plan(path)
    assert (plan.campaign, plan.jobs[0].job.prompt) == ("Frühling", "Käse und 茶器")


def test_ours_in_a_code_page_is_refused(tmp_path: Path) -> None:
    """Which page it was cannot be known, and letters may be lost: the row and what to do is said."""
    content = f"{HEADER},{CAMPAIGN_COLUMN}\r\n{ROW.format(id='a', prompt='Käse')},spring\r\n"
    path = tmp_path / "errors.csv"
    path.write_bytes(content.replace(",", ";").encode("cp1252"))
    with pytest.raises(ManifestError) as caught:
        make_plan(path)
    (problem,) = caught.value.problems
    assert (problem.row, problem.message) == (2, "the file is not UTF-8; save it as “CSV UTF-8”")


def test_a_sheet_of_a_workbook_keeps_its_campaign(tmp_path: Path) -> None:
    """Also where the sheet is named."""
    ours = [*ROW.format(id="a", prompt="x").split(","), "spring"]
    rows = [[*HEADER.split(","), CAMPAIGN_COLUMN], ours]
    (tmp_path / "book.xlsx").write_bytes(workbook({"Failed": sheet(rows), "Notes": sheet([["n"], ["x"]])}))
    assert make_plan(tmp_path / "book.xlsx#Failed").campaign == "spring"


def test_rows_of_two_campaigns_are_told(tmp_path: Path) -> None:
    """Put together in one file, rows would count under the wrong cap."""
    rows = [ROW.format(id=name, prompt="x") + f",{name}" for name in ("spring", "autumn")]
    path = manifest(tmp_path, "errors.csv", *rows, header=f"{HEADER},{CAMPAIGN_COLUMN}")
    with pytest.raises(ManifestError) as caught:
        make_plan(path)
    (problem,) = caught.value.problems
    assert (problem.row, problem.column, problem.found) == (3, CAMPAIGN_COLUMN, "autumn")


def test_files_of_several_campaigns_are_not_one_manifest(tmp_path: Path) -> None:
    """A pattern is a campaign of its own, so it must not take the failed rows of another."""
    for name in ("a", "b"):
        row = ROW.format(id=name, prompt="x") + ",spring"
        manifest(tmp_path, f"errors-{name}.csv", row, header=f"{HEADER},{CAMPAIGN_COLUMN}")
    with pytest.raises(UsageError, match="belongs to the campaign spring"):
        make_plan(tmp_path / "errors-*.csv")


def test_the_results_of_a_run_are_no_manifest(tmp_path: Path) -> None:
    """Its videos would be bought again, under another campaign."""
    row = ROW.format(id="a", prompt="x") + "," * len(RESULTS_ONLY - {"custom_id"})
    header = ",".join([HEADER, *sorted(RESULTS_ONLY - {"custom_id"})])
    with pytest.raises(UsageError, match="has the results of a run"):
        make_plan(manifest(tmp_path, "results.csv", row, header=header))


def test_a_campaign_that_cannot_be_a_name_is_not_used(tmp_path: Path) -> None:
    """A cell that a person emptied or spoiled leaves the file its own name."""
    for name in ("", "a/b"):
        row = ROW.format(id="a", prompt="x") + f",{name}"
        path = manifest(tmp_path, "errors.csv", row, header=f"{HEADER},{CAMPAIGN_COLUMN}")
        assert make_plan(path).campaign == "errors"


def test_other_files_have_no_campaign(tmp_path: Path) -> None:
    """A folder, a missing file, bytes that are no text and another format name no campaign."""
    (tmp_path / "bytes.csv").write_bytes(b"\xff" + CAMPAIGN_COLUMN.encode())
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / "bytes.csv"):
        assert campaign_of(path) == ""
