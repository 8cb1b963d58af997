"""Columns of a batch as Arrow arrays, and what is asked about all of their cells at once.

Text is kept as Arrow strings without nulls; masks, numbers and positions are NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manifests.readers.parquet import value_text

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LARGEST = 1 << 62
"""Beyond every bound of ours: larger numbers of an unsigned column become this one."""


def texts_of(cells: Sequence[str]) -> Any:
    """Return cells as an array. Raises UnicodeEncodeError for a lone surrogate."""
    return pa.array(cells, pa.string())


def text_array(array: Any) -> Any:
    """Return an array of any type as text without nulls, every value as `value_text` writes it."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return text_array(array.dictionary_decode())
    if pa.types.is_string(kind):
        return pc.fill_null(array, "") if array.null_count else array
    if (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    ):
        return text_array(array.cast(pa.string()))
    return texts_of([value_text(value) for value in array.to_pylist()])


def stripped(texts: Any) -> Any:
    """Return texts without white space around them."""
    return pc.utf8_trim_whitespace(texts)


def chars(texts: Any) -> Numbers:
    """Return how many characters each text has."""
    return numbers_of(pc.utf8_length(texts))


def is_filled(texts: Any) -> Mask:
    """Say which texts are more than white space."""
    filled: Mask = chars(stripped(texts)) > 0
    return filled


def matches(texts: Any, pattern: str) -> Mask:
    """Say which texts a regular expression (RE2) is found in."""
    return mask_of(pc.match_substring_regex(texts, pattern))


def same_text(text: str, count: int) -> Any:
    """Return one text for every row; it is kept once."""
    return coded_text(np.zeros(count, np.int32), [text])


def coded_text(places: npt.NDArray[Any], words: Sequence[str]) -> Any:
    """Return a word for every row, by its place among the words, of which some may be the same."""
    rank = {word: at for at, word in enumerate(dict.fromkeys(words))}
    ranks = np.array([rank[word] for word in words], np.int32)
    return pa.DictionaryArray.from_arrays(ranks[places], texts_of(list(rank)))


def coded(column: Any) -> Any:
    """Return a column as distinct values and their places, nulls among the values."""
    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode(null_encoding="encode")
    return coded(column.dictionary_decode()) if column.null_count else column


def numbers_of(array: Any) -> Numbers:
    """Return whole numbers of any width as 64-bit ones; a null is 0."""
    if pa.types.is_uint64(array.type):
        array = pc.min_element_wise(array, pa.scalar(_LARGEST, pa.uint64()), skip_nulls=False)
    array = pc.fill_null(array, 0) if array.null_count else array
    numbers: Numbers = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return numbers


def mask_of(array: Any) -> Mask:
    """Return truth values; a null is False."""
    array = pc.fill_null(array, fill_value=False) if array.null_count else array
    mask: Mask = array.to_numpy(zero_copy_only=False)
    return mask


def rows_of(array: Any, places: Numbers) -> Any:
    """Return the rows at these places, which are in ascending order where they are as many as the rows."""
    return array if len(places) == len(array) else array.take(pa.array(places, pa.int64()))


def by_word(column: Any, test: Callable[[Any], Mask]) -> Mask:
    """Say which cells of a column pass a test of texts; words that a column holds once are tested once."""
    if not pa.types.is_dictionary(column.type):
        return test(text_array(column))
    encoded = coded(column)
    passed = test(text_array(encoded.dictionary))
    return passed[numbers_of(encoded.indices)] if passed.any() else np.zeros(len(column), bool)


def rows_by_place(places: Numbers, wanted: Collection[int]) -> Iterator[tuple[int, Numbers]]:
    """Yield each of the places that are wanted, with the rows that have it."""
    rows = np.flatnonzero(np.isin(places, list(wanted)))
    rows = rows[np.argsort(places[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(places[rows], prepend=-1))
    for alike in np.split(rows, starts[1:]) if len(rows) else ():
        yield int(places[alike[0]]), alike


def combinations(columns: Sequence[Numbers], count: int) -> tuple[Numbers, Numbers]:
    """Return where each distinct combination first stands, in that order, and each row's place among them."""
    keys, space = np.zeros(count, np.int64), 1
    for codes in columns:
        width = int(np.max(codes, initial=0)) + 1
        if space * width > _LARGEST:
            keys = _places(keys)
            space = int(np.max(keys, initial=0)) + 1
        keys, space = keys * width + codes, space * width
    places = _places(keys)
    first = np.zeros(int(np.max(places, initial=-1)) + 1, np.int64)
    first[places[::-1]] = np.arange(count)[::-1]  # of equal places the last one written stays
    return first, places


def _places(keys: Numbers) -> Numbers:
    """Return each key's place among the distinct keys as they are met."""
    return numbers_of(pa.array(keys).dictionary_encode().indices)


def keys_of(*columns: Sequence[Any]) -> Numbers:
    """Return 64 bits for each row: rows of equal cells have equal keys, others almost never.

    Python draws its hashes anew in every process, so no file can be written whose rows all get one key.
    """
    rows = zip(*columns, strict=True)
    return np.fromiter(map(hash, rows), np.int64, len(columns[0]))


def words_of(texts: Any) -> Sequence[str]:
    """Return texts as Python's."""
    words: Sequence[str] = texts.to_numpy(zero_copy_only=False)
    return words
