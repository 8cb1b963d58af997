import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from callsheet.report import page
from callsheet.report.rows import RESULT_NAMES, ResultRow
from callsheet.report.run_files import ERROR_NAMES, manifest_cells, write_run_files
from callsheet.report.summary import RunFacts
from manifests.columns import COLUMNS
from manifests.job import Image
from manifests.plan_rows import manifest_table
from manifests.planner import make_plan

MakeRow = Callable[..., ResultRow]


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file into records."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def write(folder: Path, run: RunFacts, manifest: list[dict[str, str]], rows: list[ResultRow]) -> None:
    """Write a run's files from a manifest of text."""
    write_run_files(folder, run, pa.Table.from_pylist(manifest), rows)


def test_a_run_leaves_its_files(tmp_path: Path, run: RunFacts, make_row: MakeRow) -> None:
    """All five are there, readable by other users, and nothing temporary is left."""
    write(tmp_path, run, [{"custom_id": "a"}], [make_row()])
    names = ["errors.csv", "report.html", "results.csv", "results.parquet", "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in tmp_path.iterdir())
    assert json.loads((tmp_path / "summary.json").read_text("utf-8"))["succeeded"] == 1


def test_an_edited_list_of_failed_rows_is_kept_when_it_is_written_again(
    tmp_path: Path, run: RunFacts, make_row: MakeRow, caplog: pytest.LogCaptureFixture
) -> None:
    """People are told to fix its rows and run it; report, resume and reconcile write the file again."""
    failed, made = [make_row("failed", custom_id="a")], [make_row(custom_id="a")]
    write(tmp_path, run, [{"custom_id": "a"}], failed)
    first = (tmp_path / "errors.csv").read_bytes()
    for rows in (failed, made, failed):
        write(tmp_path, run, [{"custom_id": "a"}], rows)
    assert list(tmp_path.glob("errors-edited*")) == []
    for number, name in ((1, "errors-edited.csv"), (2, "errors-edited-2.csv")):
        (tmp_path / "errors.csv").write_bytes(first + f"mine {number}\n".encode())
        for rows in (made, failed):
            write(tmp_path, run, [{"custom_id": "a"}], rows)
        assert (tmp_path / name).read_bytes() == first + f"mine {number}\n".encode()
        assert (tmp_path / "errors.csv").read_bytes() == first
        assert f"errors.csv may have been edited; it is kept as {tmp_path / name}" in caplog.text
    assert len(list(tmp_path.glob("errors-edited*"))) == 2
    (tmp_path / "errors.csv").unlink()
    write(tmp_path, run, [{"custom_id": "a"}], failed)
    assert (tmp_path / "errors.csv").read_bytes() == first


def test_a_list_of_failed_rows_that_nothing_vouches_for_is_kept(
    tmp_path: Path, run: RunFacts, make_row: MakeRow
) -> None:
    """Where results.parquet is gone, or was written without the hash, it may be what a person has edited."""
    failed = [make_row("failed", custom_id="a")]
    write(tmp_path, run, [{"custom_id": "a"}], failed)
    table = pq.read_table(tmp_path / "results.parquet").replace_schema_metadata(None)
    for number, name in ((1, "errors-edited.csv"), (2, "errors-edited-2.csv")):
        (tmp_path / "errors.csv").write_text(f"mine {number}\n")
        (tmp_path / "results.parquet").unlink()
        if number == 2:
            pq.write_table(table, tmp_path / "results.parquet")
        write(tmp_path, run, [{"custom_id": "a"}], failed)
        assert (tmp_path / name).read_text() == f"mine {number}\n"


def test_a_list_of_failed_rows_that_was_written_last_is_not_taken_for_edited(
    tmp_path: Path, run: RunFacts, make_row: MakeRow
) -> None:
    """A process may have died between it and results.parquet."""
    failed, made = [make_row("failed", custom_id="a")], [make_row(custom_id="a")]
    write(tmp_path, run, [{"custom_id": "a"}], made)
    before = (tmp_path / "results.parquet").read_bytes()
    write(tmp_path, run, [{"custom_id": "a"}], failed)
    (tmp_path / "results.parquet").write_bytes(before)
    write(tmp_path, run, [{"custom_id": "a"}], failed)
    assert list(tmp_path.glob("errors-edited*")) == []


def test_a_large_run_leaves_a_page_for_each_part(
    tmp_path: Path, run: RunFacts, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first keeps the name that everybody knows."""
    monkeypatch.setattr(page, "CLIPS_OF_A_PART", 2)
    rows = [make_row(custom_id=name) for name in "abc"]
    write(tmp_path, run, [{"custom_id": name} for name in "abc"], rows)
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["report-2.html", "report.html"]


def test_results_carry_every_manifest_column(tmp_path: Path, run: RunFacts, make_row: MakeRow) -> None:
    """The manifest's columns come first, untouched; both forms hold the same, matched by custom_id."""
    manifest = [
        {"custom_id": "b", "Shot": "=2", "status": "mine", "prompt": "B"},
        {"custom_id": "a", "Shot": "-5", "status": "", "prompt": "A"},
    ]
    write(tmp_path, run, manifest, [make_row(custom_id="a"), make_row("failed", custom_id="b", error="=no")])
    lossless = pq.read_table(tmp_path / "results.parquet")
    assert lossless.column_names == ["Shot", "input_status", "prompt", *RESULT_NAMES]
    assert lossless.column("Shot").to_pylist() == ["-5", "=2"]
    assert lossless.column("error").to_pylist() == ["", "=no"]
    assert str(lossless.schema.field("bytes").type) == "int64"
    guarded = read_csv(tmp_path / "results.csv")
    assert list(guarded[0]) == lossless.column_names
    assert [(each["Shot"], each["input_status"], each["error"]) for each in guarded] == [
        ("-5", "", ""),
        ("'=2", "mine", "'=no"),
    ]
    assert guarded[0]["has_audio"] == "false"
    assert guarded[1]["bytes"] == ""


def test_a_header_can_be_a_formula_too(tmp_path: Path, run: RunFacts, make_row: MakeRow) -> None:
    """A column's name is a cell like any other."""
    write(tmp_path, run, [{"custom_id": "a", "=cmd()": "x"}], [make_row()])
    assert "'=cmd()" in read_csv(tmp_path / "results.csv")[0]


def test_a_job_that_the_manifest_lacks_has_empty_cells(
    tmp_path: Path, run: RunFacts, make_row: MakeRow
) -> None:
    """No row is lost because its manifest row is."""
    write(tmp_path, run, [{"custom_id": "x", "Shot": "1"}], [make_row()])
    assert read_csv(tmp_path / "results.csv")[0]["Shot"] == ""


def test_half_a_character_does_not_lose_the_results(tmp_path: Path, run: RunFacts, make_row: MakeRow) -> None:
    """What UTF-8 cannot hold of an error text becomes a question mark, and the page leaves it out."""
    write(tmp_path, run, [{"custom_id": "a"}], [make_row("failed", error="bad \ud83d text")])
    assert pq.read_table(tmp_path / "results.parquet").column("error").to_pylist() == ["bad ? text"]
    assert "bad  text" in (tmp_path / "report.html").read_text("utf-8")


def test_written_again_they_are_replaced(tmp_path: Path, run: RunFacts, make_row: MakeRow) -> None:
    """A second report replaces the first one."""
    write(tmp_path, run, [{"custom_id": "a"}], [make_row("in_progress")])
    write(tmp_path, run, [{"custom_id": "a"}], [make_row()])
    assert [each["status"] for each in read_csv(tmp_path / "results.csv")] == ["succeeded"]
    assert len(list(tmp_path.iterdir())) == 5


def test_only_what_may_be_bought_again_is_an_error(tmp_path: Path, run: RunFacts, make_row: MakeRow) -> None:
    """An unknown job may be paid for already, so the file that can be run does not hold it."""
    states = ["failed", "cancelled", "skipped_budget", "unknown", "in_queue", "succeeded", "already_made"]
    rows = [make_row(state, custom_id=state) for state in states]
    write(tmp_path, run, [{"custom_id": state} for state in states], rows)
    kept = [each["custom_id"] for each in read_csv(tmp_path / "errors.csv")]
    assert kept == ["failed", "cancelled", "skipped_budget"]


def test_what_is_still_at_fal_is_not_run_again(tmp_path: Path, run: RunFacts, make_row: MakeRow) -> None:
    """A failed row whose paid file may still be had is in the results with its address, not in errors.csv."""
    url = "https://v3.fal.media/files/b.mp4"
    rows = [make_row("failed", custom_id="a"), make_row("failed", custom_id="b", output_url=url)]
    write(tmp_path, run, [{"custom_id": "a"}, {"custom_id": "b"}], rows)
    assert [each["custom_id"] for each in read_csv(tmp_path / "errors.csv")] == ["a"]
    assert [each["output_url"] for each in read_csv(tmp_path / "results.csv")] == ["", url]


def test_videos_of_earlier_runs_are_rows_like_any_other(
    tmp_path: Path, run: RunFacts, make_row: MakeRow
) -> None:
    """An iterable of rows is enough; a path into an earlier run is kept, and its thumbnail is shown."""
    folder = tmp_path / "r1"
    (tmp_path / "r0" / "posters").mkdir(parents=True)
    (tmp_path / "r0" / "posters" / "a.jpg").write_bytes(b"x")
    folder.mkdir()
    rows = (
        make_row(
            "already_made", custom_id="a", output_path="../r0/media/a.mp4", folder="../r0/", actual_nano=0
        )
        for _ in "1"
    )
    write_run_files(folder, run, pa.table({"custom_id": ["a"]}), rows)
    assert read_csv(folder / "results.csv")[0]["output_path"] == "../r0/media/a.mp4"
    page = (folder / "report.html").read_text("utf-8")
    assert '"video":"../r0/media/a.mp4"' in page
    assert '"poster":"../r0/posters/a.jpg"' in page


CAMPAIGN = """
[campaign]
name = "spring"
manifest = "shots.csv"
[defaults]
model = "seedance-1.0-lite"
resolution = "480p"
[template]
prompt = "{product}, {mood}. [Push in]"
[matrix]
aspect_ratio = ["16:9", "9:16"]
takes = 2
"""
SHOTS = (
    "product,mood,seed,client,status\r\n"
    '"=cmd|\' /C calc\'!A0","a ""quoted"", mood; with\r\ntwo lines",7,acme,mine\r\n'
    '"Kaffee, größer",-calm,,,\r\n'
)


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """Give a campaign with defaults, a template, a matrix and takes, over hostile cells."""
    (tmp_path / "shots.csv").write_text(SHOTS, "utf-8", newline="")
    (tmp_path / "spring.toml").write_text(CAMPAIGN, "utf-8")
    return tmp_path / "spring.toml"


def test_errors_can_be_run_again(campaign: Path, run: RunFacts, make_row: MakeRow) -> None:
    """Alone, without the campaign, errors.csv is a manifest of the very same purchases; and so once more."""
    folder = campaign.parent / "runs" / "r1"
    folder.mkdir(parents=True)
    plan = make_plan(campaign)
    assert len(plan.jobs) == 8
    for _ in range(2):
        base = make_row("failed", error='="x"', error_type="content_policy_violation", charged="no")
        rows = [replace(base, job=planned.job) for planned in plan.jobs]
        write_run_files(folder, run, manifest_table(plan), rows)
        again = make_plan(folder / "errors.csv")
        assert [each.fingerprint for each in again.jobs] == [each.fingerprint for each in plan.jobs]
        assert [each.quote for each in again.jobs] == [each.quote for each in plan.jobs]
        for name in ("custom_id", "output_name", "client", "take"):
            assert [getattr(each.job, name) for each in again.jobs] == [
                getattr(each.job, name) for each in plan.jobs
            ]
        assert again.jobs[0].job.extra["product"] == "=cmd|' /C calc'!A0"
        assert again.campaign == run.campaign
        for each in read_csv(folder / "errors.csv"):
            assert not any(cell.startswith(tuple("=+-@\t\r")) for cell in each.values()), each
        plan = again


def test_errors_csv_of_a_campaign_file_keeps_the_files_campaign(
    campaign: Path, run: RunFacts, make_row: MakeRow
) -> None:
    """A campaign file that names errors.csv as its manifest keeps its own name."""
    plan = make_plan(campaign)
    rows = [replace(make_row("failed"), job=each.job) for each in plan.jobs]
    write_run_files(campaign.parent, run, manifest_table(plan), rows)
    (campaign.parent / "again.toml").write_text(
        '[campaign]\nname = "again"\nmanifest = "errors.csv"\n', "utf-8"
    )
    assert make_plan(campaign.parent / "again.toml").campaign == "again"


def test_errors_say_what_went_wrong(campaign: Path, run: RunFacts, make_row: MakeRow) -> None:
    """Each row names its failure once, however often the file was run."""
    plan = make_plan(campaign)
    rows = [replace(make_row("failed", error="no", request_id="q1"), job=each.job) for each in plan.jobs]
    write_run_files(campaign.parent, run, manifest_table(plan), rows)
    with (campaign.parent / "errors.csv").open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    assert header[-len(ERROR_NAMES) :] == list(ERROR_NAMES)
    assert len(header) == len(set(header))
    assert read_csv(campaign.parent / "errors.csv")[0]["request_id"] == "q1"


def test_a_job_is_written_in_every_column(make_row: MakeRow) -> None:
    """Every column that a manifest may have is written, so that none is lost on the way back."""
    assert set(manifest_cells(make_row().job)) == {column.name for column in COLUMNS}
    job = replace(
        make_row().job,
        seed=0,
        camera_fixed=False,
        enable_safety_checker=True,
        references=(Image("url", "https://a/1.png"), Image("url", "https://a/2.png")),
    )
    cells = manifest_cells(job)
    assert (cells["seed"], cells["camera_fixed"], cells["enable_safety_checker"]) == ("0", "false", "true")
    assert cells["reference_image_urls"] == "https://a/1.png\nhttps://a/2.png"


def test_what_people_correct_opens_in_excel_with_its_letters(
    tmp_path: Path, run: RunFacts, make_row: MakeRow
) -> None:
    """Errors.csv has a byte order mark where it needs one; results.csv, which programs read, has none."""
    rows = [make_row(custom_id="a"), make_row("failed", custom_id="b", prompt="Tee für 茶器")]
    write(tmp_path, run, [{"custom_id": "a", "prompt": "x"}, {"custom_id": "b", "prompt": "y"}], rows)
    assert (tmp_path / "errors.csv").read_bytes().startswith(b'\xef\xbb\xbf"custom_id"')
    assert "Tee für 茶器" in (tmp_path / "errors.csv").read_text("utf-8-sig")
    assert (tmp_path / "results.csv").read_bytes().startswith(b'"prompt"')
    assert pd.read_csv(tmp_path / "errors.csv")["custom_id"].tolist() == ["b"]
    assert pa.csv.read_csv(tmp_path / "errors.csv")["custom_id"].to_pylist() == ["b"]
