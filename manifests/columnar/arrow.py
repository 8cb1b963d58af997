"""Between NumPy and Arrow without pandas: `pa.array`, `pa.scalar` and `to_numpy` import it, for 0.3 s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WIDTHS = {
    "int8": "i1",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "uint8": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
}


def texts_of(cells: Sequence[str]) -> Any:
    """Return text as an Arrow array. Raises UnicodeEncodeError for a lone surrogate."""
    joined = "\0".join(cells).encode()
    ends = np.zeros(len(cells) + 1, np.int32)
    if len(cells) > _FEW and joined.count(0) == len(cells) - 1:
        data = np.frombuffer(joined, np.uint8)
        between = np.flatnonzero(data == 0)
        ends[1:-1] = between - np.arange(len(between))
        ends[-1] = len(data) - len(between)
        return pa.StringArray.from_buffers(len(cells), pa.py_buffer(ends), pa.py_buffer(data[data != 0]))
    contents = [cell.encode() for cell in cells]
    np.cumsum([len(each) for each in contents], out=ends[1:])
    return pa.StringArray.from_buffers(len(contents), pa.py_buffer(ends), pa.py_buffer(b"".join(contents)))


_FEW = 100
"""Up to this many cells are encoded one by one; more of them at once, where none holds a NUL."""


def text_scalar(text: str) -> Any:
    """Return one text as an Arrow scalar."""
    return texts_of([text])[0]


def same_text(text: str, count: int) -> Any:
    """Return one text for every row; it is kept once."""
    return coded_text(np.zeros(count, np.int32), [text])


def coded_text(places: npt.NDArray[Any], words: Sequence[str]) -> Any:
    """Return a word for every row, by its place among the words, of which some may be the same."""
    distinct_words = list(dict.fromkeys(words))
    if len(distinct_words) < len(words):  # Parquet writes a dictionary with twins out row by row
        rank = {word: at for at, word in enumerate(distinct_words)}
        places = np.array([rank[word] for word in words], np.int32)[places]
    indices = number_array(places.astype(np.int32, copy=False))
    return pa.DictionaryArray.from_arrays(indices, texts_of(distinct_words), safe=False)


def coded(column: Any) -> Any:
    """Return a column as distinct values and their places, nulls among the values."""
    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode(null_encoding="encode")
    if column.null_count:
        return column.dictionary_decode().dictionary_encode(null_encoding="encode")
    return column


def number_array(values: npt.NDArray[Any]) -> Any:
    """Return whole numbers as an Arrow array; nothing is copied."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.type_for_alias(values.dtype.name), len(values), [None, pa.py_buffer(values)]
    )


def mask_array(mask: Mask) -> Any:
    """Return truth values as an Arrow array."""
    bits = np.packbits(mask, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, pa.py_buffer(bits)])


def mask_of(array: Any) -> Mask:
    """Return an Arrow array of truth values without nulls."""
    if not len(array):
        return np.zeros(0, bool)
    bits = np.frombuffer(array.buffers()[1], np.uint8)
    first = array.offset
    found: Mask = np.unpackbits(bits, count=first + len(array), bitorder="little")[first:].view(bool)
    return found


def numbers_of(array: Any) -> Numbers:
    """Return an Arrow array of whole numbers as 64-bit ones; what stands in place of a null means nothing."""
    kind = np.dtype(_WIDTHS[str(array.type)])
    if not len(array):
        return np.zeros(0, np.int64)
    values = np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]
    if kind == np.uint64:  # what no signed number holds is larger than any bound of ours
        values = np.minimum(values, np.uint64(np.iinfo(np.int64).max))
    return values.astype(np.int64)


def rows_of(array: Any, places: Numbers) -> Any:
    """Return the rows at these places."""
    return array.take(number_array(places))


def distinct(keys: Numbers, space: int) -> tuple[Numbers, Numbers, Numbers]:
    """Return the distinct keys as they are met, where each first stands, and each row's place among them.

    Keys are at least 0 and below `space`.
    """
    count = len(keys)
    if space > 4 * count + 1024:
        values, first, places = np.unique(keys, return_index=True, return_inverse=True)
    else:
        firsts = np.full(space, count, np.int64)
        firsts[keys[::-1]] = np.arange(count - 1, -1, -1)  # of equal places the last one written stays
        values = np.flatnonzero(firsts < count)
        first = firsts[values]
        firsts[values] = np.arange(len(values))
        places = firsts[keys]
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return values[order], first[order], rank[places]


def combinations(columns: list[Numbers], count: int) -> tuple[Numbers, Numbers]:
    """Return where each distinct combination first stands, in that order, and each row's place among them."""
    keys, space = np.zeros(count, np.int64), 1
    for codes in columns:
        width = int(codes.max()) + 1 if count else 1
        if space * width >= 1 << 62:
            _, keys = np.unique(keys, return_inverse=True)
            space = int(keys.max()) + 1
        keys, space = keys * width + codes, space * width
    _, first, places = distinct(keys, space)
    return first, places
