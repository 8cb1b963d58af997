"""Sheets of workbooks: the cells a person sees, with the row numbers the spreadsheet shows."""

from __future__ import annotations

import io
import zipfile

from manifests.readers import read_tables
from manifests.readers.xlsx import read_xlsx

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def _book(**sheets: list[list[object]]) -> bytes:
    """Write a workbook; None leaves a cell out, a name ending in `_hidden` hides its sheet."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        kinds = f'<Relationships xmlns="{_LINKS.replace("officeDocument", "package")}">'
        names = "".join(
            f'<sheet name="{name}" sheetId="{at}" r:id="r{at}"'
            f"{' state=' + chr(34) + 'hidden' + chr(34) if name.endswith('_hidden') else ''}/>"
            for at, name in enumerate(sheets, 1)
        )
        links = "".join(
            f'<Relationship Id="r{at}" Type="{_LINKS}/worksheet" Target="worksheets/sheet{at}.xml"/>'
            for at in range(1, len(sheets) + 1)
        )
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "_rels/.rels",
            f'{kinds}<Relationship Id="a" Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/>'
            "</Relationships>",
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{names}</sheets></workbook>',
        )
        archive.writestr("xl/_rels/workbook.xml.rels", f"{kinds}{links}</Relationships>")
        for at, rows in enumerate(sheets.values(), 1):
            archive.writestr(f"xl/worksheets/sheet{at}.xml", _sheet(rows))
    return packed.getvalue()


def _sheet(rows: list[list[object]]) -> str:
    lines = [
        f'<row r="{number}">'
        + "".join(_cell(f"{chr(65 + at)}{number}", value) for at, value in enumerate(row))
        + "</row>"
        for number, row in enumerate(rows, 1)
    ]
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def _cell(place: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'


SHOTS = [
    [None, None, None],
    ["prompt", "duration", "camera_fixed", None],
    ["A fox", 5, True],
    [None],
    ["A cat", 7.5, None],
]


def test_a_sheet_is_read_as_it_is_seen():
    """Whole numbers have no point, blank rows count and are skipped, empty columns behind are none."""
    records = read_xlsx(_book(Shots=SHOTS))
    assert records.flaws == ()
    assert records.columns == ("prompt", "duration", "camera_fixed")
    assert [number for number, _ in records.rows] == [3, 5]
    assert list(records.rows[0][1].values()) == ["A fox", "5", "true"]
    assert list(records.rows[1][1].values()) == ["A cat", "7.5", ""]


def test_several_sheets_want_a_name(tmp_path):
    """With two filled sheets one must be named, behind `#`; hidden and empty sheets are passed over."""
    (tmp_path / "book.xlsx").write_bytes(_book(Shots=SHOTS, Notes=[["x"], ["y"]]))
    (table,) = read_tables("book.xlsx", tmp_path)
    assert "book.xlsx#Shots" in table.problems[0].message
    (named,) = read_tables("book.xlsx#Shots", tmp_path)
    assert (named.problems, named.count) == ((), 2)
    (missing,) = read_tables("book.xlsx#Shot", tmp_path)
    assert "there is no sheet 'Shot'; there are 'Shots', 'Notes'" in missing.problems[0].message
    assert read_xlsx(_book(Shots=SHOTS, Old_hidden=[["x"], ["y"]], Empty=[])).flaws == ()


def test_a_header_with_a_hole_is_a_flaw():
    """A filled column without a name is refused, with the header's own row."""
    (flaw,) = read_xlsx(_book(Shots=[["prompt", None], ["A fox", "what is this"]])).flaws
    assert (flaw.row, flaw.found) == (1, "column 2")
