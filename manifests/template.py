"""Templates: `{column}` and nothing else. No attributes, no formats, no code: cells come from strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from manifests.columns import canonical

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
