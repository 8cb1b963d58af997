"""A campaign: what to do with a manifest, and how much money there is for it.

Its templates know `{column}` and nothing else. No attributes, no formats, no code: cells come from strangers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from callsheet.errors import Problem
from manifests.columns import canonical
from manifests.look import LookRules, RetakeRules
from manifests.table import shown
from pricing.budgets import Cap

NAME_MAX_CHARS = 100

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
RENDERED_MAX_CHARS = 1 << 20


class BadTemplate(ValueError):
    """The template, or a row that it is applied to, cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts and column names in turn, beginning with a text."""

    parts: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs, each once."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    def render(self, cells: Mapping[str, str]) -> str:
        """Fill the columns in. Raises BadTemplate where one is empty: half a sentence is no prompt."""
        empty = [name for name in self.columns if not cells.get(name, "").strip()]
        if empty:
            raise BadTemplate(f"the template needs {' and '.join(empty)}, which this row leaves empty")
        return self.fill(cells)

    def fill(self, cells: Mapping[str, str]) -> str:
        """Fill the columns in, whatever they hold. Raises BadTemplate where the text grows past 1 MiB."""
        parts = list(self.parts)
        parts[1::2] = [cells.get(name, "").strip() for name in parts[1::2]]
        if sum(map(len, parts)) > RENDERED_MAX_CHARS:
            raise BadTemplate("the text made from the template is longer than 1 MiB")
        return "".join(parts)


def parse_template(text: str) -> Template:
    """Parse `{column}`, with `{{` and `}}` for the braces themselves. Raises BadTemplate."""
    parts = [""]
    end = 0
    for match in _TOKEN.finditer(text):
        parts[-1] += text[end : match.start()]
        end = match.end()
        if match[0] in ("{{", "}}"):
            parts[-1] += match[0][0]
        elif match[1] is None:
            at = f"character {match.start() + 1}"
            raise BadTemplate(f"a single {match[0]!r} stands at {at}; write it twice if it is meant")
        elif not match[1].strip():
            raise BadTemplate("{} names no column")
        else:
            parts += [canonical(match[1]), ""]
    parts[-1] += text[end:]
    return Template(tuple(parts))


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as it was written down. A bare manifest is a campaign that says nothing but its name.

    `manifest` is a path, a folder or a glob pattern relative to `folder`; `file` is the campaign file as the
    person named it, "" for a bare manifest. `columns` maps headers to our names of columns, several headers
    to one name if need be. `out` is "" where nothing is said. `naming` makes the file names of rows that
    bring none. `lines` says where each key of the file stands. `priority` and `share` are those of `NewRun`.
    `header_row` and `skip_hidden` say how the manifest is read, as in `ReadOptions`. `notify_urls` and
    `webhook` are who is told about runs: addresses, which may hold secrets, or `env:NAME`.
    `look` says what a technical look flags, and `retakes` what of it is bought again; None for nothing.
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
    priority: int = 0
    share: int = 1
    header_row: int | None = None
    skip_hidden: bool = False
    notify_urls: tuple[str, ...] = field(default=(), repr=False)
    webhook: str = field(default="", repr=False)
    look: LookRules = field(default_factory=LookRules)
    retakes: RetakeRules | None = None

    def problem(self, key: tuple[str, ...], found: str, message: str) -> Problem:
        """Return a mistake in the campaign file, with the line that its key stands on."""
        line = line_of(self.lines, key)
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


def line_of(lines: Mapping[tuple[str, ...], int], path: Sequence[str]) -> int:
    """Return the line of a key, or of the nearest table around it; 0 where nothing of it is in the file."""
    for length in range(len(path), 0, -1):
        found = lines.get(tuple(path[:length]))
        if found is not None:
            return found
    return 0
