"""Plans: totals, hash, documents, tables, and plan files that notice every change."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import PIL.Image
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import ManifestError, PlanChanged, UsageError
from manifests.job import Image, Job, decode_job, encode_job
from manifests.plan import Plan, PlanOptions
from manifests.plan_document import plan_document, refusal_document
from manifests.plan_file import differences, read_plan, write_plan
from manifests.plan_rows import manifest_table, rows_table
from manifests.planner import make_plan
from pricing.budgets import Cap, full_room
from pricing.catalog import load_catalog

CATALOG = load_catalog()
HEADER = "custom_id,prompt,model,resolution,duration,client,priority,note,image_url\n"
ROWS = [
    "a,A fox,seedance-1.0-pro-fast,1080p,5,acme,1,one,",
    "b,A cat,seedance-1.5-pro,720p,5,,0,two,",
    "c,A dog,seedance-1.0-lite,720p,5,acme,0,,https://example.com/a.png",
]


def _write(folder: Path, rows: list[str] | None = None) -> Path:
    path = folder / "shots.csv"
    path.write_text(HEADER + "\n".join(ROWS if rows is None else rows) + "\n")
    return path


def _plan(folder: Path, rows: list[str] | None = None, **options: object) -> Plan:
    return make_plan(_write(folder, rows), overrides=PlanOptions(**options))  # type: ignore[arg-type]


def test_totals(tmp_path: Path) -> None:
    """The plan's totals are the sums of its jobs, over all, by model and by client."""
    plan = _plan(tmp_path)
    assert plan.total.jobs == 3
    assert plan.total.expected_nano == 244_800_000 + 259_200_000 + 185_328_000
    assert [total.jobs for total in plan.by_client().values()] == [2, 1]
    assert sum(total.maximum_nano for total in plan.by_model().values()) == plan.total.maximum_nano
    assert [spend.maximum_nano for spend in plan.spends()] == [job.quote.maximum_nano for job in plan.jobs]
    assert plan.spends([1]) == plan.spends()[1:2]


def test_a_bare_manifest_is_a_campaign_of_its_name(tmp_path: Path) -> None:
    """Without a campaign file the campaign is called after the file, and only options cap it."""
    plan = _plan(tmp_path, budget_usd="12.5", concurrency=4, out="elsewhere")
    assert plan.campaign == "shots"
    assert plan.caps == (Cap("run", "", "total", 12_500_000_000),)
    assert (plan.concurrency, plan.out) == (4, "elsewhere")


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "1e9", "twelve"])
def test_budgets_that_are_none(tmp_path: Path, budget: str) -> None:
    """A budget that is no amount is a usage error, before anything is read."""
    with pytest.raises(UsageError, match="the budget"):
        _plan(tmp_path, budget_usd=budget)


def test_options_fill_what_rows_leave_empty(tmp_path: Path) -> None:
    """Defaults of the command line fill empty cells, and never change a filled one."""
    plan = _plan(
        tmp_path,
        ["a,A fox,,,,,,,", "b,A fox,seedance-1.5-pro,,,,,,"],
        defaults={"model": "seedance-1.0-lite"},
    )
    assert [planned.job.endpoint.model for planned in plan.jobs] == ["seedance-1.0-lite", "seedance-1.5-pro"]


def test_document(tmp_path: Path) -> None:
    """The document has the contract's keys, with amounts as exact decimal strings."""
    document = json.loads(json.dumps(plan_document(_plan(tmp_path))))
    assert {"plan_hash", "jobs", "expected_usd", "maximum_usd", "fits", "rows", "errors"} <= set(document)
    assert (document["jobs"], document["expected_usd"], document["fits"]) == (3, "0.689328", True)
    assert document["rows"][0] == {
        "custom_id": "a",
        "row": 2,
        "take": 1,
        "endpoint": "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video",
        "model": "seedance-1.0-pro-fast",
        "resolution": "1080p",
        "aspect_ratio": "16:9",
        "width": 1920,
        "height": 1088,
        "fps": 24,
        "frames": 120,
        "duration_s": 5.0,
        "tokens": 244800.0,
        "expected_usd": "0.2448",
        "maximum_usd": "0.24684",
        "priority": 1,
        "client": "acme",
        "output_name": "a",
    }
    assert sum(Decimal(row["maximum_usd"]) for row in document["rows"]) == Decimal(document["maximum_usd"])


def test_document_says_which_cap_is_too_small(tmp_path: Path) -> None:
    """`fits` compares maxima with what is left, and names each cap."""
    plan = _plan(tmp_path, budget_usd="0.72")
    assert plan_document(plan)["fits"]
    room = dict.fromkeys(full_room(plan.caps), 500_000_000)
    document = plan_document(plan, room=room)
    assert not document["fits"]
    assert document["caps"] == [
        {"scope": "run", "key": "", "window": "total", "limit_usd": "0.72", "left_usd": "0.50", "fits": False}
    ]


def test_rows_are_left_out_of_large_documents(tmp_path: Path) -> None:
    """Above 10,000 jobs the rows are given only where they are asked for."""
    plan = _plan(tmp_path)
    large = replace(plan, jobs=plan.jobs * 3334)
    assert "rows" not in plan_document(large)
    assert len(plan_document(large, rows=True)["rows"]) == 10_002
    assert "rows" not in plan_document(plan, rows=False)


def test_refusal_has_the_same_keys(tmp_path: Path) -> None:
    """A manifest with mistakes answers with the same keys and its mistakes."""
    with pytest.raises(ManifestError) as caught:
        _plan(tmp_path, ["a,A fox,seedance-1.0-pro-fast,,40,,,,"])
    document = refusal_document(caught.value)
    (error,) = document["errors"]
    assert (document["jobs"], document["fits"]) == (0, False)
    assert (error["row"], error["column"], error["found"]) == (2, "duration", "40")
    assert set(document) <= set(plan_document(_plan(tmp_path)))


CHANGES = [
    ([ROWS[0], ROWS[1]], {}, "1 row removed: c"),
    ([*ROWS, "d,A cow,seedance-1.5-pro,,,,,,"], {}, "1 row added: d"),
    ([ROWS[0].replace("A fox", "A wolf"), *ROWS[1:]], {}, "1 row changed: a"),
    ([ROWS[0].replace(",1,one", ",2,one"), *ROWS[1:]], {}, "1 row changed: a"),
    ([ROWS[0].replace("one", "other"), *ROWS[1:]], {}, "1 row changed: a"),
    (ROWS[::-1], {}, "the rows stand in another order, or the file's hash was edited"),
    (ROWS, {"budget_usd": "9"}, "the cap on run is $9.00, not $5.00"),
    (
        [f"z{at},A fox {at},seedance-1.5-pro,,,,,," for at in range(7)],
        {},
        "7 rows added: z0, z1, z2, z3, z4 and 2 more",
    ),
]


@pytest.mark.parametrize(("rows", "options", "change"), CHANGES)
def test_a_plan_file_notices(tmp_path: Path, rows: list[str], options: dict[str, str], change: str) -> None:
    """A plan file whose rows or caps are no longer the planned ones is refused, with what changed."""
    write_plan(_plan(tmp_path, budget_usd="5"), tmp_path / "plan.json")
    _write(tmp_path, rows)
    with pytest.raises(PlanChanged) as caught:
        make_plan(tmp_path / "plan.json", overrides=PlanOptions(**options))  # type: ignore[arg-type]
    assert change in caught.value.differences


def test_prices_caps_and_campaigns_that_changed(tmp_path: Path) -> None:
    """Another price, price book, campaign or cap is named for what it is."""
    plan = _plan(tmp_path, budget_usd="5")
    write_plan(plan, tmp_path / "plan.json")
    planned = read_plan(tmp_path / "plan.json")
    dear = replace(plan.jobs[0], quote=replace(plan.jobs[0].quote, maximum_nano=10**9))
    cap = Cap("campaign", "shots", "day", 1)
    now = replace(plan, jobs=(dear, *plan.jobs[1:]), price_book="2027-01-01", campaign="other", caps=(cap,))
    assert differences(planned, now) == [
        "the campaign is other, not shots",
        "the price book is of 2027-01-01, not 2026-11-21",
        "the cap on run is gone",
        "there is a new cap on campaign shots, per day",
        "at most it costs $1.466092, not $0.712932",
        "1 row priced differently: a",
    ]


@pytest.mark.parametrize(
    ("field", "edited", "change"),
    [
        ("price_book", "2020-01-01", "the price book is of"),
        ("maximum_usd", "0.0001", "at most it costs"),
        ("expected_usd", "0.0001", "expected it costs"),
        ("jobs", 1, "jobs, not 1"),
        ("campaign", "other", "the campaign is"),
        ("caps", [], "there is a new cap"),
        ("plan_hash", "0" * 64, "hash was edited"),
    ],
)
def test_a_plan_file_that_was_edited_is_refused(
    tmp_path: Path, field: str, edited: object, change: str
) -> None:
    """What a person approves in the file is what its rows say: each field is held against them."""
    path = tmp_path / "plan.json"
    write_plan(_plan(tmp_path, budget_usd="5"), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: edited}))
    with pytest.raises(PlanChanged, match=change):
        make_plan(path, overrides=PlanOptions())


def test_a_plan_file_that_holds_is_the_same_plan(tmp_path: Path) -> None:
    """Planned again from its file, with its options, a plan has the same hash and jobs."""
    options = {"budget_usd": "5", "defaults": {"seed": "7"}, "out": "x", "concurrency": 3}
    plan = _plan(tmp_path, **options)
    write_plan(plan, tmp_path / "plans" / "plan.json")
    again = make_plan(tmp_path / "plans" / "plan.json")
    assert (again.hash, again.jobs, again.caps) == (plan.hash, plan.jobs, plan.caps)
    assert (again.out, again.concurrency) == ("x", 3)
    assert {path.name for path in (tmp_path / "plans").iterdir()} == {"plan.json", "plan.rows.parquet"}


def test_plan_and_manifest_can_be_moved_together(tmp_path: Path) -> None:
    """A plan file finds its source from its own folder."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    plan = _plan(before)
    write_plan(plan, before / "plan.json")
    before.rename(after)
    assert make_plan(after / "plan.json").hash == plan.hash


def test_damaged_plan_files(tmp_path: Path) -> None:
    """A plan file that is none, is cut off, or whose rows are others, is refused."""
    write_plan(_plan(tmp_path), tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text()
    rows = (tmp_path / "plan.rows.parquet").read_bytes()
    for broken in ("", "[]", "{}", text[:-10], text.replace('"campaign": "shots"', '"campaigns": 1')):
        (tmp_path / "plan.json").write_text(broken)
        with pytest.raises(UsageError, match="plan"):
            read_plan(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text(text)
    (tmp_path / "plan.rows.parquet").write_bytes(rows[:-1])
    with pytest.raises(UsageError, match="not the file that the plan was written with"):
        read_plan(tmp_path / "plan.json")
    (tmp_path / "plan.rows.parquet").unlink()
    with pytest.raises(UsageError, match="No such file"):
        read_plan(tmp_path / "plan.json")


def test_a_plan_of_a_plan_is_refused(tmp_path: Path) -> None:
    """A plan file that names a plan file as its source would never come to a manifest."""
    write_plan(replace(_plan(tmp_path), source=tmp_path / "plan.json"), tmp_path / "plan.json")
    with pytest.raises(UsageError, match="which is a plan file itself"):
        make_plan(tmp_path / "plan.json")


def test_a_plan_that_cannot_be_written(tmp_path: Path) -> None:
    """A wrong name or a place that takes no files is a usage error, and leaves nothing behind."""
    plan = _plan(tmp_path)
    with pytest.raises(UsageError, match=r"ends in \.json"):
        write_plan(plan, tmp_path / "plan.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"the plan's folder .* cannot be used: it is a file"):
        write_plan(plan, tmp_path / "file" / "plan.json")
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        write_plan(plan, tmp_path / "taken.json")
    assert not list(tmp_path.glob(".*"))


def test_rows_beside_the_plan_are_money_in_integers(tmp_path: Path) -> None:
    """The rows' table holds nano-dollars as 64-bit integers, and everything that decided them."""
    plan = _plan(tmp_path)
    table = rows_table(plan.jobs)
    assert {str(table.schema.field(name).type) for name in ("expected_nano", "maximum_nano")} == {"int64"}
    row = table.to_pylist()[0]
    assert row["expected_nano"] == plan.jobs[0].quote.expected_nano
    assert (row["prompt"], row["width_px"], row["row"]) == ("A fox", 1920, 2)
    assert row["endpoint"] == plan.jobs[0].job.endpoint.id
    assert None not in row.values()


def test_the_manifest_is_kept_as_it_was_given(tmp_path: Path) -> None:
    """Every original column is kept as text, custom columns too, with the ids filled in."""
    table = manifest_table(
        _plan(tmp_path, ["a,A fox,seedance-1.0-pro-fast,,05,,,x ,", ",A cat,seedance-1.5-pro,,,,,,"])
    )
    assert table.column_names == HEADER.strip().split(",")
    assert {str(field.type) for field in table.schema} == {"string"}
    assert table["duration"].to_pylist() == ["05", ""]
    assert table["note"].to_pylist() == ["x ", ""]
    assert all(table["custom_id"].to_pylist())
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert pq.read_table(io.BytesIO(sink.getvalue())).equals(table)


def test_a_changed_picture_changes_the_plan(tmp_path: Path) -> None:
    """A picture counts by its content: the same name with another content is another purchase."""
    hashes = set()
    for color in ("red", "blue", "red"):
        PIL.Image.new("RGB", (400, 400), color).save(tmp_path / "a.png")
        hashes.add(_plan(tmp_path, ["a,A fox,seedance-1.0-lite,,,,,,a.png"]).hash)
    assert len(hashes) == 2


def test_what_has_no_price_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that the price book does not know is a mistake of the row, never a free video."""
    rates = tuple(rate for rate in CATALOG.rates if rate.of != "seedance-1.5-pro")
    monkeypatch.setattr("manifests.planner.load_catalog", lambda: replace(CATALOG, rates=rates))
    with pytest.raises(ManifestError) as caught:
        _plan(tmp_path)
    (problem,) = caught.value.problems
    assert (problem.row, problem.column) == (3, "model")
    assert "no rate for seedance-1.5-pro with audio" in problem.message


@pytest.mark.parametrize("name", ["gone.csv", "gone.toml", "gone.json"])
def test_sources_that_are_not_there(tmp_path: Path, name: str) -> None:
    """A source that does not exist is a usage error with its name."""
    with pytest.raises(UsageError, match="gone"):
        make_plan(tmp_path / name)


IMAGES = st.builds(
    Image,
    kind=st.sampled_from(["url", "file", "data"]),
    value=st.text(),
    sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    content_type=st.none() | st.just("image/png"),
    size=st.none() | st.tuples(st.integers(300, 6000), st.integers(300, 6000)),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FILES = st.builds(
    Image,
    kind=st.sampled_from(["url", "file"]),
    value=st.text(),
    sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    media=st.sampled_from(["video", "audio"]),
    length_ms=st.none() | st.integers(1, 30_000),
)
JOBS = st.builds(
    Job,
    row=st.integers(1, 10**6),
    custom_id=TEXT,
    endpoint=st.sampled_from(list(CATALOG.endpoints.values())),
    prompt=TEXT,
    resolution=st.sampled_from(["480p", "1080p"]),
    aspect_ratio=st.sampled_from(["16:9", "auto"]),
    duration_s=st.none() | st.integers(2, 12),
    num_frames=st.none() | st.integers(29, 289),
    camera_fixed=st.none() | st.booleans(),
    seed=st.none() | st.integers(0, 2**31 - 1),
    enable_safety_checker=st.none() | st.booleans(),
    generate_audio=st.none() | st.booleans(),
    image=st.none() | IMAGES,
    end_image=st.none() | IMAGES,
    references=st.lists(IMAGES | FILES, max_size=4).map(tuple),
    draft=st.none() | st.booleans(),
    codec=st.none() | st.just("H265"),
    bitrate_mode=st.none() | st.just("high"),
    take=st.integers(1, 1000),
    priority=st.integers(-1000, 1000),
    client=TEXT,
    output_name=TEXT,
    extra=st.dictionaries(TEXT, TEXT),
)


@given(JOBS)
def test_jobs_come_back_from_the_ledger_as_they_were(job: Job) -> None:
    """Written and read again a job is equal in every field, on one line, and so is its fingerprint."""
    text = encode_job(job)
    again = decode_job(text, CATALOG)
    assert again == job
    assert again.fingerprint == job.fingerprint
    assert "\n" not in text


def test_a_job_of_an_endpoint_that_is_gone(tmp_path: Path) -> None:
    """A job whose endpoint left the catalog is named, not guessed at."""
    text = encode_job(_plan(tmp_path).jobs[0].job)
    with pytest.raises(UsageError, match="the catalog has no endpoint"):
        decode_job(text, replace(CATALOG, endpoints={}))


def test_planning_a_csv_imports_no_heavy_library() -> None:
    """Planning a plain CSV pays for neither pandas nor pyarrow or Pillow."""
    heavy = {"pandas", "pyarrow", "PIL"}
    code = f"import sys, manifests.planner; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
