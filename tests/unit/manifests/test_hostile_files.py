"""Files made to do harm, or broken by a program: one error that names them, within bounds of memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from callsheet.errors import ManifestError, Problem, UsageError
from manifests import planner
from manifests.plan import PlanOptions
from manifests.planner import make_plan
from manifests.readers.parquet import ParquetFile

FAST = "seedance-1.0-pro-fast"


@pytest.fixture(params=["one by one", "by columns"], autouse=True)
def way(request, monkeypatch, tmp_path):
    """Check few rows and many rows alike: `plan` must not find less in a long file than in a short one."""
    monkeypatch.chdir(tmp_path)
    if request.param == "by columns":
        monkeypatch.setattr(planner, "FEW_JOBS", -1)


def _problems(source: str) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        make_plan(source)
    return caught.value.problems


def _parquet(columns: dict[str, Any], **options: Any) -> None:
    rows = len(next(iter(columns.values())))
    model = pa.array([FAST]).take(pa.array([0] * rows)) if rows < 10_000 else pa.repeat(FAST, rows)
    pq.write_table(pa.table({"model": model, **columns}), "shots.parquet", **options)


def _bytes_as_text(*cells: bytes) -> pa.Array:
    """Return bytes that claim to be text, as a careless program writes them."""
    data = pa.array(cells, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(cells), data.buffers())


@pytest.mark.parametrize("column", ["prompt", "note", "client", "custom_id"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_bytes_that_are_no_text_are_named(column, dictionary):
    """Whether the column is ours or only carried, and however the file keeps it."""
    columns = {"prompt": ["a kite", "a boat", "a dog"], column: _bytes_as_text(b"a", b"caf\xe9", b"c")}
    _parquet(columns, use_dictionary=dictionary)
    (problem,) = _problems("shots.parquet")
    assert (problem.file, problem.row, problem.column) == ("shots.parquet", 2, column)
    assert "cannot be read as text" in problem.message


def test_bytes_that_are_no_text_deep_in_a_list_are_named():
    """A value of a value is looked at as well."""
    deep = pa.ListArray.from_arrays([0, 1, 2], _bytes_as_text(b"a", b"\xff"))
    _parquet({"prompt": ["a kite", "a boat"], "note": deep})
    (problem,) = _problems("shots.parquet")
    assert (problem.row, problem.column) == (2, "note")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(4)])
@pytest.mark.parametrize("is_coded", [True, False])
def test_bytes_in_a_column_of_ours_are_its_text(kind, is_coded):
    """Some warehouses know no text but bytes; what is no UTF-8 would be a prompt of backslashes."""
    cells = pa.array([b"kite", b"boat"], kind)
    _parquet({"prompt": cells.dictionary_encode() if is_coded else cells})
    assert [each.job.prompt for each in make_plan("shots.parquet").jobs] == ["kite", "boat"]
    cells = pa.array([b"kite", b"caf\xe9"], kind)
    _parquet({"prompt": cells.dictionary_encode() if is_coded else cells})
    (problem,) = _problems("shots.parquet")
    assert (problem.row, problem.column) == (2, "prompt")
    assert "cannot be read as text" in problem.message


def test_a_name_that_is_no_text_is_refused():
    """No plan file and no ledger could hold it; a pattern that finds one says so as well."""
    content = f"prompt,model\na kite,{FAST}\n"
    Path(os.fsdecode(b"caf\xe9.csv")).write_text(content)
    for source in (os.fsdecode(b"caf\xe9.csv"), "*.csv"):
        with pytest.raises(UsageError, match=r"the name caf\\udce9.csv is not UTF-8; rename"):
            make_plan(source)


@pytest.mark.parametrize(
    "name",
    ["x" * 300 + ".csv", "x" * 300 + ".parquet", "x" * 300 + "/*.csv"],
    ids=["CSV", "Parquet", "pattern"],
)
def test_a_name_that_is_too_long_is_refused(name):
    """It cannot be the name of a file."""
    with pytest.raises(UsageError, match=r"File name too long|there is no manifest"):
        make_plan(name)


def test_a_folder_that_cannot_be_read_is_refused(monkeypatch):
    """The rows in it would be missing from the night without a word."""
    Path("night/client=zoe").mkdir(parents=True)
    _parquet({"prompt": ["a kite"]})
    Path("shots.parquet").rename("night/shots.parquet")
    listed = os.scandir

    def scandir(place):
        if str(place).endswith("zoe"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match="cannot read night/client=zoe: Permission denied"):
        make_plan("night")


def test_a_header_that_is_no_text_is_an_error():
    """The name of a column may hold any bytes as well."""
    _parquet({"prompt": ["a kite"], "notenotenote": ["x"]})
    content = Path("shots.parquet").read_bytes().replace(b"notenotenote", b"note\xff\xfe\xfdenote")
    Path("shots.parquet").write_bytes(content)
    (problem,) = _problems("shots.parquet")
    assert (problem.file, problem.row) == ("shots.parquet", 0)


def test_more_rows_than_are_allowed_are_refused_from_the_footer(monkeypatch):
    """Three million rows take a megabyte of file and gigabytes of plan; none of them is read."""
    _parquet({"prompt": pa.repeat("a kite", 1_000_001)})
    monkeypatch.setattr(ParquetFile, "batches", None)
    (problem,) = _problems("shots.parquet")
    assert problem.found == "1,000,001 rows"
    assert "at most 1,000,000 rows" in problem.message


@pytest.mark.parametrize("levels", [65, 300, 500, 700, 900, 2_000, 100_000])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_json_that_is_nested_deep_is_an_error(levels, pair):
    """Whatever Python makes of it; the lines around it are read."""
    start, end = pair
    good = json.dumps({"prompt": "a kite", "model": FAST})
    deep = f'{{"prompt": "a boat", "model": "{FAST}", "note": {start * levels}1{end * levels}}}'
    Path("shots.jsonl").write_text(f"{good}\n{deep}\n{good}\n")
    (problem,) = _problems("shots.jsonl")
    assert problem.row == 2
    assert "nested too deeply; at most 64 levels" in problem.message


def test_json_that_is_nested_a_little_is_carried():
    """Sixty levels are nobody's attack."""
    deep = "[" * 60 + "1" + "]" * 60
    Path("shots.jsonl").write_text(f'{{"prompt": "a boat", "model": "{FAST}", "note": {deep}}}')
    assert make_plan("shots.jsonl").jobs[0].job.extra["note"] == deep


def test_json_with_a_column_for_every_row_is_refused():
    """A table of as many columns as rows would be the square of the file."""
    Path("shots.jsonl").write_text("".join(f'{{"k{number}": 1}}\n' for number in range(20_000)))
    (problem, *_) = _problems("shots.jsonl")
    assert "rows like these" in problem.message
    assert problem.row < 10_000


@pytest.mark.parametrize("name", ["shots.csv", "shots.jsonl"])
def test_text_that_is_too_large_is_refused_before_it_is_read(name):
    """The size decides, and a setting decides the size."""
    with Path(name).open("wb") as file:
        file.truncate(500 << 20)
    with pytest.raises(UsageError, match=r"has 500 MiB, and at most 256 MiB are read.*MANIFEST_MAX_MB"):
        make_plan(name)
    with pytest.raises(UsageError, match="at most 499 MiB"):
        make_plan(name, overrides=PlanOptions(manifest_max_mb=499))


def test_a_csv_of_many_cells_stops_where_the_bound_is(monkeypatch):
    """Commas are small, and the cells between them are not."""
    monkeypatch.setattr("manifests.table.CELLS_MAX", 10_000)
    Path("shots.csv").write_text("prompt,model\n" + f"a kite,{FAST}\n" * 6_000)
    (problem,) = _problems("shots.csv")
    assert problem.row == 5_003
    assert "at most 5,000 rows like these" in problem.message
