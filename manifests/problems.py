"""Where mistakes and warnings gather while rows are read, so that all of them can be shown together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter

from callsheet.errors import Problem
from callsheet.wording import number_of
from manifests.table import Row, printable, shown


@dataclass(slots=True)
class Problems:
    """Problems are kept once each, in the order they were found; equal warnings of many rows become one."""

    _problems: dict[Problem, None] = field(default_factory=dict)
    _warnings: dict[Problem, tuple[Problem, int]] = field(default_factory=dict)
    _noted: int = 0

    def wrong(self, row: Row, column: str, message: str, *, found: str | None = None) -> None:
        """Note a mistake in a cell; what was found is the cell's own text unless it is given."""
        self.add(_problem(row, column, message, found))

    def add(self, problem: Problem) -> None:
        """Note a mistake as it stands."""
        self._noted += 1
        self._problems[problem] = None

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Note mistakes that were found before the rows were read."""
        for problem in problems:
            self.add(problem)

    def warn(self, row: Row, column: str, message: str, *, found: str | None = None) -> None:
        """Note something that may be meant as it is."""
        self.add_warning(_problem(row, column, message, found))

    def add_warning(self, warning: Problem, rows: int = 1) -> None:
        """Note a warning as it stands; `rows` is how many rows earned it, the first of which it names."""
        key = replace(warning, row=0)
        first, count = self._warnings.get(key, (warning, 0))
        self._warnings[key] = (first, count + rows)

    def add_from(self, notes: Problems) -> None:
        """Note everything that other notes hold."""
        self.add_all(notes._problems)
        for warning, count in notes.counted_warnings():
            self.add_warning(warning, count)

    def counted_warnings(self) -> list[tuple[Problem, int]]:
        """Every distinct warning with how many rows earned it, in the order they were found."""
        return list(self._warnings.values())

    def blame(self, blamed: Callable[[Problem], Problem]) -> None:
        """Replace every mistake by what it comes from; those that come from the same become one."""
        self._problems = dict.fromkeys(map(blamed, self._problems))

    @property
    def count(self) -> int:
        """How many mistakes were noted so far; jobs of one row may share one, which then counts again."""
        return self._noted

    def problems(self) -> list[Problem]:
        """Every mistake, in row order within each file, files in the order they were read."""
        return _in_row_order(list(self._problems))

    def warnings(self) -> list[Problem]:
        """Every warning, in row order; one that several rows earned names the first and counts the others."""
        return _in_row_order([_counted(first, count) for first, count in self._warnings.values()])


def _problem(row: Row, column: str, message: str, found: str | None) -> Problem:
    cell = row.cells.get(column, "").strip() if found is None else found
    return Problem(row.file, row.row, shown(column), shown(cell), printable(message))


def _counted(first: Problem, count: int) -> Problem:
    if count == 1:
        return first
    return replace(first, message=f"{first.message} (and {number_of(count - 1, 'more row')})")


def _in_row_order(problems: list[Problem]) -> list[Problem]:
    order = {file: at for at, file in enumerate(dict.fromkeys(problem.file for problem in problems))}
    if len(order) <= 1:
        return sorted(problems, key=attrgetter("row"))
    return sorted(problems, key=lambda problem: (order[problem.file], problem.row))
