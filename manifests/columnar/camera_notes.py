"""Camera instructions of many prompts: what stands in [brackets] is looked at once per distinct text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from callsheet.errors import Problem
from manifests.columnar.arrow import Mask, Numbers, distinct, number_array, numbers_of
from manifests.columnar.texts import Texts, keys_of
from manifests.table import printable, shown
from manifests.validate import unknown_instructions, unlisted

_OPEN, _CLOSE = ord("["), ord("]")
_BYTES_MAX = 80 * 4


@dataclass(frozen=True, slots=True)
class CameraNote:
    """An instruction that Seedance does not list: where it first stands, and in how many rows."""

    instruction: str
    first: int
    count: int

    def warning(self, file: str, row: int) -> Problem:
        """Return the warning, as the one-row check words it."""
        return Problem(file, row, "prompt", shown(f"[{self.instruction}]"), printable(unlisted()))


def camera_notes(prompts: Texts, passed_over: Mask) -> list[CameraNote]:
    """Note every unknown instruction of the rows that are not passed over, in the order they are met."""
    rows, starts, lengths = _brackets(prompts)
    kept = ~passed_over[rows]
    rows, starts, lengths = rows[kept], starts[kept], lengths[kept]
    if not len(rows):
        return []
    # Instructions are few: coding their keys is quicker than sorting them.
    encoded = number_array(keys_of(prompts.data, starts, lengths)).dictionary_encode()
    _, example, which = distinct(numbers_of(encoded.indices), len(encoded.dictionary))
    met: dict[str, list[int]] = {}
    for group, at in enumerate(example):
        start = int(starts[at])
        text = prompts.data[start : start + int(lengths[at])].tobytes().decode()
        for instruction in unknown_instructions(f"[{text}]"):
            met.setdefault(instruction, []).append(group)
    noted = [_note(instruction, groups, which, rows) for instruction, groups in met.items()]
    return [note for _, note in sorted(noted, key=lambda each: each[0])]


def _note(
    instruction: str, groups: list[int], which: Numbers, rows: Numbers
) -> tuple[tuple[int, int], CameraNote]:
    places = np.flatnonzero(np.isin(which, groups))
    found = np.unique(rows[places])
    return (int(places[0]), groups[0]), CameraNote(instruction, int(found[0]), len(found))


def _brackets(prompts: Texts) -> tuple[Numbers, Numbers, Numbers]:
    """Return row, start and length of what stands between a `[` and the `]` that is the next bracket."""
    places = np.flatnonzero((prompts.data == _OPEN) | (prompts.data == _CLOSE))
    is_open = prompts.data[places] == _OPEN
    pair = np.flatnonzero(is_open[:-1] & ~is_open[1:])
    starts, ends = places[pair] + 1, places[pair + 1]
    lengths = ends - starts
    fits = (lengths > 0) & (lengths <= _BYTES_MAX)
    starts, ends, lengths = starts[fits], ends[fits], lengths[fits]
    rows = np.searchsorted(prompts.offsets, starts, side="right") - 1
    within = ends < prompts.offsets[rows + 1]
    return rows[within], starts[within], lengths[within]
