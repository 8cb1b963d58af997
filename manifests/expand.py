"""From a table's rows to the rows that are checked: defaults, every combination, templates.

In that order, all of it on text: what comes out is a manifest that could have been written by hand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from callsheet.errors import Problem
from callsheet.wording import number_of
from manifests.campaign import BadTemplate, Campaign, Template
from manifests.columns import COLUMN
from manifests.names import safe_part, without_suffix
from manifests.problems import Problems
from manifests.readers.parquet import Manifest
from manifests.spellings import whole_number
from manifests.table import ROWS_MAX, Row, Table, shown

MAX_JOBS = ROWS_MAX
"""What a matrix may make of a manifest."""
NAMING = ("custom_id", "output_name")
OVERRIDDEN = "[matrix] sets this column; this value is not used"


def factor_of(campaign: Campaign) -> int:
    """Return how many jobs each row becomes."""
    return campaign.takes * math.prod(len(values) for values in campaign.matrix.values())


def expansion_problems(campaign: Campaign, tables: Sequence[Manifest]) -> list[Problem]:
    """Return what is wrong with the campaign as these tables fill it: missing columns, too many jobs."""
    problems = []
    rows = sum(table.count for table in tables)
    factor = factor_of(campaign)
    if factor > 1 and rows * factor > MAX_JOBS:
        product = f"{number_of(rows, 'row')} x {factor:,} combinations"
        message = f"{product} are more than {MAX_JOBS:,} jobs; cut the campaign up"
        problems.append(campaign.problem(("matrix",), f"{rows * factor:,} jobs", message))
    for table in tables:
        if table.count:
            problems += [*_unnamed(campaign, table), *_unfilled(campaign, table)]
    return problems


def _unnamed(campaign: Campaign, table: Manifest) -> Iterator[Problem]:
    """Yield the renamings that this table cannot be given.

    Several names of theirs may stand for one of ours (many manifests, many hands); a table has one of them.
    """
    names: dict[str, list[str]] = {}
    for theirs, ours in campaign.columns.items():
        names.setdefault(ours, []).append(theirs)
    for aliases in names.values():
        if not any(theirs in table.header for theirs in aliases):
            listed = ", ".join(shown(name) for name in table.header)
            message = f"{table.file} has no such column; it has {listed}"
            yield campaign.problem(("columns", aliases[-1]), shown(" or ".join(aliases)), message)


def _unfilled(campaign: Campaign, table: Manifest) -> Iterator[Problem]:
    """Yield the templates that ask for a column that does not exist."""
    there = {*table.columns, *campaign.defaults, *campaign.matrix}
    for name, template in campaign.templates.items():
        for needed in template.columns:
            if needed not in there:
                message = f"neither {table.file} nor [defaults] or [matrix] has this column"
                yield campaign.problem(("template", name), f"{{{shown(needed)}}}", message)
    yield from _unnameable(campaign, table, there)


def _unnameable(campaign: Campaign, table: Manifest, there: set[str]) -> Iterator[Problem]:
    """Yield the columns that file names are to be made of and that neither a row nor the check brings."""
    known = there | {*campaign.templates} | COLUMN.keys()
    for needed in campaign.naming.columns if campaign.naming else ():
        if needed not in known:
            message = f"neither {table.file} nor [defaults], [matrix] or [template] has this column"
            yield campaign.problem(("output", "name"), f"{{{shown(needed)}}}", message)


def expanded(campaign: Campaign, tables: Iterable[Table], notes: Problems) -> Iterator[Row]:
    """Yield the rows to be checked; a row whose template cannot be filled is noted and passed over."""
    combinations = combinations_of(campaign)
    for table in tables:
        empty = dict.fromkeys([*table.columns, *campaign.defaults], "")
        for row in table.rows():
            cells = {**empty, **row.cells}
            cells |= {name: value for name, value in campaign.defaults.items() if not cells[name].strip()}
            # All of a row at once: what is wrong with its templates is said before what is wrong with cells.
            yield from list(
                combined(campaign, Row(row.file, row.folder, row.row, cells), combinations, notes)
            )


def combinations_of(campaign: Campaign) -> list[dict[str, str]]:
    """Return the matrix's combinations, one and empty where there is no matrix."""
    return [
        dict(zip(campaign.matrix, values, strict=True))
        for values in itertools.product(*campaign.matrix.values())
    ]


def combined(
    campaign: Campaign, row: Row, combinations: list[dict[str, str]], notes: Problems
) -> Iterator[Row]:
    """Yield every combination and take of one row; one whose template cannot be filled is noted."""
    _warn_of_overridden(campaign, row, notes)
    for combination in combinations:
        for take in range(1, campaign.takes + 1):
            cells = {**row.cells, **combination}
            _tell_apart(cells, combination, take)
            if campaign.takes > 1:
                cells |= _take_cells(cells, take)
            made = Row(row.file, row.folder, row.row, cells)
            if fill(campaign.templates, made, cells, notes):
                yield made


def _warn_of_overridden(campaign: Campaign, row: Row, notes: Problems) -> None:
    for name in overridden(campaign):
        if row.cells.get(name, "").strip():
            notes.warn(row, name, OVERRIDDEN)


def overridden(campaign: Campaign) -> list[str]:
    """Return the columns that the matrix decides, which a row must not fill."""
    replaced = [*campaign.matrix, *(["take"] if campaign.takes > 1 else [])]
    return [name for name in replaced if name not in campaign.defaults]


def _tell_apart(cells: dict[str, str], combination: Mapping[str, str], take: int) -> None:
    """Add to the names that a row brings what tells its jobs apart: `shot-1` becomes `shot-1-9x16-t2`."""
    suffix = suffix_of(combination, take)
    for name in NAMING:
        if suffix and cells.get(name, "").strip():
            cells[name] = without_suffix(cells[name].strip()) + suffix


def suffix_of(combination: Mapping[str, str], take: int) -> str:
    """Return what tells the jobs of one row apart, "" where it has but one."""
    parts = [safe_part(value.replace(":", "x")) for value in combination.values()]
    return "".join(f"-{part}" for part in [*parts, *([f"t{take}"] if take > 1 else [])])


def _take_cells(cells: Mapping[str, str], take: int) -> dict[str, str]:
    """Number the take; a seed that the row gives counts up with it, so that no two takes are the same."""
    seed = whole_number(cells.get("seed", "").strip())
    if seed is None or seed < 0:
        return {"take": str(take)}
    return {"take": str(take), "seed": str(seed + take - 1)}


def fill(templates: Mapping[str, Template], row: Row, cells: dict[str, str], notes: Problems) -> bool:
    """Write every template's column; False where one could not be filled."""
    given = dict(cells)
    filled = True
    for name, template in templates.items():
        try:
            cells[name] = template.render(given)
        except BadTemplate as error:
            notes.wrong(row, name, str(error), found="")
            filled = False
    return filled
