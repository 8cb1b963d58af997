"""report.html: the run on a page, which opens from the disk with a double click.

A run of more than `CLIPS_OF_A_PART` clips has several parts: `report.html`, `report-2.html` and so on, each
with the whole run's figures and its own clips, in the manifest's order.

Nothing is fetched from anywhere but the run's own folder. The page's policy allows its own script and style
alone, by their hashes. What it shows of the clips is data in the page, and the script writes it as text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from jinja2 import Template

from callsheet.ledger.accounts import TOTAL, Account
from callsheet.report.clips import GROUPS, Address, clip_documents
from callsheet.report.markup import island, own_file, policy_hash, template
from callsheet.report.rows import ResultRow, strip_of
from callsheet.report.safe_text import clean
from callsheet.report.summary import Rollup, RunTotals, clips_of, quantile, shown_together
from pricing.budgets import scope_label
from pricing.keep_rates import keep_rates
from pricing.money import ceil_div, usd_rounded_up, usd_text

CENT_NANO = 10_000_000
PIECES_TOGETHER = 100
"""Pieces of a page that are handed on as one; a clip is two of them, together about 1 KB."""

CLIPS_OF_A_PART = 10_000
"""Clips of one file: about 9 MB, which a browser opens within two seconds."""


@dataclass(frozen=True, slots=True)
class PagePart:
    """A part of the page: its number from 1, its clips `first` to `last`, and how many of them failed."""

    number: int
    first: int
    last: int
    failed: int


def part_name(number: int, stem: str = "report") -> str:
    """Return the name of a part's file: `report.html`, `report-2.html`, `report-3.html`."""
    return f"{stem}.html" if number == 1 else f"{stem}-{number}.html"


def parts_of(rows: Sequence[ResultRow]) -> list[PagePart]:
    """Divide the clips into parts. There is one at least, which may be empty; takes stay together."""
    parts: list[PagePart] = []
    first = 0
    while first < len(rows) or not parts:
        end = min(first + CLIPS_OF_A_PART, len(rows))
        while end < len(rows) and rows[end].shot == rows[end - 1].shot:
            end += 1
        failed = sum(GROUPS.get(row.status) == "failed" for row in rows[first:end])
        parts.append(PagePart(len(parts) + 1, first + 1, end, failed))
        first = end
    return parts


def render_page(
    summary: RunTotals,
    rows: Sequence[ResultRow],
    others: Sequence[ResultRow] = (),
    *,
    part: int = 1,
    part_address: Callable[[int], str] = part_name,
    pictures: Collection[str] = (),
    address: Address = quote,
    origin: str = "",
    review: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Return a part of the page as HTML, in pieces. `part_address` says where the others are.

    `others` are takes of the same shots in other runs. `pictures` are the thumbnails and strips that exist,
    relative to the run's folder; `address` says where the page finds a file of it, and `origin` is the
    server that those addresses lead to, where it is another one than the page's. `review` makes it the page
    of `callsheet review`: it is handed to the script that judges, as data.
    """
    parts = parts_of(rows)
    chosen = parts[part - 1]
    shown = rows[chosen.first - 1 : chosen.last]
    style = own_file("report.css")
    scripts = [own_file("report.js"), *([own_file("review.js")] if review is not None else [])]
    pieces = _template().stream(
        summary=summary,
        run=summary.run,
        campaign=clean(summary.run.campaign),
        data=island(
            clip_documents(shown, others, pictures, address, sandbox=summary.run.is_sandbox),
            started=summary.run.started_ms,
            review=review,
        ),
        parts=parts,
        part=chosen,
        part_address=part_address,
        models=_lines(summary.by_model, _render_times(rows)),
        clients=_lines(_named(summary.by_client)),
        caps=[_cap_line(account) for account in summary.run.caps],
        bar=_bar(summary),
        kept=keep_rates(clips_of(rows, summary.run.campaign))[0],
        reviews=review is not None,
        origin=origin,
        style=style,
        scripts=scripts,
        style_hash=policy_hash(style),
        script_hashes=[policy_hash(each) for each in scripts],
    )
    pieces.enable_buffering(PIECES_TOGETHER)
    return pieces


def existing_pictures(directory: Path, rows: Sequence[ResultRow]) -> frozenset[str]:
    """Return the thumbnails and strips of these rows that exist; paths are relative to the run's folder."""
    posters = {PurePosixPath(row.poster_path) for row in rows if row.output_path}
    names = {str(path) for poster in posters for path in (poster, strip_of(poster))}
    return frozenset(name for name in names if (directory / name).is_file())


def _lines(
    groups: Sequence[Rollup], times: Mapping[str, tuple[float, float]] | None = None
) -> list[tuple[Rollup, int, int, tuple[float, float] | None]]:
    """Return each group with its expected and actual cost in whole cents that add up to the run's.

    Beside them stand its render times: half of them, and 95 %, took no longer.
    """
    expected = shown_together([group.expected_nano for group in groups], CENT_NANO)
    actual = shown_together([group.actual_nano for group in groups], CENT_NANO)
    known = times or {}
    return [
        (group, expected_nano, actual_nano, known.get(group.name))
        for group, expected_nano, actual_nano in zip(groups, expected, actual, strict=True)
    ]


def _render_times(rows: Sequence[ResultRow]) -> dict[str, tuple[float, float]]:
    """Return within how many seconds half, and 95 %, of a model's renders ended."""
    by_model: dict[str, list[float]] = {}
    for row in rows:
        if row.render_s is not None:
            by_model.setdefault(row.model, []).append(row.render_s)
    return {
        model: (quantile(sorted(times), 0.5) or 0.0, quantile(sorted(times), 0.95) or 0.0)
        for model, times in by_model.items()
    }


def _cap_line(account: Account) -> dict[str, Any]:
    """Return a cap in whole cents that add up: what was taken is rounded up, what is left is rounded down."""
    limit_nano, spent_nano, held_nano = (
        ceil_div(amount, CENT_NANO) * CENT_NANO
        for amount in (account.limit_nano or 0, account.spent_nano, account.held_nano)
    )
    ref = account.ref
    return {
        "label": "this run" if ref.scope == "run" else clean(scope_label(ref.scope, ref.key)),
        "period": "" if ref.window == TOTAL else ref.window,
        "limit_nano": limit_nano,
        "spent_nano": spent_nano,
        "held_nano": held_nano,
        "left_nano": max(0, limit_nano - spent_nano - held_nano),
    }


def _named(groups: list[Rollup]) -> list[Rollup]:
    """Return the groups, or none where nothing but the empty name is among them."""
    return groups if any(group.name for group in groups) else []


def _bar(summary: RunTotals) -> dict[str, float]:
    """Return the widths of the money bar in percent of the cap, or of the maximum where there is no cap."""
    sums = summary.total
    whole = max(summary.run.cap_nano or sums.maximum_nano, sums.actual_nano + sums.held_nano, 1)
    return {
        "spent": round(sums.actual_nano * 100 / whole, 2),
        "held": round(sums.held_nano * 100 / whole, 2),
    }


def _percent(part_nano: int, whole_nano: int) -> float:
    return round(min(100.0, part_nano * 100 / max(whole_nano, 1)), 2)


def _when(unix_ms: int | None) -> str:
    if unix_ms is None:
        return "not finished"
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%-d %B %Y, %H:%M} UTC"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 120:
        return f"{value:.3g} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s"


@cache
def _template() -> Template:
    return template(
        "report.html.j2",
        usd=usd_rounded_up,
        exact=usd_text,
        when=_when,
        seconds=_seconds,
        counted="{:,}".format,
        clean=clean,
        percent=_percent,
    )
