"""A campaign: what to do with a manifest, and how much money there is for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from callsheet.errors import Problem
from manifests.table import shown
from manifests.template import Template
from manifests.toml_lines import line_of
from pricing.budgets import Cap

NAME_MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as it was written down. A bare manifest is a campaign that says nothing but its name.

    `manifest` is a path, a folder or a glob pattern relative to `folder`; `file` is the campaign file as the
    person named it, "" for a bare manifest. `columns` maps headers to our names of columns, several headers
    to one name if need be. `out` is "" where nothing is said. `naming` makes the file names of rows that
    bring none. `lines` says where each key of the file stands. `header_row` and `skip_hidden` say how the
    manifest is read, as in `ReadOptions`.
    """

    name: str
    manifest: str
    folder: Path
    file: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, Template] = field(default_factory=dict)
    matrix: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    takes: int = 1
    caps: tuple[Cap, ...] = ()
    out: str = ""
    naming: Template | None = None
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    header_row: int | None = None
    skip_hidden: bool = False

    def problem(self, key: tuple[str, ...], found: str, message: str) -> Problem:
        """Return a mistake in the campaign file, with the line that its key stands on."""
        line = line_of(dict(self.lines), key)
        return Problem(self.file or self.manifest, line, ".".join(key), found, message)

    def blamed(self, problem: Problem) -> Problem:
        """Return a mistake of a row as the campaign file's own where the file put that value there."""
        for section, values in (
            ("defaults", [self.defaults.get(problem.column, "")]),
            ("matrix", self.matrix.get(problem.column, ())),
        ):
            if problem.found and problem.found in (shown(value.strip()) for value in values):
                return self.problem((section, problem.column), problem.found, problem.message)
        return problem


def is_name(name: str) -> bool:
    """Whether a text can name a campaign: accounts are kept under it, with `/` before the client's name."""
    return 0 < len(name) <= NAME_MAX_CHARS and name.isprintable() and not {"/", "\\"} & set(name)
