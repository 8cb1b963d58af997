"""`callsheet stats`: what a kept clip and a kept second cost."""

from __future__ import annotations

from typing import Annotated

from callsheet.cli.commands.ledger import day_ms
from callsheet.cli.options import Json, Sandbox, option, run_settings
from callsheet.cli.output import document, result, show_table
from callsheet.ledger import Ledger, reviews
from callsheet.wording import command
from pricing.keep_rates import KeepRate, KeptBy, keep_rates, rate_document
from pricing.money import usd_rounded_up

By = Annotated[KeptBy, option("STATS_BY", "Group by model, client or campaign")]
Since = Annotated[
    str | None, option("STATS_SINCE", "From this day (UTC) on, e.g. 2026-11-01; by the day of the hold")
]
HEADER = ("clips", "spent", "judged", "kept", "kept %", "a kept clip", "a kept second", "to finish")


def stats(*, by: By = "model", since: Since = None, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show how much of what was made is kept, and what a kept clip costs.

    A clip is judged with `callsheet review`; a draft that was finished is
    kept. What was judged and not kept is part of the cost of what is kept. To
    finish: a kept clip, at that rate, of every shot whose takes were all
    judged and none kept.

    Example: callsheet stats --by client --since 2026-11-01
    """
    since_ms = day_ms(since, "--since")
    settings = run_settings(sandbox=sandbox)
    with Ledger.open(settings.ledger) as ledger:
        clips = list(ledger.stream(reviews.made_clips, since_ms=since_ms))
    groups, (total,) = keep_rates(clips, by), keep_rates(clips)
    if json:
        groups_told = {rate.name: rate_document(rate) for rate in groups}
        document({"by": by, "since": since, "total": rate_document(total), "groups": groups_told})
        return 0
    if not clips:
        elsewhere = "" if settings.ledger_url else "; those of the sandbox are counted with --sandbox"
        result(f"no clip was made yet{elsewhere}")
        return 0
    lines = [_cells(rate.name or "-", rate) for rate in groups]
    if len(groups) > 1:
        lines.append(_cells("total", total))
    show_table((by, *HEADER), lines, right=frozenset(HEADER))
    if not total.judged:
        result(f"no clip was judged yet: `{command('review', 'RUN', sandbox=sandbox)}`")
    return 0


def _cells(name: str, rate: KeepRate) -> tuple[str, ...]:
    return (
        name,
        f"{rate.clips:,}",
        usd_rounded_up(rate.spent_nano),
        f"{rate.judged:,}",
        f"{rate.kept:,}",
        "" if rate.percent is None else str(rate.percent),
        _usd(rate.clip_nano),
        _usd(rate.second_nano),
        _usd(rate.to_finish_nano) if rate.judged else "nothing judged yet",
    )


def _usd(nano: int | None) -> str:
    return "" if nano is None else usd_rounded_up(nano)
