"""Which rows of a manifest a plan takes: the first ones, those with a value in a column, a sample. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from callsheet.errors import UsageError
from manifests.columns import canonical
from manifests.table import shown
from pricing.budgets import client_key

COLUMNS_NAMED = 40


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows a plan takes; every row where nothing is said.

    `where` holds pairs of column and value: a row must have one of the values of each column. `first` rows of
    these are taken, and of those a `sample`; both are 1 or more. `only` holds the ids of the jobs that a plan
    file lists, None where it lists none.
    """

    first: int | None = None
    where: tuple[tuple[str, str], ...] = ()
    sample: int | None = None
    only: frozenset[str] | None = None

    @classmethod
    def of(
        cls, *, first: int | None = None, where: Sequence[str] = (), sample: int | None = None
    ) -> RowFilter:
        """Read the options `-n`, `--where COLUMN=VALUE` and `--sample`. Raises UsageError for a bad one."""
        for name, count in (("-n", first), ("--sample", sample)):
            if count is not None and count < 1:
                raise UsageError(f"{name} is {count}; use a number of rows, 1 or more")
        return cls(first, tuple(map(_pair, where)), sample)

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return self != RowFilter()

    @property
    def asked(self) -> dict[str, list[str]]:
        """The values of `where` by column."""
        return {column: [value for name, value in self.where if name == column] for column, _ in self.where}

    def matching(self, columns: Mapping[str, Sequence[str]], renamed: Mapping[str, str]) -> list[bool]:
        """Say for every row whether it has the values of `where`; `columns` holds the cells by our names.

        Clients are compared as their money is counted, other columns exactly, without space around the text.
        `renamed` maps headers to our names. Raises UsageError for a column that is not there.
        """
        wanted: dict[str, set[str]] = {}
        for name, value in self.where:
            column = _column(name, columns, renamed)
            wanted.setdefault(column, set()).add(comparable(column, value))
        count = len(next(iter(columns.values()), ()))
        found = [True] * count
        for column, values in wanted.items():
            known: dict[str, bool] = {}
            for at, cell in enumerate(columns[column]):
                if cell not in known:
                    known[cell] = comparable(column, cell) in values
                found[at] = found[at] and known[cell]
        return found

    def unseen(self, columns: Mapping[str, Sequence[str]], renamed: Mapping[str, str]) -> list[str]:
        """Return the pairs of `where`, as they are typed, whose value no row has."""
        pairs = []
        for name, value in self.where:
            column = _column(name, columns, renamed)
            wanted = comparable(column, value)
            if all(comparable(column, cell) != wanted for cell in set(columns[column])):
                pairs.append(f"{shown(name)}={shown(value)}")
        return pairs

    def taken(self, rows: Iterable[tuple[object, str]]) -> set[object]:
        """Return the rows that `first` and `sample` leave.

        `rows` has each job's row and fingerprint, in order. A row is known by the fingerprint of its first
        job, and a sample takes the lowest fingerprints: the same rows take the same sample in any order.
        """
        prints: dict[object, str] = {}
        for row, fingerprint in rows:
            if row not in prints:
                if len(prints) == self.first:
                    break
                prints[row] = fingerprint
        if self.sample is None:
            return set(prints)
        return set(sorted(prints, key=prints.__getitem__)[: self.sample])

    def __str__(self) -> str:
        """Write the options as they are typed."""
        parts = [f"-n {self.first}"] if self.first is not None else []
        parts += [f"--where {shown(column)}={shown(value)}" for column, value in self.where]
        parts += [f"--sample {self.sample}"] if self.sample is not None else []
        return " ".join(parts)


def comparable(column: str, cell: str) -> str:
    """Return a cell as `where` compares it."""
    return client_key(cell) if column == "client" else cell.strip()


def _pair(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not (equals and column.strip()):
        raise UsageError(f"--where is {shown(text)!r}; write COLUMN=VALUE, e.g. --where client=acme")
    return column.strip(), value


def _column(name: str, columns: Mapping[str, Sequence[str]], renamed: Mapping[str, str]) -> str:
    for each in (renamed.get(name, ""), canonical(name), name):
        if each in columns:
            return each
    named = [shown(each) for each in columns]
    more = f" and {len(named) - COLUMNS_NAMED} more" if len(named) > COLUMNS_NAMED else ""
    raise UsageError(
        f"--where: no column is called {shown(name)!r}; there are {', '.join(named[:COLUMNS_NAMED])}{more}"
    )
