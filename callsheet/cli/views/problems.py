"""Errors in a manifest: one by one while they are few, grouped when they are many, all of them in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Annotated

from callsheet.cli.options import option
from callsheet.cli.output import say
from callsheet.errors import ManifestError, Problem, UsageError
from callsheet.files import write_atomically
from callsheet.report.safe_text import BOM, guarded, spreadsheet_csv

LISTED = 50
"""Up to this many are listed one by one."""

ROWS_NAMED = 5
_ROW_NUMBER = re.compile(r"\brow [0-9]+")
_COLUMNS = ("file", "row", "column", "found", "message")

ErrorsFile = Annotated[
    Path | None,
    option("ERRORS", "Write all errors to this CSV file (default above 50 errors: SOURCE.errors.csv)"),
]


def show_problems(problems: Sequence[Problem]) -> bool:
    """Print the errors, or groups of them. Returns whether every single one was printed."""
    if len(problems) <= LISTED:
        for problem in problems:
            say(f"  {problem}")
        return True
    for group in by_kind(problems)[:LISTED]:
        say(f"  {_line(group)}")
    return False


def explain_mistakes(error: ManifestError, source: str, errors: Path | None) -> int:
    """Print what is wrong with a manifest, write the full list to a file, return the exit code.

    The file is written if `errors` names one, or if not every error was printed. Without a name it is called
    after the source and written into the working directory.
    """
    all_said = show_problems(error.problems)
    if errors is not None or not all_said:
        path = errors or Path(f"{PurePath(source.partition('?')[0]).stem or 'manifest'}.errors.csv")
        if _is_other_file(path):
            say(f"{path} exists and is not an error list; name another file with --errors")
        else:
            _write(path, error.problems)
            say(f"all errors are listed in {path}")
    say(f"callsheet: {error}")
    return error.exit_code


def _is_other_file(path: Path) -> bool:
    """Say whether a file is there that is not an error list: it may be the manifest itself."""
    if path.exists() and not path.is_file():
        return True
    try:
        with path.open("rb") as file:
            first = file.readline().removeprefix(BOM.encode()).strip().replace(b'"', b"")
    except OSError:
        return False
    return first != ",".join(_COLUMNS).encode()


def _write(path: Path, problems: Sequence[Problem]) -> None:
    try:
        write_atomically(path, errors_csv(problems).encode())
    except OSError as reason:
        raise UsageError(
            f"cannot write {path}: {reason.strerror}; name another file with --errors"
        ) from reason


def by_kind(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Group errors with the same message in the same column, the largest groups first."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    kinds = {message: _ROW_NUMBER.sub("row", message) for message in {each.message for each in problems}}
    for problem in problems:
        kind = kinds[problem.message]
        groups.setdefault((problem.file, problem.column, kind), []).append(problem)
    return sorted(groups.values(), key=len, reverse=True)


def _line(group: Sequence[Problem]) -> str:
    if len(group) == 1:
        return str(group[0])
    first = group[0]
    rows = ", ".join(str(problem.row) for problem in group[:ROWS_NAMED])
    more = f" and {len(group) - ROWS_NAMED:,} more" if len(group) > ROWS_NAMED else ""
    column = f", column {first.column}" if first.column else ""
    found = list(dict.fromkeys(problem.found for problem in group[:1000] if problem.found))[:ROWS_NAMED]
    shown = f": found {', '.join(found)}" if found else ""
    return f"{first.file}{column}, {len(group):,} rows ({rows}{more}){shown}: {first.message}"


def errors_csv(problems: Sequence[Problem]) -> str:
    """Return all errors as CSV in which no cell is a spreadsheet formula."""
    texts = {text for each in problems for text in (each.file, each.column, each.found, each.message)}
    safe = {text: str(guarded(text)) for text in texts}
    return spreadsheet_csv(
        _COLUMNS,
        (
            (safe[each.file], each.row, safe[each.column], safe[each.found], safe[each.message])
            for each in problems
        ),
    )
