import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.report.safe_text import clean, clean_line, csv_text, guarded, spreadsheet_csv

WIDE = "\uff1d\uff0b\uff0d\uff20"
"""The full-width forms of = + - @."""

BOM = "\ufeff"

FORMULAS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+SUM(A1)",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1",
    "\r=1",
    "\n=1",
    *(f"{sign}1+1" for sign in WIDE),
    '=HYPERLINK("https://evil.example","x")',
    "-",
    "+49 170 1234567",
    "-5e3",
    "-٣",
]


def read(text: str) -> list[list[str]]:
    """Read CSV as RFC 4180 has it."""
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text(text: str) -> None:
    """What a spreadsheet could run gets an apostrophe, and loses nothing."""
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize(
    "value",
    [None, 0, -5, -0.5, True, "", "-5", "+5", "-0.25", "5", "a=1", " =1", "'=1", "A lighthouse", "[Push in]"],
)
def test_everything_else_is_left_alone(value: str | float | bool | None) -> None:
    """Numbers stay numbers, and plain text stays as it is."""
    assert guarded(value) == value


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2)))
def test_any_text_survives(rows: list[list[str]]) -> None:
    """Quotes, separators and line breaks of every kind come back as they went in."""
    assert read(csv_text(["a", "b"], rows)) == [["a", "b"], *rows]


@given(st.text(min_size=1))
def test_no_cell_begins_like_a_formula(text: str) -> None:
    """After guarding, no text but a plain number begins with a formula's sign."""
    shown = str(guarded(text))
    assert shown[0] not in f"=@\t\r\n{WIDE}"
    assert shown[0] not in "+-" or float(shown) == float(shown[1:]) * (1 if shown[0] == "+" else -1)


def test_every_cell_is_quoted() -> None:
    """A semicolon in a text cannot begin a new cell in a spreadsheet that separates by semicolons."""
    assert csv_text(["a"], [["x;=1"], [None], [1], [True]]) == '"a"\r\n"x;=1"\r\n""\r\n"1"\r\n"true"\r\n'


@pytest.mark.parametrize(("text", "mark"), [("A boat", ""), ("Ein Käse", BOM), ("茶器", BOM)])
def test_a_file_for_spreadsheets_says_that_it_is_utf_8(text: str, mark: str) -> None:
    """Excel takes CSV without a byte order mark for the local code page; plain ASCII needs none."""
    assert spreadsheet_csv(["a"], [[text]]) == f'{mark}"a"\r\n"{text}"\r\n'
    assert spreadsheet_csv([text], []).startswith(f'{mark}"{text}"')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a \u202egnp.exe\u0000\u001b]52;c;x\u0007", "a gnp.exe]52;c;x"),
        ("\u2066isolated\u2069 \ufeffmark \u200bhidden", "isolated mark hidden"),
        ("two\r\nlines\tand a tab", "two\nlines and a tab"),
        ("fixed\u00a0space, \u3000wide\u202fnarrow", "fixed\u00a0space, \u3000wide\u202fnarrow"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 \u0645\u06cc\u200c\u062e", None),
        ("private \ue000 lone \ud800", "private  lone "),
    ],
)
def test_a_clean_text_has_only_what_can_be_seen(text: str, shown: str | None) -> None:
    """Control characters and marks of direction go; spaces, joiners and line breaks stay."""
    assert clean(text) == (text if shown is None else shown)
    assert "\n" not in clean_line(text)
