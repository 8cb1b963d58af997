"""Columns laid out by hand are the columns that Arrow would make."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from manifests.arrow_cells import int_column, text_column

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(TEXT | st.none(), max_size=40))
def test_texts_are_what_arrow_makes_of_them(cells: list[str | None]) -> None:
    """With nulls and without, empty and not."""
    column = text_column(cells)
    column.validate(full=True)
    assert column.equals(pa.array(cells, pa.string()))


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=40))
def test_numbers_are_what_arrow_makes_of_them(cells: list[int | None]) -> None:
    """Up to both ends of 64 bits, with nulls and without."""
    column = int_column(cells)
    column.validate(full=True)
    assert column.equals(pa.array(cells, pa.int64()))


def test_neither_imports_pandas() -> None:
    """Which is what they are for."""
    calls = "text_column(['a', None]); int_column([1])"
    code = f"import sys; from manifests.arrow_cells import *; {calls}; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
