"""What the rig found, as rows of one table."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One number beside what it must be. `ok` decides, `bound` says it in words."""

    part: str
    what: str
    found: str
    bound: str
    ok: bool


def none_of(part: str, what: str, count: int) -> Figure:
    """A number that must be 0."""
    return Figure(part, what, f"{count:,}", "0", count == 0)


def at_least(part: str, what: str, count: int, least: int) -> Figure:
    """A number that shows that the attack took place."""
    return Figure(part, what, f"{count:,}", f">= {least:,}", count >= least)


def at_most(part: str, what: str, count: int, most: int) -> Figure:
    """A number with an upper bound."""
    return Figure(part, what, f"{count:,}", f"<= {most:,}", count <= most)


def table(figures: Iterable[Figure]) -> str:
    """Lay the figures out for a terminal."""
    rows = [("part", "what", "found", "must be", "")]
    rows += [(f.part, f.what, f.found, f.bound, "ok" if f.ok else "BROKEN") for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    before = ""
    for row in rows:
        shown = ("" if row[0] == before else row[0], *row[1:])
        before = row[0]
        left = f"{shown[0]:<{widths[0]}}  {shown[1]:<{widths[1]}}"
        lines.append(f"{left}  {shown[2]:>{widths[2]}}  {shown[3]:>{widths[3]}}  {shown[4]}".rstrip())
    return "\n".join(lines)
