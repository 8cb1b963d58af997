"""What a kept clip, and a kept second, really costs: what is not kept is paid for as well. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from pricing.budgets import first_spellings
from pricing.money import ceil_div, usd_rounded_up, usd_text

KeptBy = Literal["model", "client", "campaign"]


@dataclass(frozen=True, slots=True)
class JudgedClip:
    """A clip that was made: what it cost in nano-dollars with every attempt, and how it was judged.

    `shot` is what all takes of it are called after. `verdict` is keep, retake, reject, or "" where nobody has
    said anything. `length_ms` is its length in milliseconds.
    """

    campaign: str
    client: str
    model: str
    shot: str
    spent_nano: int
    verdict: str
    length_ms: int


@dataclass(frozen=True, slots=True)
class KeepRate:
    """How much of what was made is kept, and what that costs. Amounts in nano-dollars.

    `clips` were made for `spent_nano`; of these `judged` have a verdict and cost `judged_nano`, and `kept` of
    them with `kept_ms` milliseconds are kept. `open_shots` are shots of which every take was judged and none
    is kept.
    """

    name: str
    clips: int = 0
    spent_nano: int = 0
    judged: int = 0
    judged_nano: int = 0
    kept: int = 0
    kept_ms: int = 0
    open_shots: int = 0

    @property
    def percent(self) -> int | None:
        """How many of a hundred judged clips are kept; None where none was judged."""
        return round(Decimal(100 * self.kept) / self.judged) if self.judged else None

    @property
    def clip_nano(self) -> int | None:
        """What a kept clip costs, rounded up; None without one."""
        return ceil_div(self.judged_nano, self.kept) if self.kept else None

    @property
    def second_nano(self) -> int | None:
        """What a kept second costs, rounded up; None without one."""
        return ceil_div(1000 * self.judged_nano, self.kept_ms) if self.kept_ms else None

    @property
    def to_finish_nano(self) -> int | None:
        """What a kept clip of every open shot costs at this rate; None where nothing is known of it."""
        if not self.judged:
            return None
        if not self.open_shots:
            return 0
        return None if not self.kept else ceil_div(self.open_shots * self.judged_nano, self.kept)


@dataclass(slots=True)
class _Group:
    clips: list[JudgedClip] = field(default_factory=list)
    shots: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def rate(self, name: str) -> KeepRate:
        judged = [clip for clip in self.clips if clip.verdict]
        kept = [clip for clip in judged if clip.verdict == "keep"]
        return KeepRate(
            name=name,
            clips=len(self.clips),
            spent_nano=sum(clip.spent_nano for clip in self.clips),
            judged=len(judged),
            judged_nano=sum(clip.spent_nano for clip in judged),
            kept=len(kept),
            kept_ms=sum(clip.length_ms for clip in kept),
            open_shots=sum(not said & {"keep", ""} for said in self.shots.values()),
        )


def keep_rates(clips: Iterable[JudgedClip], by: KeptBy | None = None) -> list[KeepRate]:
    """Add up clips by a column, in the order of its values; all together (one, without a name) without `by`.

    Spellings of one client are one group.
    """
    every = list(clips)
    clients = first_spellings(clip.client for clip in every)
    groups: dict[str, _Group] = {} if by else {"": _Group()}
    for clip in every:
        name = clients[clip.client] if by == "client" else str(getattr(clip, by)) if by else ""
        group = groups.setdefault(name, _Group())
        group.clips.append(clip)
        group.shots.setdefault((clip.campaign, clip.shot), set()).add(clip.verdict)
    return [groups[name].rate(name) for name in sorted(groups)]


def rate_document(rate: KeepRate) -> dict[str, Any]:
    """Describe a keep rate: amounts as exact decimal strings of dollars, null where nothing is known."""
    return {
        "clips": rate.clips,
        "spent_usd": usd_text(rate.spent_nano),
        "judged": rate.judged,
        "judged_usd": usd_text(rate.judged_nano),
        "kept": rate.kept,
        "kept_seconds": rate.kept_ms / 1000,
        "keep_percent": rate.percent,
        "kept_clip_usd": _usd(rate.clip_nano),
        "kept_second_usd": _usd(rate.second_nano),
        "open_shots": rate.open_shots,
        "to_finish_usd": _usd(rate.to_finish_nano),
    }


def rate_line(rate: KeepRate) -> str:
    """Say a model's keep rate: `you kept 60 % of seedance-1.0-pro-fast clips; a kept clip costs $0.41`."""
    cost = "" if rate.clip_nano is None else f"; a kept clip costs {usd_rounded_up(rate.clip_nano)}"
    return f"you kept {rate.percent} % of {rate.name} clips ({rate.kept} of {rate.judged}){cost}"


def _usd(nano: int | None) -> str | None:
    return None if nano is None else usd_text(nano)
