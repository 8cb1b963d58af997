"""Which line of a TOML file each key stands on, for messages."""

from __future__ import annotations

import re

_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line, counted from 1, of every table and every key, by its path."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    depth = 0
    for number, line, bare in _lines(text):
        if depth == 0 and bare.lstrip().startswith("["):
            table = _path(line.lstrip().lstrip("["))[0]
            _note(lines, table, number)
        elif depth == 0 and "=" in bare:
            path, _ = _path(line)
            _note(lines, (*table, *path), number)
        if not (depth == 0 and bare.lstrip().startswith("[")):
            depth += sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
    return lines


def _note(lines: dict[tuple[str, ...], int], path: tuple[str, ...], number: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], number)


def _lines(text: str) -> list[tuple[int, str, str]]:
    """Return lines with their numbers, and each as well without strings and comments.

    Lines inside a string of several lines are empty in both.
    """
    kept, bare, end = [], [], 0
    for match in _STRING.finditer(text):
        between = text[end : match.start()]
        breaks = "\n" * match[0].count("\n")
        kept += [between, breaks or match[0]]
        bare += [between, breaks]
        end = match.end()
    rest = text[end:]
    pairs = zip("".join([*kept, rest]).split("\n"), "".join([*bare, rest]).split("\n"), strict=True)
    return [(number, line, plain) for number, (line, plain) in enumerate(pairs, 1)]


def _path(text: str) -> tuple[tuple[str, ...], int]:
    """Read a dotted key from the start of a text."""
    parts: list[str] = []
    at = 0
    while match := _PART.match(text, at):
        parts.append(next(each for each in match.groups() if each is not None))
        at = match.end()
        if not text.startswith(".", at):
            break
        at += 1
    return tuple(parts), at
