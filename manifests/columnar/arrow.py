"""Between NumPy and Arrow without pandas: `pa.array`, `pa.scalar` and `to_numpy` import it, for 0.3 s."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manifests.readers.parquet import value_text

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


Keys = npt.NDArray[np.uint64]

_SPACE, _DELETE, _NON_ASCII, _C1_LEAD = 0x20, 0x7F, 0x80, 0xC2
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"
"""`manifests.table.UNPRINTABLE` for text that is valid UTF-8, which has no lone surrogates."""
_WORD_BYTES = 8
_WORDS_AT_ONCE = 8
_LONG_BYTES = 4096
_CELLS_AT_ONCE = 1 << 14
"""As many as a processor keeps close by while it goes over them word by word."""

# Drawn anew in every process, so that no file can be written whose cells all get one key.
_START = np.uint64(secrets.randbits(64))
_FACTOR = np.uint64(secrets.randbits(64) | 1)
_SHIFT = np.uint64(29)
_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)


def text_array(array: Any) -> Any:
    """Return any Arrow array as text without nulls: every value as `value_text` writes it."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return text_array(array.dictionary_decode())
    if pa.types.is_string(kind):
        return pc.coalesce(array, text_scalar("")) if array.null_count else array
    if pa.types.is_null(kind):
        return same_text("", len(array)).dictionary_decode()
    if (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    ):
        return text_array(array.cast(pa.string()))
    return texts_of([value_text(value) for value in array.to_pylist()])


@dataclass(frozen=True, slots=True)
class Texts:
    """One column's cells: cell i is `data[offsets[i]:offsets[i + 1]]`."""

    array: Any
    data: npt.NDArray[np.uint8]
    offsets: Numbers

    @classmethod
    def of(cls, array: Any) -> Texts:
        """Look into an Arrow string array without nulls; nothing is copied but the offsets."""
        _, places, content = array.buffers()
        if places is None or len(array) == 0:
            return cls(array, np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64))
        ends = np.frombuffer(places, np.int32)[array.offset : array.offset + len(array) + 1]
        first, last = int(ends[0]), int(ends[-1])
        run = np.frombuffer(content, np.uint8)[first:last] if content else np.empty(0, np.uint8)
        return cls(array, run, ends.astype(np.int64) - first)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Numbers:
        """Bytes of each cell."""
        return np.diff(self.offsets)

    @property
    def is_ascii(self) -> bool:
        """Whether no cell holds anything but ASCII."""
        return not len(self.data) or int(self.data.max()) < _NON_ASCII

    def with_control_characters(self) -> Mask | None:
        """Say which cells hold what `UNPRINTABLE` finds; None where no cell does."""
        data = self.data
        if not len(data):
            return None
        suspect = bool((data < _SPACE).any() or (data == _DELETE).any() or (data == _C1_LEAD).any())
        if not suspect:
            return None
        found = mask_of(pc.match_substring_regex(self.array, _CONTROL))
        return found if found.any() else None

    def stripped(self) -> Texts:
        """Return the cells without white space around them; itself where there is none."""
        if not len(self.data):
            return self
        filled = self.lengths > 0
        ends = np.concatenate((self.data[self.offsets[:-1][filled]], self.data[self.offsets[1:][filled] - 1]))
        if not bool(((ends <= _SPACE) | (ends >= _NON_ASCII)).any()):
            return self
        trimmed = pc.utf8_trim_whitespace(self.array)
        return self if trimmed.equals(self.array) else Texts.of(trimmed)

    def longer_than(self, chars: int) -> Mask:
        """Say which cells have more characters than that."""
        long: Mask = self.lengths > chars  # in bytes, of which a character has at least one
        if long.any() and not self.is_ascii:
            long = numbers_of(pc.utf8_length(self.array)) > chars
        return long

    def unprintable(self) -> Mask:
        """Say which cells hold a character that Python does not call printable."""
        if self.is_ascii and not bool(((self.data < _SPACE) | (self.data == _DELETE)).any()):
            return np.zeros(len(self), bool)
        return np.fromiter((not text.isprintable() for text in self.array.to_pylist()), bool, len(self))

    def keys(self) -> Keys:
        """Return 64 bits for each cell: equal cells have equal keys, others almost never."""
        return keys_of(self.data, self.offsets[:-1], self.lengths)


def keys_of(data: npt.NDArray[np.uint8], starts: Numbers, lengths: Numbers) -> Keys:
    """Hash ranges of bytes, eight bytes of many of them at a time. Long ones are left to Python's hash."""
    keys = lengths.astype(np.uint64) ^ _START
    if not len(data):
        return keys
    padded = np.concatenate((data, np.zeros(_WORD_BYTES * _WORDS_AT_ONCE, np.uint8)))
    # One begins at every byte. What a block holds beyond its cell is masked, or never looked at.
    blocks = np.ndarray((len(data) + 1,), f"V{_WORD_BYTES * _WORDS_AT_ONCE}", padded, 0, (1,))
    long = np.flatnonzero(lengths > _LONG_BYTES)
    short = np.where(lengths > _LONG_BYTES, 0, lengths) if len(long) else lengths
    for first in range(0, len(keys), _CELLS_AT_ONCE):
        some = slice(first, first + _CELLS_AT_ONCE)
        keys[some] = _hashed(keys[some], blocks, starts[some], short[some])
    for at in long:
        keys[at] = np.uint64(hash(data[starts[at] : starts[at] + lengths[at]].tobytes()) & 0xFFFFFFFFFFFFFFFF)
    return keys


def _hashed(keys: Keys, blocks: npt.NDArray[Any], starts: Numbers, lengths: Numbers) -> Keys:
    """Mix each range's words into its key; the longest ranges stand first, so that ended ones drop out."""
    whole = lengths // _WORD_BYTES
    most = int(whole.max())
    order = np.argsort((most - whole).astype(np.uint16), kind="stable") if most > whole.min() else None
    if order is not None:
        starts, lengths, whole = starts[order], lengths[order], whole[order]
    masks = _MASKS[lengths & (_WORD_BYTES - 1)]
    found, spare = keys.copy() if order is None else keys[order], np.empty_like(keys)
    # How many ranges have so many whole words; the part of a word after them is masked.
    having = [len(keys), *(len(keys) - np.searchsorted(whole[::-1], np.arange(1, most + 2))).tolist()]
    words = np.empty((0, _WORDS_AT_ONCE), np.uint64)
    for at in range(most + 1):
        count, going_on = having[at], having[at + 1]
        if at % _WORDS_AT_ONCE == 0:
            words = blocks[starts[:count] + at * _WORD_BYTES].view("<u8").reshape(count, _WORDS_AT_ONCE)
        word = words[:count, at % _WORDS_AT_ONCE]
        word[going_on:] &= masks[going_on:count]
        _mix(found[:count], word, spare[:count])
    if order is None:
        return found
    spare[order] = found
    return spare


def _mix(keys: Keys, more: Keys, spare: Keys) -> None:
    """Make of `keys`, in place, keys that depend on both."""
    keys ^= more
    keys *= _FACTOR
    np.right_shift(keys, _SHIFT, out=spare)
    keys ^= spare


def mixed(keys: Keys, more: Keys) -> Keys:
    """Return keys that depend on both."""
    result = keys.copy()
    _mix(result, more, np.empty_like(keys))
    return result


def repeated(keys: Keys) -> Keys:
    """Return the keys that stand more than once, each once, sorted."""
    ordered = np.sort(keys)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
