"""CSV, JSONL and Parquet: the same table from each, and every trap named with its row."""

from __future__ import annotations

import csv
import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callsheet.errors import UsageError
from manifests.readers import as_table, open_manifests
from manifests.readers import csv as csv_reader
from manifests.readers import jsonl as jsonl_reader
from manifests.readers.parquet import ParquetFile, value_text
from manifests.table import CELL_LIMIT_BYTES, ReadOptions, Table, shown

HERE = Path()


def read_csv(content: bytes, **options: Any) -> Table:
    """Read CSV."""
    return csv_reader.read_csv(content, "m.csv", HERE, ReadOptions(**options))


def read_jsonl(content: bytes, **options: Any) -> Table:
    """Read JSON Lines."""
    return jsonl_reader.read_jsonl(content, "m.jsonl", HERE, ReadOptions(**options))


def read_tables(pattern: str, folder: Path, **options: Any) -> list[Table]:
    """Read every manifest that a pattern names."""
    return [as_table(each) for each in open_manifests(pattern, folder, ReadOptions(**options))]


def read_table(path: Path, **options: Any) -> Table:
    """Read the one manifest of that path."""
    (table,) = read_tables(path.name, path.parent, **options)
    return table


def _parquet(path: Path) -> ParquetFile:
    opened = ParquetFile.open(path, str(path), ReadOptions(), {})
    assert isinstance(opened, ParquetFile)
    return opened


def _problems(table: Table) -> list[tuple[int, str]]:
    return [(problem.row, problem.message) for problem in table.problems]


def _cells(table: Table) -> list[dict[str, str]]:
    return [dict(row.cells) for row in table.rows()]


@pytest.mark.parametrize(
    "content",
    [
        b"prompt,seed\nA fox,7\n",
        b"\xef\xbb\xbfprompt,seed\r\nA fox,7\r\n",
        b"prompt;seed\nA fox;7",
        b"prompt\tseed\nA fox\t7",
        b'"prompt","seed"\n"A fox","7"\n',
        b" prompt , seed \nA fox,7\n",
        b'{"prompt": "A fox", "seed": 7}\n',
        b'\xef\xbb\xbf{"prompt": "A fox", "seed": "7"}',
    ],
)
def test_one_table_from_many_writings(content: bytes) -> None:
    """Byte order marks, line ends, separators and formats make no difference to what is read."""
    records = read_jsonl(content) if b"{" in content else read_csv(content)
    assert records.columns == ("prompt", "seed")
    assert _cells(records) == [{"prompt": "A fox", "seed": "7"}]
    assert records.problems == ()


def test_rows_are_numbered_as_a_spreadsheet_shows_them() -> None:
    """Blank rows are skipped but counted, and a cell of several lines is still one row."""
    content = b'prompt,note\n\nA fox,"two\nlines"\n,\n  ,\nA cat,x\n'
    assert read_csv(content).numbers == [3, 6]
    lines = b'\n{"prompt": "A fox"}\n\n{"prompt": "A cat"}\n'
    assert read_jsonl(lines).numbers == [2, 4]


@pytest.mark.parametrize(
    ("content", "row", "message"),
    [
        (b"a,b\n1,2\n3\n", 3, "the header has 2"),
        (b"a,b\n1,2,3\n", 2, "the header has 2"),
        (b'a,b\n1,2\n"open,3\n4,5\n', 3, "never closed"),
        (b'a,b\n1,2\n"x"y,3\n', 3, "quotes are out of place"),
        (b"a,b\n1,2\n3\r4,5\n", 3, "carriage return"),
        (b"a,b\n1,\xfc\n", 2, "not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], 0, "begins like UTF-16"),
        (b"a,a\n1,2\n", 1, "two columns have this name"),
        (b"a,,c\n1,2,3\n", 1, "Column 2 has no header. Is the header further down? Set header_row."),
        (b"a\n" + b"x" * (CELL_LIMIT_BYTES + 1), 2, "longer than 1 MiB"),
    ],
)
def test_csv_traps(content: bytes, row: int, message: str) -> None:
    """What a spreadsheet would read otherwise than we do is refused, with its row."""
    ((found_row, found),) = _problems(read_csv(content))
    assert found_row == row
    assert message in found


def test_rows_before_an_unclosed_quote_are_still_read() -> None:
    """The mistake takes the rows after it, not those before it."""
    records = read_csv(b'a,b\n1,2\n"open,3\n4,5\n')
    assert _cells(records) == [{"a": "1", "b": "2"}]


def test_the_csv_limit_of_the_process_is_left_alone() -> None:
    """The csv module's limit is the process's own; reading a manifest does not change it for others."""
    before = csv.field_size_limit()
    read_csv(b"a\n" + b"x" * 200_000)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("header", "separator"),
    [("a,b", ","), ("a;b", ";"), ("a\tb", "\t"), ("a", ","), ('"a,b,c";d', ";"), ("\n\na;b", ";"), ("", ",")],
)
def test_the_header_tells_the_separator(header: str, separator: str) -> None:
    """The separator is the one that cuts the header into most columns, outside of quotes."""
    assert csv_reader.separator_of(header, ReadOptions()) == separator


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        (b'{"a": 1, " a ": 2}', "the key 'a' stands twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b"[1, 2]", "not an object"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": "\xfc"}', "not UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_jsonl_traps(line: bytes, message: str) -> None:
    """A bad line is named and passed over; the lines around it are read."""
    records = read_jsonl(b'{"a": "before"}\n' + line + b'\n{"a": "after"}\n')
    ((row, found),) = _problems(records)
    assert row == 2
    assert message in found
    assert [cells["a"] for cells in _cells(records)] == ["before", "after"]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("null", ""),
        ("true", "true"),
        ("5", "5"),
        ("5.0", "5.0"),
        ("1e5000000", "1e5000000"),
        ("9" * 5000, "9" * 5000),
        ('["a", "b"]', "a\nb"),
        ('{"x": [1, 2.50, null], "ü": true}', '{"x":[1,2.50,null],"ü":true}'),
        ("[[1], 2]", "[[1],2]"),
    ],
)
def test_json_values_become_cells(text: str, cell: str) -> None:
    """Numbers stay as they were written, whatever their size; lists become lines."""
    records = read_jsonl(b'{"a": ' + text.encode() + b"}")
    assert records.cells[0][0] == cell


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (5, "5"),
        (5.0, "5"),
        (-1.0, "-1"),
        (2.5, "2.5"),
        (float("nan"), ""),
        (float("inf"), "inf"),
        (1e300, "1e+300"),
        (Decimal("5.00"), "5"),
        (Decimal("5.000000000000000000"), "5"),
        (Decimal("5.50"), "5.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("99999999999999999999999999999.000000000"), "99999999999999999999999999999"),
        (Decimal("NaN"), "NaN"),
        (dt.date(2026, 11, 21), "2026-11-21"),
        (dt.time(16, 9), "16:09:00"),
        (b"bytes", "bytes"),
        (["a", "b"], "a\nb"),
        ({"k": 1}, '{"k": "1"}'),
        (dt.timedelta(seconds=5), "0:00:05"),
    ],
)
def test_parquet_values_become_cells(value: object, text: str) -> None:
    """Every type of column becomes the text that a person would have typed."""
    assert value_text(value) == text


def test_parquet_columns_of_many_types(tmp_path: Path) -> None:
    """Dictionaries, lists, floats with gaps and integers are read from a real file."""
    table = pa.table(
        {
            "prompt": pa.array(["A fox", "A cat"]).dictionary_encode(),
            "duration": pa.array([5.0, None]),
            "seed": pa.array([7, None], pa.int64()),
            "reference_image_urls": pa.array([["https://a.example/1", "https://a.example/2"], None]),
        }
    )
    pq.write_table(table, tmp_path / "shots.parquet")
    rows = list(read_table(tmp_path / "shots.parquet").rows())
    assert [row.row for row in rows] == [1, 2]
    assert dict(rows[0].cells) == {
        "prompt": "A fox",
        "duration": "5",
        "seed": "7",
        "reference_image_urls": "https://a.example/1\nhttps://a.example/2",
    }
    assert set(rows[1].cells.values()) == {"A cat", ""}


def test_parquet_that_is_cut_off_or_has_twins(tmp_path: Path) -> None:
    """A damaged file and two columns of one name are problems of the file."""
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    assert "not a whole Parquet file" in _problems(read_table(path))[0][1]
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    assert "two columns" in _problems(read_table(path))[0][1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("shots.xls", b"\xd0\xcf\x11\xe0rest", "old workbook"),
        ("shots.parquet", b"prompt\nA fox\n", "not a Parquet file"),
        ("shots.csv.gz", b"\x1f\x8brest", "compressed"),
    ],
)
def test_files_that_are_no_manifests(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Old workbooks and archives are known by their content and refused with what to do."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_table(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"prompt,model\n", b"prompt,model\n,\n"])
def test_a_manifest_without_rows_is_read(tmp_path: Path, content: bytes) -> None:
    """A night without work is no mistake."""
    (tmp_path / "empty.csv").write_bytes(content)
    table = read_table(tmp_path / "empty.csv")
    assert (table.count, table.problems) == (0, ())


def test_a_parquet_file_that_is_read_through_is_not_kept_in_memory(tmp_path: Path) -> None:
    """Piece by piece means that the pieces before are gone, also as the bytes they were read from."""
    path = tmp_path / "shots.parquet"
    prompts = [f"{number:>1000}" for number in range(16_000)]
    pq.write_table(pa.table({"prompt": prompts}), path, row_group_size=1000, compression="none")
    opened = _parquet(path)
    before_bytes, most_bytes = pa.total_allocated_bytes(), 0
    for _ in opened.batches(500):
        most_bytes = max(most_bytes, pa.total_allocated_bytes() - before_bytes)
    assert most_bytes < path.stat().st_size / 2


def test_text_of_few_words_is_read_as_words(tmp_path: Path) -> None:
    """A column that the file keeps as a dictionary stays one, whatever else is in the file."""
    rows = {"model": ["a", "b", None] * 10_000, "prompt": [f"fox {n}" for n in range(30_000)]}
    pq.write_table(pa.table(rows), tmp_path / "coded.parquet")
    pq.write_table(pa.table(rows), tmp_path / "cut.parquet", row_group_size=1000)
    kinds = {}
    for name in ("coded", "cut"):
        opened = _parquet(tmp_path / f"{name}.parquet")
        pieces = list(opened.batches(1 << 16))
        kinds[name] = [str(kind) for kind in pieces[0].schema.types]
        assert [len(piece) for piece in pieces] == [30_000]
        assert [cells["model"] for cells in _cells(opened.table())][:3] == ["a", "b", ""]
    assert kinds == {
        "coded": ["dictionary<values=string, indices=int32, ordered=0>", "string"],
        "cut": ["string", "string"],
    }


def test_content_decides_where_the_name_says_nothing(tmp_path: Path) -> None:
    """JSON Lines under an unknown name is read as such, everything else as CSV."""
    (tmp_path / "a.manifest").write_text('{"prompt": "A fox"}')
    (tmp_path / "b.manifest").write_text("prompt\nA cat\n")
    cells = [read_table(tmp_path / name).cells[0][0] for name in ("a.manifest", "b.manifest")]
    assert cells == ["A fox", "A cat"]


def test_patterns_name_several_files(tmp_path: Path) -> None:
    """A glob pattern reads every manifest it names, in the order of their names."""
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(f"prompt\n{name}\n")
    assert [table.cells[0][0] for table in read_tables("*.csv", tmp_path)] == ["a", "b"]
    with pytest.raises(UsageError, match="there is no manifest"):
        read_tables("c*.csv", tmp_path)
    with pytest.raises(UsageError, match="not from ftp"):
        read_tables("ftp://bucket/shots.csv", tmp_path)


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\r\x80")
def test_no_bytes_crash_a_reader(content: bytes) -> None:
    """Whatever the bytes are, each reader answers with rows or with problems that have a message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.parquet")
        path.write_bytes(b"PAR1" + content)
        for table in (read_csv(content), read_jsonl(content), read_table(path)):
            assert all(problem.message for problem in table.problems)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=5))
def test_csv_cells_come_back_as_written(cells: list[str]) -> None:
    """Any printable text survives CSV, commas, quotes and all."""
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    header = ",".join(f"c{at}" for at in range(len(cells)))
    records = read_csv(f"{header}\n{quoted}\n".encode(), header_row=1)
    written = [list(row) for row in records.cells]
    assert written == ([cells] if any(cell.strip() for cell in cells) else [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://h/m.csv?X-Amz-Signature=S and more", "https://h/m.csv?[hidden] and more"),
        ("s3://bucket/m.csv?token=S?S", "s3://bucket/m.csv?[hidden]"),
        ("https://key:S@h/m.csv?S", "https://[hidden]@h/m.csv?[hidden]"),
        ("What is it?yes", "What is it?yes"),
    ],
)
def test_the_query_of_an_address_is_hidden_in_messages(text: str, said: str) -> None:
    """It may be a signature. A question mark in other text hides nothing."""
    assert shown(text) == said
