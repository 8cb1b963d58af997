"""Headers of a manifest: which columns are missing, and which may be ours by another name.

Nothing is refused for a likeness: such a column is carried to the results, with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from callsheet.errors import Problem
from manifests.columns import COLUMN, COLUMNS, SHAPE, column_by_words, is_format, likely_column, shop_columns
from manifests.problems import Problems
from manifests.table import shown

Header = tuple[str, ...]


class Headers:
    """The headers that are met while rows are read; what is wrong or doubtful goes into the notes.

    A column may hold a word of ours and mean something else. It is no doubt of ours where the column that it
    would be is filled, or where its own cells are of another kind; so that is said at the end (`finish`).
    """

    def __init__(self, notes: Problems) -> None:
        self._notes = notes
        self._doubts: dict[tuple[str, Header], dict[str, str]] = {}
        self._unseen: dict[tuple[str, Header], dict[str, str]] = {}

    def unseen(self, file: str, header: Header) -> Mapping[str, str]:
        """Return the columns of which must be known whether a cell fits, and is not yet.

        Each has the expression that must be found in a cell; "" is anything but white space.
        """
        key = (file, header)
        if key not in self._unseen:
            doubts = self._doubts[key] = self._check(file, header)
            shapes = {name: SHAPE for name in doubts if is_format(name)}
            self._unseen[key] = {ours: "" for ours in doubts.values() if ours in header} | shapes
        return dict(self._unseen[key])

    def saw(self, file: str, header: Header, name: str) -> None:
        """Note that a column holds what it was looked at for in some row."""
        del self._unseen[file, header][name]
        doubts = self._doubts[file, header]
        self._doubts[file, header] = {theirs: ours for theirs, ours in doubts.items() if ours != name}

    def finish(self) -> None:
        """Warn of the columns that no filled column of ours explains."""
        for (file, header), doubts in self._doubts.items():
            for name, ours in doubts.items():
                if name not in self._unseen[file, header]:
                    self._warn(file, name, ours)

    def _check(self, file: str, header: Sequence[str]) -> dict[str, str]:
        """Note what the header alone shows; return the other columns that may be ours, and which."""
        shops = shop_columns(header)
        theirs = [name for name in header if name not in COLUMN and name not in shops]
        misspelt = {name: ours for name in theirs if (ours := likely_column(name, header))}
        words = {name: ours for name in theirs if name not in misspelt and (ours := column_by_words(name))}
        meant = {**misspelt, **words}
        for column in COLUMNS:
            if column.required and column.name not in header:
                near = next((name for name, ours in meant.items() if ours == column.name), None)
                hint = (
                    f"is {near!r} meant? Rename it"
                    if near
                    else "add it, or set it under [defaults] of a campaign"
                )
                message = f"the manifest has no such column; {hint}"
                self._notes.add(Problem(file, 0, column.name, "", message))
        for name, ours in misspelt.items():
            self._warn(file, name, ours)
        return words

    def _warn(self, file: str, name: str, ours: str) -> None:
        message = f"not a Callsheet column, copied to the results; did you mean {ours}?"
        self._notes.add_warning(Problem(file, 0, shown(name), "", message))
