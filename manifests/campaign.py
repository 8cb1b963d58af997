"""A campaign: what to do with a manifest, and how much money there is for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifests.template import Template
from pricing.budgets import Cap

NAME_MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as it was written down. A bare manifest is a campaign that says nothing but its name.

    `manifest` is a path or a glob pattern relative to `folder`; `file` is the campaign file as the person
    named it, "" for a bare manifest. `columns` maps their names to ours. `out` is "" where nothing is said.
    `naming` makes the file names of rows that bring none.
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


def is_name(name: str) -> bool:
    """Whether a text can name a campaign: accounts are kept under it, with `/` before the client's name."""
    return 0 < len(name) <= NAME_MAX_CHARS and name.isprintable() and not {"/", "\\"} & set(name)
