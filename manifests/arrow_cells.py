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
    return _laid_out(pa.string(), cells, ends, b"".join(encoded))


def int_column(numbers: Sequence[int | None]) -> pa.Array:
    """Return whole numbers as a column of 64 bits; None becomes null. Raises OverflowError beyond."""
    import pyarrow as pa  # noqa: PLC0415

    return _laid_out(pa.int64(), numbers, array("q", [number or 0 for number in numbers]))


def _laid_out(kind: pa.DataType, cells: Sequence[object], *buffers: bytes | array[int]) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415

    validity = pa.py_buffer(_bits([cell is not None for cell in cells])) if None in cells else None
    return pa.Array.from_buffers(kind, len(cells), [validity, *map(pa.py_buffer, buffers)])


def _bits(flags: Sequence[bool]) -> bytes:
    """Pack eight flags into a byte, the first in its lowest bit."""
    text = "".join("1" if flag else "0" for flag in reversed(flags))
    return int(text or "0", 2).to_bytes(-(-len(flags) // 8), "little")
