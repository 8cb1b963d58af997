"""Sheets of workbooks: the cells a person sees, with the row numbers the spreadsheet shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.readers import as_table, open_manifests
from manifests.table import ReadOptions, Table
from tests.rig.workbooks import (
    Failed,
    book,
    drawing,
    drawn_sheet,
    linked_sheet,
    relations,
    shared_texts,
    sheet,
    sheet_xml,
    workbook,
)

SHOTS = [
    [None, None, None],
    ["prompt", "duration", "camera_fixed", None],
    ["A fox", 5, True],
    [None],
    ["A cat", 7.5, None],
]
HEADER = ["custom_id", "prompt", "client"]
KITES = [HEADER, ["a", "kite one", "acme"], ["b", "kite two", None], ["c", "kite three", None]]


def _read(folder: Path, content: bytes, name: str = "book.xlsx", **options: object) -> Table:
    (folder / "book.xlsx").write_bytes(content)
    (found,) = open_manifests(name, folder, ReadOptions(**options))  # type: ignore[arg-type]
    return as_table(found)


def _messages(table: Table) -> list[str]:
    return [problem.message for problem in table.problems]


def test_a_sheet_is_read_as_it_is_seen(tmp_path):
    """Whole numbers have no point, blank rows count and are skipped, empty columns behind are none."""
    table = _read(tmp_path, book(Shots=SHOTS))
    assert table.problems == ()
    assert table.columns == ("prompt", "duration", "camera_fixed")
    assert list(table.numbers) == [3, 5]
    assert [list(cells) for cells in table.cells] == [["A fox", "5", "true"], ["A cat", "7.5", ""]]


def test_a_table_may_stand_anywhere(tmp_path):
    """Empty rows above it and empty columns beside it change no row's number."""
    rows = [[None], [None, None, "prompt", None, "seed"], [None, None, "A fox", None, 7]]
    table = _read(tmp_path, book(Shots=rows))
    assert (table.columns, list(table.numbers), table.cells[0]) == (("prompt", "seed"), [3], ["A fox", "7"])


def test_several_sheets_want_a_name(tmp_path):
    """With two filled sheets one must be named, behind `#`; hidden and empty sheets are passed over."""
    content = book(Shots=SHOTS, Notes=[["x"], ["y"]])
    assert "book.xlsx#Shots" in _messages(_read(tmp_path, content))[0]
    named = _read(tmp_path, content, "book.xlsx#Shots")
    assert (named.problems, named.count) == ((), 2)
    missing = _read(tmp_path, content, "book.xlsx#Shot")
    assert "there is no sheet 'Shot'; there are 'Shots', 'Notes'" in _messages(missing)[0]
    odd = _read(tmp_path, workbook({"Q3 #2": sheet(KITES), "x": sheet([["x"], ["y"]])}), "book.xlsx#Q3 #2")
    assert (odd.problems, odd.count) == ((), 3)
    assert _read(tmp_path, book(Shots=SHOTS, Old_hidden=[["x"], ["y"]], Empty=[])).problems == ()


def test_a_workbook_whose_rows_are_all_hidden_is_not_an_empty_one(tmp_path):
    """An empty night is a success; rows on a hidden sheet are not meant by it, unless that is named."""
    content = book(Empty=[], Shots_hidden=SHOTS)
    (message,) = _messages(_read(tmp_path, content))
    assert message.startswith("no visible sheet has rows; hidden are 'Shots_hidden'; name one like this")
    assert _read(tmp_path, content, "book.xlsx#Shots_hidden").count == 2


def test_a_header_with_a_hole_is_a_problem(tmp_path):
    """A filled column without a name is refused, with the header's own row."""
    (problem,) = _read(tmp_path, book(Shots=[["prompt", None], ["A fox", "what is this"]])).problems
    assert (problem.row, problem.found) == (1, "column 2; the first text in it is in row 2: what is this")
    assert problem.message == "Column 2 has no header. Is the header further down? Set header_row."


def test_a_merged_cell_stands_in_each_of_its_rows(tmp_path):
    """The client of a merged cell is the client of all its rows, and of no row below them."""
    rows = [*KITES, ["d", "kite four", None]]
    table = _read(tmp_path, workbook({"Shots": sheet(rows, merged=["C2:C4"])}))
    assert [cells[2] for cells in table.cells] == ["acme", "acme", "acme", ""]


def test_merged_cells_make_no_rows_of_their_own(tmp_path):
    """A row merged with the one above in every column holds nothing of its own, and is no job."""
    rows = [HEADER, ["a", "kite", "acme"], [None, None, None], ["c", "kite", "x"]]
    content = workbook({"Shots": sheet(rows, merged=["A2:A3", "B2:B3", "C2:C3"])})
    assert list(_read(tmp_path, content).numbers) == [2, 4]


def test_a_formula_that_failed_is_its_error(tmp_path):
    """Not an empty cell: what an empty one means may cost another price."""
    rows = [HEADER, ["a", "kite", Failed("#N/A")], [Failed("#REF!"), "kite", "x"]]
    table = _read(tmp_path, book(Shots=rows))
    assert [list(cells) for cells in table.cells] == [["a", "kite", "#N/A"], ["#REF!", "kite", "x"]]


CALCULATES = '<calcPr calcId="1" fullCalcOnLoad="1"/>'
"""What openpyxl and XlsxWriter put into a workbook: Excel is to calculate every formula when it opens it."""


def _calculated(cell: str, after: str = "") -> bytes:
    names = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in ("prompt", "duration"))
    text = '<c t="inlineStr"><is><t>kite</t></is></c>'
    rows = f'<row r="1">{names}</row><row r="2">{text}{cell}</row>'
    return workbook({"Shots": sheet_xml(rows)}, after=after)


@pytest.mark.parametrize(
    ("cell", "after"),
    [
        ('<c r="B2"><f>2+3</f></c>', ""),
        ('<c r="B2"><f>2+3</f><v></v></c>', CALCULATES),
        ('<c r="B2"><f>2+3</f><v/></c>', ""),
        ('<c r="B2"><f t="shared" si="0"/><v/></c>', ""),
        ('<c r="B2"><f>2+3</f><v>0</v></c>', CALCULATES),
    ],
    ids=["no value", "openpyxl", "an empty value", "shared", "XlsxWriter"],
)
def test_a_formula_that_was_never_calculated_is_refused(tmp_path, cell, after):
    """A program that writes formulas without results leaves no value: an empty cell would be another job."""
    (message,) = _messages(_read(tmp_path, _calculated(cell, after)))
    assert message.startswith(
        "row 2, column 2: the file holds no result of this formula; open it in a spreadsheet"
    )


@pytest.mark.parametrize(
    ("cell", "after", "text"),
    [
        ('<c r="B2"><f>2+3</f><v>5</v></c>', CALCULATES, "5"),
        ('<c r="B2"><f>1-1</f><v>0</v></c>', "", "0"),
        ('<c r="B2" t="str"><f>""</f><v></v></c>', CALCULATES, ""),
        ('<c r="B2" t="str"><f>"x"</f><v>x</v></c>', "", "x"),
    ],
)
def test_the_result_of_a_formula_is_its_cell(tmp_path, cell, after, text):
    """Also where it is 0 or an empty text."""
    (cells,) = _read(tmp_path, _calculated(cell, after)).cells
    assert list(cells) == ["kite", text]


@pytest.mark.parametrize("error", ["#SPILL!", "#GETTING_DATA", "#ERROR!"])
def test_an_error_that_the_reading_library_does_not_know_is_named(tmp_path, error):
    """With its row, and not as a damaged workbook."""
    content = _calculated(f'<c r="B2" t="e"><f>x</f><v>{error}</v></c>')
    assert _messages(_read(tmp_path, content)) == [
        f"row 2, column 2: this formula failed with {error}; correct it, or empty the cell"
    ]


def test_hidden_rows_are_told_or_left_out(tmp_path):
    """Filtered rows are planned with a warning that names them; `skip_hidden` leaves them out."""
    content = workbook({"Shots": sheet(KITES, hidden=[3, 4, 9])})
    table = _read(tmp_path, content)
    assert list(table.numbers) == [2, 3, 4]
    (warning,) = table.warnings
    assert warning.message.startswith("2 rows (3 and 4) are hidden or filtered out")
    left = _read(tmp_path, content, skip_hidden=True)
    assert (list(left.numbers), left.warnings) == ([2], ())
    assert _read(tmp_path, book(Shots=KITES)).warnings == ()


def test_a_title_above_the_header_is_passed_over(tmp_path):
    """A header in row 3 is found by its names; a header of other names where `header_row` says it is."""
    titled = [["Spring launch", None, None], [None], *KITES]
    assert list(_read(tmp_path, book(Shots=titled)).numbers) == [4, 5, 6]
    theirs = [["Spring launch"], ["Nr", "Text"], ["1", "kite"]]
    table = _read(tmp_path, book(Shots=theirs), header_row=2)
    assert (table.columns, list(table.numbers)) == (("Nr", "Text"), [3])


CORNER = sheet_xml('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c{}r="XFD1048576"/></row>')
LONG = sheet_xml("".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, 10_001)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (workbook({"S": CORNER.format(" ")}), "column 16,384 and row 1,048,576"),
        (workbook({"S": CORNER.format("\t")}), "column 16,384 and row 1,048,576"),
        (workbook({"S": CORNER.format("\n")}, folder="elsewhere"), "column 16,384 and row 1,048,576"),
        (workbook({"S": LONG}, shared=shared_texts(f"<si><t>{'x' * 500_000}</t></si>")), "MiB of memory"),
        (workbook({"S": LONG}, shared=shared_texts("<si><t>x</t></si>", 4_294_967_295)), "damaged, or needs"),
        (workbook({"S": '<!DOCTYPE a [<!ENTITY b "c">]>' + sheet([["prompt"]])}), "XML entities"),
        (workbook({"S": sheet([["prompt"]])})[:-30], "not a whole XLSX workbook"),
        (workbook({"S": "<worksheet>"}), "not a whole XLSX workbook"),
    ],
    ids=["corner", "corner, tab", "elsewhere", "long text", "many claimed", "entities", "cut off", "open"],
)
def test_a_workbook_made_to_do_harm_is_one_problem(tmp_path, content, message):
    """Whatever it does to the process that reads it, this process goes on and says which file it was."""
    table = _read(tmp_path, content)
    (problem,) = table.problems
    assert (table.count, problem.file) == (0, str(tmp_path / "book.xlsx"))
    assert message in problem.message


LINKS, DRAWING = "xl/worksheets/_rels/sheet1.xml.rels", "xl/drawings/drawing1.xml"
PICTURED = ["prompt", "Image URL", "note"]


def _linked(folder: Path, texts: list[str], target: str, column: str = "B") -> Table:
    rows = [PICTURED, *(["kite", text, text] for text in texts)]
    places = {f"{column}{row}": "i1" for row in range(2, len(rows) + 1)}
    content = workbook({"Shots": linked_sheet(rows, **places)}, parts={LINKS: relations("hyperlink", target)})
    return _read(folder, content)


@pytest.mark.parametrize(
    ("text", "target", "meant"),
    [
        ("click here", "https://cdn.example/kite.png?a=1&amp;b=2", "https://cdn.example/kite.png?a=1&b=2"),
        ("Picture no. 2", "images/kite.png", "images/kite.png"),
        ("click here", "pics/hero%20shot%C3%A9.png", "pics/hero shoté.png"),
        ("click here", "https://cdn.example/hero%20shot.png", "https://cdn.example/hero%20shot.png"),
        ("click here", "file:///home/zoe/hero%20shot.png", "file:///home/zoe/hero%20shot.png"),
        ("www.example.com/kite.png", "http://www.example.com/kite.png", "http://www.example.com/kite.png"),
        ("kite.png", "https://cdn.example/other.png", "kite.png"),
        ("images/kite", "https://cdn.example/other.png", "images/kite"),
        ("https://a.example/kite.png", "https://cdn.example/other.png", "https://a.example/kite.png"),
        ("data:image/png;base64,AA==", "https://cdn.example/other.png", "data:image/png;base64,AA=="),
        ("click here", "mailto:zoe@example.com", "click here"),
    ],
)
def test_a_link_behind_a_cell_of_pictures_is_its_address(tmp_path, text, target, meant):
    """Unless the text is an address or a path itself; links in other columns change nothing.

    A path is written as an address in a link, with `%20` for a space.
    """
    assert [row[1] for row in _linked(tmp_path, [text], target).cells] == [meant]
    assert [row[2] for row in _linked(tmp_path, [text], target, "C").cells] == [text]


def test_a_link_of_merged_cells_is_that_of_each_row(tmp_path):
    """As their text is."""
    rows = [PICTURED, ["kite", "here"], ["boat"]]
    for places in ({"B2_B3": "i1"}, {"B2": "i1"}):
        content = workbook(
            {"Shots": linked_sheet(rows, merged=["B2:B3"], **places)},
            parts={LINKS: relations("hyperlink", "https://cdn.example/a.png")},
        )
        assert [row[1] for row in _read(tmp_path, content).cells] == ["https://cdn.example/a.png"] * 2


@pytest.mark.parametrize("text", [None, " "])
def test_a_link_behind_no_text_is_no_picture(tmp_path, text):
    """It can be left behind in a cell that was emptied; a row bought without a picture stays what it is."""
    rows = [PICTURED, *(["kite", text, "x"] for _ in range(3))]
    for places in ({"B2_B4": "i1"}, {"B2": "i1", "B3": "i1"}):
        content = workbook(
            {"Shots": linked_sheet(rows, **places)},
            parts={LINKS: relations("hyperlink", "https://cdn.example/a.png")},
        )
        assert [row[1].strip() for row in _read(tmp_path, content).cells] == [""] * 3


def test_a_link_of_a_range_that_is_not_merged_is_that_of_its_first_cell(tmp_path):
    """Each of the others has a text of its own, which is read as it stands."""
    rows = [PICTURED, ["kite", "here"], ["boat", "here"]]
    content = workbook(
        {"Shots": linked_sheet(rows, B2_B3="i1")},
        parts={LINKS: relations("hyperlink", "https://cdn.example/a.png")},
    )
    assert [row[1] for row in _read(tmp_path, content).cells] == ["https://cdn.example/a.png", "here"]


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="B2" t="str"><f>IMAGE("https://cdn.example/a.png")</f><v></v></c>',
        '<c r="B2" t="str"><f>HYPERLINK("https://cdn.example/a.png","")</f><v></v></c>',
        '<c r="B2" t="str"><f>HYPERLINK("https://cdn.example/a.png","click here")</f><v>click here</v></c>',
        '<c r="B2" t="e" vm="1"><f>_xlfn.IMAGE("https://cdn.example/a.png")</f><v>#VALUE!</v></c>',
    ],
)
def test_the_address_in_a_formula_is_followed(tmp_path, cell):
    """A formula that links to a picture, or shows it, names its address."""
    text = sheet([PICTURED, ["kite"]]).replace("kite</t></is></c>", f"kite</t></is></c>{cell}")
    table = _read(tmp_path, workbook({"Shots": text}))
    assert (table.problems, table.cells[0][1]) == ((), "https://cdn.example/a.png")


@pytest.mark.parametrize("value", ["", "here"])
def test_the_address_in_a_formula_of_merged_cells_is_that_of_each_row(tmp_path, value):
    """Without it the rows below would be made from no picture."""
    cell = f'<c r="B2" t="str"><f>IMAGE("https://cdn.example/a.png")</f><v>{value}</v></c>'
    text = sheet([PICTURED, ["kite"], ["boat"]], merged=["B2:B3"])
    text = text.replace("kite</t></is></c>", f"kite</t></is></c>{cell}")
    table = _read(tmp_path, workbook({"Shots": text}))
    assert [row[1] for row in table.cells] == ["https://cdn.example/a.png"] * 2


@pytest.mark.parametrize("formula", ["IMAGE(D2)", "_xlfn.IMAGE(D2&amp;&quot;.png&quot;,&quot;x&quot;)"])
def test_a_picture_of_an_address_elsewhere_is_an_error(tmp_path, formula):
    """Google Sheets saves it as an empty text, and the clip would be made without the picture."""
    cell = f'<c r="B2" t="str"><f>{formula}</f><v></v></c>'
    text = sheet([PICTURED, ["kite"]]).replace("kite</t></is></c>", f"kite</t></is></c>{cell}")
    (problem,) = _read(tmp_path, workbook({"Shots": text})).problems
    assert (problem.row, problem.column, problem.found) == (2, "image_url", "a picture")


def _pictured(folder: Path, rows: list[list[str | None]], *cells: tuple[int, int], **more: str) -> Table:
    parts = {
        LINKS: relations("drawing", "../drawings/drawing1.xml", external=False),
        DRAWING: drawing(*cells, **more),
    }
    return _read(folder, workbook({"Shots": drawn_sheet(rows)}, parts=parts))


def test_a_picture_in_place_of_an_address_is_an_error(tmp_path):
    """It names its row and says what is allowed; without it the clip would be made without the picture."""
    rows = [PICTURED, ["kite", None, None], ["boat", "boat.png", None], ["dog", None, None]]
    table = _pictured(tmp_path, rows, (1, 2), (2, 2), (3, 2), (4, 3), (9, 2))
    (problem,) = table.problems
    assert (problem.row, problem.column, problem.found) == (2, "image_url", "a picture")
    assert "write its https:// address, or the path of its file, into the cell" in problem.message
    assert [row[0] for row in table.cells] == ["kite", "boat", "dog"]
    assert _pictured(tmp_path, rows, (2, 2), shape="sp").problems == ()


def test_a_picture_within_a_cell_is_the_same_error(tmp_path):
    """Excel keeps it beside the sheet and leaves the error of a formula in the cell."""
    cell = '<c r="B2" t="e" vm="1"><v>#VALUE!</v></c>'
    text = sheet([PICTURED, ["kite"]]).replace("kite</t></is></c>", f"kite</t></is></c>{cell}")
    kinds = {"xl/richData/rdrichvaluestructure.xml": '<rvStructures><s t="_localImage"/></rvStructures>'}
    (problem,) = _read(tmp_path, workbook({"Shots": text}, parts=kinds)).problems
    assert (problem.row, problem.column, problem.found) == (2, "image_url", "a picture")
    table = _read(tmp_path, workbook({"Shots": text}))
    assert (table.problems, table.cells[0][1]) == ((), "#VALUE!")
