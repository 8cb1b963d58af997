"""Many rows at once and one by one: the same mistakes, the same jobs, the same prices, the same hash."""

from __future__ import annotations

import csv
import json
import math
import random
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callsheet.cli.views.plan_advice import advice_document, advice_lines
from callsheet.errors import Problem
from manifests import planner
from manifests.campaign import Campaign, parse_template
from manifests.columnar import batches, cells, job_store
from manifests.columnar.arrow import keys_of, texts_of
from manifests.columnar.cells import is_plain_name
from manifests.columns import COLUMN
from manifests.diff import MadeJob, to_pay
from manifests.images import PictureFinder
from manifests.job import plain_prompt
from manifests.names import DEVICE_NAME, SAFE_NAME, file_part
from manifests.parse_cells import Context
from manifests.plan import StoredJobs, Summary, alike, summary_of
from manifests.plan_rows import manifest_cells, manifest_table
from manifests.planner import make_plan, planned_rows
from manifests.problems import Problems
from manifests.readers import parquet
from manifests.table import Table
from pricing.budgets import Cap
from pricing.catalog import load_catalog
from tests.unit.manifests.clips import write_clip
from tests.unit.manifests.made import compare

CATALOG = load_catalog()
PAD = ("", "", "", " ", "\u3000")
TEXTS: dict[str, list[str]] = {
    "custom_id": [
        "",
        "a",
        "b",
        "A",
        "é",
        "e\u0301",
        "x y",
        "con",
        "n" * 121,
        "tab\tbed",
        "shot/1",
        "null\x00",
    ],
    "prompt": [
        "A fox",
        "A cat [Push in]",
        "[Slow zoom, Push in] [Pan left]",
        "#N/A",
        "NaN",
        "NA",
        "none of the boats",
        "[Slow zoom, Push in]\r\n[Pan left]",
        "[Slow zoom, Push in]\n[Pan left]",
        "Zoe\u0308",
        "Zo\u00eb",
        "雨の街",
        "",
        "\u200b",
        "\u3164 \u00a0\u2060",
        "\ufeffA fox",
        "Loading...",
        "x" * 5001,
        "\x1b",
    ],
    "model": [
        *CATALOG.models,
        "Seedance-1.0-PRO",
        "Seedance 1.5 Pro",
        "seedance_2.0 fast",
        *list(CATALOG.endpoints)[:4],
        "seedance-1.0-pr",
        "veo",
        "",
    ],
    "image_url": [
        "",
        "",
        "",
        "https://example.com/a.png",
        "a.png",
        "b.png",
        "gone.png",
        "ftp://x/y",
        "HTTPS://h/x",
        "https://b.example.com/a.png?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60&X-Amz-Signature=a&versionId=1",
        "https://b.example.com/a.png?versionId=1&X-Amz-Date=20990101T000000Z&X-Amz-Expires=60&X-Amz-Signature=b",
        "https://b.example.com/a.png?versionId=1",
        "http://192.168.1.5/a.png",
        "https://example.com/a.png,https://example.com/b.png",
        "https://example.com/a,b.png",
        "https://example.com/a.png;",
        "#VALUE!",
    ],
    "end_image_url": [
        "",
        "",
        "",
        "https://example.com/b.png",
        "a.png",
        "http://u:p@h/x",
        "https://nas.local/b.png",
    ],
    "reference_image_urls": [
        "",
        "",
        "",
        "https://h/1.png | https://h/2.png",
        "https://example.com/a.png,HTTPS://example.com/b.png",
        "a.png | https://h/3.png",
        "https://example.com/1.png;https://example.com/2.png",
        "https://example.com/1.png;",
        "https://localhost/1.png | http://10.0.0.1/2.png?sv=1&sig=2",
    ],
    "reference_videos": [
        "",
        "",
        "https://h/1.mp4",
        "v.mp4",
        "https://h/1.mp4; https://h/2.mov",
        "a.png",
        "[1]",
    ],
    "reference_audios": ["", "", "https://h/1.mp3", "", '["https://h/1.mp3", "https://h/2.wav"]', "gone.wav"],
    "draft": ["", "no", "yes", "maybe"],
    "task": ["", "reference", "Editing", "extension", "dubbing"],
    "codec": ["", "h264", "AUTO", "vp9"],
    "bitrate_mode": ["", "standard", "high", "#N/A"],
    "aspect_ratio": [
        "",
        "16:9",
        "9:16",
        "9:21",
        "auto",
        "AUTO",
        "16:09",
        "16:10",
        "9x16",
        "16 : 9",
        "0.672916666666667",
    ],
    "resolution": ["", "480p", "720P", "1080p", "4k", "480", "1080.0", "#REF!", "nan"],
    "duration": [
        "",
        "5",
        "auto",
        "#VALUE!",
        "5s",
        "2",
        "3",
        "12",
        "13",
        "2.5",
        "5 sec",
        "5,0",
        "5,000",
        "5\u00a0s",
    ],
    "num_frames": ["", "", "", "29", "30", "289", "290", "x", "101.000"],
    "camera_fixed": ["", "false", "true", "perhaps", "WAHR", "off"],
    "enable_safety_checker": ["", "yes", "0", "checked", "1.0"],
    "generate_audio": ["", "true", "no", "?", "Sí", "Faux"],
    "seed": ["", "-1", "#DIV/0!", "7", "7.0", "+7", "-2", "4294967296", "many", "1.000", "7.00"],
    "priority": ["", "3", "-1000", "1001", "-1.000", "0.000"],
    "take": ["", "1", "2", "0", "2.000"],
    "client": ["", "acme", "NA", "null", "#NAME?", "Zoë", "b\u200bd", "c" * 121],
    "output_name": [
        "",
        "",
        "",
        "hero",
        "#REF!",
        "Hero.mp4",
        "../a",
        "a/b",
        "NUL.mp4",
        ".mp4",
        "a.MP4",
        ".Mp4",
        "Äpfel",
        "a\u0308pfel.mp4",
    ],
    "note": ["", " kept ", "x", "\x07"],
    "Video length": ["5", ""],
    "Start frame": ["", "a.png"],
    "product": ["tea", "Käse", "", "a/b"],
}
MODELS = ("seedance-1.0-lite", "seedance-1.0-pro")
NAMINGS = ("", "", "{client}/{custom_id}", "{client}-{custom_id}-{take}", "{product}{aspect_ratio}")
EXPANSIONS: tuple[dict[str, Any], ...] = (
    {},
    {"defaults": {"model": "seedance-1.5-pro", "client": "acme", "extra": "e"}},
    {"takes": 2, "templates": {"prompt": parse_template("{product}: [Push in]")}},
    {"matrix": {"resolution": ("480p", "4k"), "aspect_ratio": ("1:1", "auto")}, "takes": 2},
    {"columns": {"note": "client2"}},
    {"takes": 3, "matrix": {"seed": ("5", "7.0", "", "many"), "custom_id": ("a.MP4", " b ")}},
    {
        "matrix": {"resolution": ("480p", "720p"), "word": ("x", "")},
        "templates": {"prompt": parse_template("{word}"), "custom_id": parse_template("{model}-{seed}")},
        "defaults": {"resolution": "1080p", "seed": "11"},
    },
    {"matrix": {"take": ("1", "2")}, "templates": {"client": parse_template("{{ {product}")}},
    {"templates": {"prompt": parse_template("always the same"), "new": parse_template("{prompt} {note}")}},
)


def _drawn(draw: random.Random) -> tuple[list[str], list[list[str]]]:
    """Draw a header and rows of cells, many of them good and some of them twice."""
    others = [name for name in TEXTS if name not in ("prompt", "model")]
    names = ["prompt", "model", *draw.sample(others, draw.randint(0, 10))]
    if draw.random() < 0.1:
        names.remove(draw.choice(names))
    few = 4 if draw.random() < 0.6 else None
    rows = [
        [draw.choice(TEXTS[name][:few]) + draw.choice(PAD) for name in names]
        for _ in range(draw.randint(1, 12))
    ]
    return names, rows + (rows[:3] if draw.random() < 0.3 else [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures and a video beside the manifest."""
    home = tmp_path_factory.mktemp("agrees")
    PIL.Image.new("RGB", (400, 400)).save(home / "a.png")
    PIL.Image.new("RGB", (800, 400)).save(home / "b.png")
    write_clip(home / "v.mp4", seconds=2)
    return home


Outcome = tuple[list[Problem], list[Problem], list[Any], Summary | None]


def _planned(folder: Path, few: int, **changes: Any) -> Outcome:
    campaign = replace(Campaign(name="c", manifest="m.parquet", folder=folder), **changes)
    notes = Problems()
    context = Context(CATALOG, PictureFinder.of(folder), campaign.naming)
    jobs, counted = planned_rows(campaign, context, notes, few=few)
    if notes.count:
        return notes.problems(), [], [], None
    every = list(jobs)
    if isinstance(jobs, StoredJobs):
        assert list(jobs.fingerprints()) == [planned.fingerprint for planned in every]
        assert jobs.cells_table().equals(manifest_table(SimpleNamespace(jobs=every)))
    return [], notes.warnings(), every, counted or summary_of(jobs)


def _both_ways(folder: Path, **changes: Any) -> Outcome:
    """Plan both ways, hold one against the other, return what they agree on."""
    singly, by_columns = _planned(folder, 10**9, **changes), _planned(folder, -1, **changes)
    assert by_columns[0] == singly[0]
    assert by_columns[1] == singly[1]
    for ours, theirs in zip(by_columns[2], singly[2], strict=True):
        assert (ours.job, ours.quote, ours.fingerprint) == (theirs.job, theirs.quote, theirs.fingerprint)
        assert _comparable(ours.cells) == _comparable(theirs.cells)
    assert by_columns[3] == singly[3]
    return by_columns


def _comparable(cells: Any) -> list[tuple[str, str]]:
    """Return cells without what may be spelled otherwise: numbers, prompts, space around our own columns."""
    numbers = ("seed", "priority", "take")
    plain = dict(cells) | {"prompt": plain_prompt(cells.get("prompt", ""))}
    return [
        (name, "" if name in numbers else cell.strip() if name in COLUMN else cell)
        for name, cell in plain.items()
        if name not in ("custom_id", "output_name")
    ]


def test_a_file_name_is_composed_both_ways(folder):
    """An umlaut of two characters, as macOS writes it, is the letter that it looks like."""
    names = [unicodedata.normalize("NFD", name) for name in ("Äpfel", "Öl/Bäume.mp4")]
    rows = [["A fox", "seedance-1.0-lite", name] for name in names]
    pq.write_table(_table(["prompt", "model", "output_name"], rows), folder / "m.parquet")
    assert [each.job.output_name for each in _both_ways(folder)[2]] == ["Äpfel", "Öl/Bäume"]


def test_names_of_any_script_are_one_in_upper_and_lower_case_both_ways(folder):
    """A given name that another row has is a mistake, and a made one gives way; ASCII is no exception."""
    for one, other in (("Äpfel", "äpfel"), ("Apfel", "apfel"), ("Straße", "STRASSE")):
        rows = [[f"{name} runs", "seedance-1.0-lite", name] for name in (one, "Иван", other)]
        pq.write_table(_table(["prompt", "model", "output_name"], rows), folder / "m.parquet")
        (problem,) = _both_ways(folder)[0]
        assert (problem.row, problem.column, problem.found) == (3, "output_name", other)
        pq.write_table(_table(["prompt", "model", "custom_id"], rows), folder / "m.parquet")
        names = [each.job.output_name for each in _both_ways(folder)[2]]
        assert names[:2] == [file_part(name) for name in (one, "Иван")]
        assert len({name.casefold() for name in names}) == 3


def test_addresses_behind_semicolons_are_counted_one_by_one(folder):
    """A cell of several addresses is no single one, however plain it looks; a `;` at its end ends it."""
    one, two, five = (";".join(f"https://example.com/{n}.png" for n in range(count)) for count in (1, 2, 5))
    rows = {"model": ["seedance-1.0-lite"] * 2, "prompt": ["A fox"] * 2}
    pq.write_table(pa.table(rows | {"reference_image_urls": [f"{one};", two]}), folder / "m.parquet")
    _, _, planned, _ = _both_ways(folder)
    assert [len(each.job.references) for each in planned] == [1, 2]
    pq.write_table(pa.table(rows | {"reference_image_urls": [one, five]}), folder / "m.parquet")
    assert [each.message for each in _planned(folder, -1)[0]] == ["here are 5 pictures; 1 to 4 are allowed"]
    _both_ways(folder)


@pytest.mark.parametrize("column", ["image_url", "end_image_url"])
def test_a_semicolon_behind_the_address_of_one_frame_is_part_of_it(folder, column):
    """Such a cell is not split: with and without the `;` it names two pictures, and both rows are bought."""
    cells = ["https://example.com/a.png;", "https://example.com/a.png"]
    rows = {"model": ["seedance-1.0-lite"] * 2, "prompt": ["A fox"] * 2, "image_url": cells, column: cells}
    pq.write_table(pa.table(rows), folder / "m.parquet")
    _, _, planned, _ = _both_ways(folder)
    assert [manifest_cells(each.job)[column] for each in planned] == cells
    assert len({each.fingerprint for each in planned}) == 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_every_row_means_the_same_both_ways(folder, seed):
    """Mistakes, warnings, jobs, prices, cells, totals and hash of generated rows agree, error for error."""
    draw = random.Random(seed)
    names, rows = _drawn(draw)
    pq.write_table(_table(names, rows), folder / "m.parquet")
    naming = draw.choice(NAMINGS)
    # Text may be read as words and their places; so is every column here, or none.
    with mock.patch.object(parquet, "CODED_BYTES_MAX", draw.choice((0, 1 << 20))):
        _both_ways(folder, naming=parse_template(naming) if naming else None)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_campaigns_mean_the_same_both_ways(folder, seed):
    """Defaults, renamings, templates, a matrix and takes make the same jobs of rows both ways."""
    draw = random.Random(seed)
    names, rows = _drawn(draw)
    kind = draw.choice(("csv", "jsonl", "parquet"))
    _write(folder / f"m.{kind}", names, rows)
    _both_ways(folder, manifest=f"m.{kind}", **draw.choice(EXPANSIONS))


@pytest.mark.parametrize(
    "column",
    [
        {"seed": pa.array([7, None, -1, 9])},
        {"seed": pa.array([7.0, None, math.nan, 2.5])},
        {"seed": pa.array([1, 2**63, 3, 4], pa.uint64())},
        {"duration": pa.array([5, None, 12, 13], pa.int8())},
        {"duration": pa.array(["5", "5s", None, "5"]).dictionary_encode()},
        {"camera_fixed": pa.array([True, None, False, True])},
        {"priority": pa.array([Decimal(1), Decimal("2.0"), None, Decimal(9)])},
        {"note": pa.array([{"a": 1}, None, {"a": 2}, {"a": 3}])},
        {"note": pa.array([b"x", b"y", None, b"\xff"])},
        {"note": pa.nulls(4)},
        {"note": pa.array(["a", None, "b", "c"], pa.large_string())},
        {"custom_id": pa.array([1, 2, 3, 1])},
    ],
    ids=lambda column: f"{next(iter(column))} {next(iter(column.values())).type}",
)
def test_columns_of_any_type_agree(folder, column):
    """Numbers, flags, dates, dictionaries and nested values are the same cells both ways."""
    rows = {"prompt": ["a", "b", "c", "d"], "model": ["seedance-1.0-lite"] * 4}
    pq.write_table(pa.table({**rows, **column}), folder / "m.parquet")
    _both_ways(folder)


@pytest.mark.parametrize(
    "name",
    [
        "con",
        "CON.tar",
        "com1",
        "lpt9.x",
        "comet",
        "conn",
        "nul-1",
        "prn",
        "aux",
        "auxx",
        "a..b",
        "_",
        "a-",
        ".a",
        "-a",
        "a.",
        "a b",
        "é",
        "",
        "n" * 100,
        "n" * 101,
    ],
)
def test_plain_names_are_safe_names_of_one_part(name):
    """What a quick look takes for a plain name is what the pattern takes for one, and no device's."""
    expected = bool(re.search(SAFE_NAME, name)) and not re.search(DEVICE_NAME, name) and len(name) <= 100
    assert is_plain_name(texts_of([name])).tolist() == [expected]
    assert is_plain_name(texts_of(["shot-1", name, "Ü"])).tolist() == [True, expected, False]


def test_a_mistake_is_explained_once_for_each_distinct_cell(folder, monkeypatch):
    """A thousand rows with the same bad cell are read once, and each of them is named."""
    asked = []
    read = cells.read_cell
    monkeypatch.setattr(cells, "read_cell", lambda *each: asked.append(each[1].name) or read(*each))
    rows = [["A fox", "seedance-1.0-lite", ("-9", "many")[at % 2]] for at in range(1000)]
    pq.write_table(_table(["prompt", "model", "seed"], rows), folder / "m.parquet")
    problems = _planned(folder, -1)[0]
    assert [(each.row, each.found) for each in problems[:2]] == [(1, "-9"), (2, "many")]
    assert (len(problems), asked.count("seed")) == (1000, 2)


def test_rows_of_a_long_csv_never_become_mappings(folder, monkeypatch):
    """CSV is read into columns: a mapping for every row would take longer than all the rest."""
    rows = [[f"fox {number}", "seedance-1.0-lite"] for number in range(300)]
    _write(folder / "m.csv", ["prompt", "model"], rows)
    monkeypatch.setattr(Table, "rows", None)
    assert len(_planned(folder, -1, manifest="m.csv")[2]) == 300


def test_a_bracket_ends_in_its_own_prompt(folder):
    """What one prompt opens, the next one does not close."""
    prompts = ["A fox [Slow", "zoom] by the sea", "[[Slow zoom]]", "[] [Push in][Slow zoom", "no end ["]
    rows = [[prompt, "seedance-1.0-pro"] for prompt in prompts]
    pq.write_table(_table(["prompt", "model"], rows), folder / "m.parquet")
    assert [(warning.row, warning.found) for warning in _both_ways(folder)[1]] == [(3, "[Slow zoom]")]


def test_what_many_combinations_share_is_kept_as_words(folder):
    """A column of few words is written as such, though many combinations have the same word."""
    rows = [["a fox", "seedance-1.0-lite", str(at % 9 + 3), str(at)] for at in range(4000)]
    pq.write_table(_table(["prompt", "model", "duration", "seed"], rows), folder / "m.parquet")
    campaign = Campaign(name="c", manifest="m.parquet", folder=folder)
    jobs, _ = planned_rows(campaign, Context(CATALOG, PictureFinder.of(folder)), Problems(), few=-1)
    group = pq.ParquetFile(jobs.path).metadata.row_group(0)
    sizes = {each.path_in_schema: each.total_uncompressed_size for each in map(group.column, range(30))}
    assert max(sizes[name] for name in ("endpoint", "model", "resolution", "client", "image_url")) < 1000


def test_a_matrix_of_many_rows_never_sees_a_row(folder, monkeypatch):
    """Combinations, takes and templates of many rows are made column by column."""
    monkeypatch.setattr(batches.Batch, "row", None)
    rows = [[f"fox {number}", "seedance-1.0-lite"] for number in range(50)]
    pq.write_table(_table(["subject", "model"], rows), folder / "m.parquet")
    jobs = _both_ways(
        folder,
        templates={"prompt": parse_template("A {subject} at dusk")},
        matrix={"resolution": ("480p", "720p")},
        takes=3,
    )[2]
    assert [jobs[at].job.prompt for at in (0, 5, 6)] == ["A fox 0 at dusk"] * 2 + ["A fox 1 at dusk"]
    assert len(jobs) == 300


def test_a_header_is_judged_by_all_of_its_rows(folder, monkeypatch):
    """A column of ours explains another one if any batch fills it, and not where it stays empty."""
    monkeypatch.setattr(batches, "BATCH_ROWS", 4)
    names = ["prompt", "model", "Main image", "image_url", "Video length", "duration", "Sound?"]
    rows = [["a fox", MODELS[0], "x.png", "b.png" if at == 7 else " ", "5", "", "no"] for at in range(12)]
    pq.write_table(_table(names, rows), folder / "m.parquet")
    warnings = [each for each in _both_ways(folder)[1] if "did you mean" in each.message]
    assert [each.column for each in warnings] == ["Video length", "Sound?"]


def test_a_parquet_file_that_ends_early_is_a_mistake_of_a_campaign_too(folder):
    """Rows that cannot be read are not left out in silence where a matrix multiplies them."""
    path = folder / "damaged.parquet"
    rows = [[f"fox {number}", "seedance-1.0-lite"] for number in range(5000)]
    pq.write_table(_table(["prompt", "model"], rows), path, row_group_size=1000, compression="none")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    problems = _planned(folder, -1, manifest="damaged.parquet", takes=2)[0]
    assert "not a whole Parquet file" in problems[0].message


def test_text_that_is_no_text_is_named(folder):
    """A lone surrogate, which JSON can spell and no file can hold, is a mistake of its row."""
    good, bad = '{"prompt": "a fox", "model": "seedance-1.0-lite"}', '{"prompt": "\\ud800", "model": "x"}'
    (folder / "m.jsonl").write_text(f"{good}\n{bad}\n{good}\n")
    problems = _both_ways(folder, manifest="m.jsonl")[0]
    assert {problem.row for problem in problems} == {2}
    assert {problem.row for problem in _both_ways(folder, manifest="m.jsonl", takes=2)[0]} == {2}
    changes = {"templates": {"prompt": parse_template("A {model}")}, "matrix": {"model": MODELS}}
    problems = _both_ways(folder, manifest="m.jsonl", **changes)[0]
    assert [(problem.row, problem.column) for problem in problems] == [(2, "prompt")]


def test_batches_do_not_show(folder, monkeypatch):
    """Rows that are twins over the border of two batches are found, and the hash is that of one batch."""
    rows = [["a fox", "seedance-1.0-lite", str(number % 5)] for number in range(12)]
    pq.write_table(_table(["prompt", "model", "seed"], rows), folder / "m.parquet")
    whole = _both_ways(folder)
    monkeypatch.setattr(batches, "BATCH_ROWS", 4)
    cut = _both_ways(folder)
    assert cut[1] == whole[1]
    assert cut[3] == whole[3]
    assert [planned.job.take for planned in cut[2]][5:] == [2] * 5 + [3] * 2


def test_a_made_id_that_somebody_has_is_a_mistake(folder):
    """The id made for a second take is refused where a third row was given that very name."""
    rows = [["a fox", "seedance-1.0-lite", ""]] * 2
    pq.write_table(_table(["prompt", "model", "custom_id"], rows), folder / "m.parquet")
    made = _both_ways(folder)[2][1].job.custom_id
    pq.write_table(
        _table(["prompt", "model", "custom_id"], [*rows, ["a cat", rows[0][1], made]]), folder / "m.parquet"
    )
    (problem,) = _both_ways(folder)[0]
    assert (problem.row, problem.found) == (3, made)


def test_ids_that_would_be_equal_are_longer_both_ways(folder):
    """Two videos whose ids would be equal get longer ones, in whichever order their rows stand."""
    rows = [["a fox", "seedance-1.0-lite", "7"]]
    pq.write_table(_table(["prompt", "model", "seed"], rows), folder / "m.parquet")
    job = _both_ways(folder)[2][0].job
    seen: dict[str, int] = {}
    for seed in range(1, 100_000):
        digits = replace(job, seed=seed).fingerprint[:6]
        if digits in seen:
            break
        seen[digits] = seed
    pair = [["a fox", "seedance-1.0-lite", str(each)] for each in (seen[digits], seed)]
    ids = []
    for order in (pair, pair[::-1]):
        pq.write_table(_table(["prompt", "model", "seed"], [*order, *rows]), folder / "m.parquet")
        jobs = _both_ways(folder)[2]
        ids.append({planned.job.seed: planned.job.custom_id for planned in jobs})
        assert [planned.job.output_name for planned in jobs] == [planned.job.custom_id for planned in jobs]
    assert ids[0] == ids[1]
    assert [len(name) for name in ids[0].values()] == [len("fox-") + 12, len("fox-") + 12, len("fox-") + 6]


def test_keys_tell_rows_apart():
    """Rows that differ in one cell, or in where a cell ends, have different keys."""
    rows = [("", ""), ("a", ""), ("", "a"), ("aa", ""), ("a", "a"), ("x" * 5000, "y"), ("x" * 5000, "z")]
    keys = keys_of(*zip(*rows, strict=True))
    assert len(set(keys.tolist())) == len(rows)
    assert keys_of(*zip(*rows[::-1], strict=True)).tolist() == keys.tolist()[::-1]


def test_jobs_of_a_large_plan_are_a_sequence(folder):
    """They can be counted, indexed from both ends, cut and read again, and are the same each time."""
    pq.write_table(
        _table(["prompt", "model"], [[f"fox {n}", "seedance-1.0-lite"] for n in range(20)]),
        folder / "m.parquet",
    )
    campaign = Campaign(name="c", manifest="m.parquet", folder=folder)
    jobs, _ = planned_rows(campaign, Context(CATALOG, PictureFinder.of(folder)), Problems(), few=-1)
    assert (len(jobs), jobs[3].job.prompt, jobs[-1].job.prompt) == (20, "fox 3", "fox 19")
    assert [planned.job.row for planned in jobs[5:7]] == [6, 7]
    assert list(jobs) == list(jobs)
    assert list(jobs.picked({17, 2})) == [jobs[2], jobs[17]]
    assert list(jobs.values("row", "prompt"))[:2] == [(1, "fox 0"), (2, "fox 1")]
    with pytest.raises(IndexError):
        jobs[20]


def test_jobs_are_picked_from_whichever_part_of_the_file_they_stand_in(folder, monkeypatch):
    """A large plan is written part by part; first and last of each are found like any other."""
    monkeypatch.setattr(batches, "BATCH_ROWS", 7)
    pq.write_table(
        _table(["prompt", "model"], [[f"fox {n}", "seedance-1.0-lite"] for n in range(20)]),
        folder / "m.parquet",
    )
    campaign = Campaign(name="c", manifest="m.parquet", folder=folder)
    jobs, _ = planned_rows(campaign, Context(CATALOG, PictureFinder.of(folder)), Problems(), few=-1)
    places = [0, 6, 7, 12, 13, 14, 19]
    assert [planned.job.prompt for planned in jobs.picked(places)] == [f"fox {n}" for n in places]
    assert [jobs[at].job.prompt for at in places] == [f"fox {n}" for n in places]


@pytest.mark.parametrize(
    ("one", "other", "kinds"),
    [
        (["auto", "a.png", ""], ["auto", "a.png", ""], 1),
        (["auto", "a.png", ""], ["auto", "b.png", ""], 2),
        (["16:9", "a.png", ""], ["16:9", "a.png", "a.png"], 2),
        (["16:9", "a.png", "a.png"], ["16:9", "a.png", "b.png"], 1),
    ],
)
def test_jobs_are_alike_where_a_first_frames_size_and_an_end_are(folder, one, other, kinds):
    """The first frame's size decides the price of `auto`, and an end picture which models can make it."""
    rows = [["a fox", "seedance-1.0-lite", *one], ["a fox", "seedance-1.0-lite", *other]]
    names = ["prompt", "model", "aspect_ratio", "image_url", "end_image_url"]
    pq.write_table(_table(names, rows), folder / "m.parquet")
    with mock.patch.object(planner, "FEW_JOBS", 1):
        examples, which = alike(make_plan(folder / "m.parquet"), ())
    assert (len(examples), which) == (kinds, [0, kinds - 1])


def test_questions_about_a_large_plan_are_answered_without_its_jobs(folder, monkeypatch):
    """Signs, sums, what is left to pay and what budgets ask come out the same, and no job is made."""
    names = ["prompt", "model", "duration", "client", "priority"]
    rows = [[f"fox {n}", MODELS[n % 2], str(n % 9 + 3), "abc"[n % 3], str(n % 4)] for n in range(300)]
    pq.write_table(_table(names, rows), folder / "m.parquet")
    monkeypatch.setattr(batches, "BATCH_ROWS", 90)
    small = make_plan(folder / "m.parquet")
    monkeypatch.setattr(planner, "FEW_JOBS", 100)
    large = make_plan(folder / "m.parquet")
    known = list(enumerate(small.identities()))
    made = [MadeJob(at, name, fingerprint, 5) for at, (fingerprint, name) in known if at % 3 == 0]
    made += [MadeJob(at, name, "other", 7) for at, (_, name) in known if at in (4, 7, 299)]
    monkeypatch.setattr(job_store, "_planned", None)
    changes = compare(large, made)
    assert changes == compare(small, made)
    assert (len(changes.made), len(changes.changed)) == (100, 3)
    assert changes.sums(large) == changes.sums(small)
    assert to_pay(large, changes) == to_pay(small, changes)
    assert large.spends() == small.spends()
    assert large.spends([0, 2]) == small.spends([0, 2]) == [small.spends()[at] for at in (0, 2)]


def test_advice_on_a_large_plan_is_that_of_its_jobs(folder, monkeypatch):
    """Jobs on disk get the same advice as jobs in memory: the same ones, with the same savings."""
    names = [
        "prompt",
        "model",
        "duration",
        "client",
        "priority",
        "aspect_ratio",
        "image_url",
        "end_image_url",
    ]
    looks = [["16:9", "", ""], ["auto", "a.png", "b.png"], ["auto", "b.png", ""], ["", "https://h/a.png", ""]]
    rows = [
        [f"fox {n}", MODELS[n % 2], str(n % 7 + 4), "abc"[n % 3], str(n % 4), *looks[n // 5 % 4]]
        for n in range(200)
    ]
    pq.write_table(_table(names, rows), folder / "m.parquet")
    small = make_plan(folder / "m.parquet")
    monkeypatch.setattr(planner, "FEW_JOBS", 100)
    large = make_plan(folder / "m.parquet")
    changes = compare(small, [MadeJob(1, name, found, 5) for found, name in list(small.identities())[:9]])
    for percent in (90, 40, 1):
        room = {Cap("run", "", "total", 1): small.total.maximum_nano * percent // 100}
        advised = advice_document(large, changes, room)
        assert advised == advice_document(small, changes, room)
        assert advice_lines(large, changes, room) == advice_lines(small, changes, room)
        assert bool(advised) is (percent > 1)
    examples, which = alike(large, changes.made)
    assert (len(which), len(examples) < len(which)) == (191, True)


def _write(path: Path, names: list[str], rows: list[list[str]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(_table(names, rows), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=True) for row in rows]
        path.write_text("\n".join(lines))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *rows])


def _table(names: Iterable[str], rows: list[list[str]]) -> pa.Table:
    return pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)})
