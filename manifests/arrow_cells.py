"""Columns for Arrow out of cells in memory, without pandas.

`pyarrow.array` looks whether it was given something of pandas, and imports pandas for that: a third of a
second before the first job is sent. Laying the buffers out as Arrow's format says (one validity bit, offsets,
bytes; https://arrow.apache.org/docs/format/Columnar.html) needs none of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def text_column(cells: Sequence[str | None]) -> pa.Array:
    """Return texts as a column of strings; None becomes null. Raises OverflowError above 2 GiB."""
    import pyarrow as pa  # noqa: PLC0415

    encoded = [(cell or "").encode() for cell in cells]
    ends = array("i", accumulate(map(len, encoded), initial=0))
    buffers = [_validity(cells), ends, b"".join(encoded)]
    return pa.Array.from_buffers(
        pa.string(), len(cells), [None if buffer is None else pa.py_buffer(buffer) for buffer in buffers]
    )


def _validity(cells: Sequence[str | None]) -> bytes | None:
    """Return one bit for each cell, the first in the lowest, 1 where it is there; None where all are."""
    if None not in cells:
        return None
    bits = "".join("0" if cell is None else "1" for cell in reversed(cells))
    return int(bits, 2).to_bytes(-(-len(cells) // 8), "little")


def number_column(numbers: Sequence[int]) -> pa.Array:
    """Return whole numbers as a column of 64 bits, none of them null. Raises OverflowError beyond."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(array("q", numbers))])
