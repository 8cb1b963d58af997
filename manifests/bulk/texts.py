"""Columns of text as bytes: what can be said about a hundred thousand cells without looking at one of them.

Arrow keeps a text column as one run of UTF-8 and the places where the cells begin. All questions here are
asked of that run; only a column that gives reason to is looked at cell by cell, by a regular expression.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manifests.bulk.arrow import Mask, Numbers, mask_of, numbers_of, same_text, text_scalar, texts_of
from manifests.parquet_reader import value_text

Keys = npt.NDArray[np.uint64]

_SPACE, _DELETE, _NON_ASCII, _C1_LEAD = 0x20, 0x7F, 0x80, 0xC2
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"
"""`manifests.table.UNPRINTABLE` for text that is valid UTF-8, which has no lone surrogates."""
_WORD_BYTES = 8
_LONG_BYTES = 4096
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
    """Hash ranges of bytes, eight bytes of all of them at a time. Long ones are left to Python's hash."""
    keys = np.full(len(starts), _START, np.uint64) ^ lengths.astype(np.uint64)
    if not len(data):
        return keys
    padded = np.concatenate((data, np.zeros(_WORD_BYTES, np.uint8)))
    words: Keys = np.ndarray((len(data) + 1,), "<u8", padded, 0, (1,))  # one begins at every byte
    long = np.flatnonzero(lengths > _LONG_BYTES)
    for at in long:
        keys[at] = np.uint64(hash(data[starts[at] : starts[at] + lengths[at]].tobytes()) & 0xFFFFFFFFFFFFFFFF)
    active = np.flatnonzero((lengths > 0) & (lengths <= _LONG_BYTES))
    done = 0
    while len(active):
        left = np.minimum(lengths[active] - done, _WORD_BYTES)
        word = words[starts[active] + done] & _MASKS[left]
        keys[active] = mixed(keys[active], word)
        done += _WORD_BYTES
        active = active[lengths[active] > done]
    return keys


def mixed(keys: Keys, more: Keys) -> Keys:
    """Return keys that depend on both."""
    result = (keys ^ more) * _FACTOR
    return result ^ (result >> _SHIFT)


def repeated(keys: Keys) -> Keys:
    """Return the keys that stand more than once, each once, sorted."""
    ordered = np.sort(keys)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
