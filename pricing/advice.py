"""What would fit where a plan does not: cheaper ways to make the same shots, each with its exact saving.

Pure. Priorities are kept: a change begins with the jobs of the lowest priority, the last of them first, and
goes no further than it has to. A saving is the difference of the quotes, to the nano-dollar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pricing.budgets import Room, Spend
from pricing.catalog import Catalog
from pricing.quotes import Quote, Shot, quote

if TYPE_CHECKING:
    from pricing.fitting import Queue  # takes the time of NumPy's import

LOW = "480p"
FAST = "seedance-1.0-pro-fast"


@dataclass(frozen=True, slots=True)
class Order:
    """One job, as far as advice needs it. `end_image` says that it ends with a given picture."""

    shot: Shot
    quote: Quote
    spend: Spend
    end_image: bool = False


@dataclass(frozen=True, slots=True)
class Advice:
    """One change that makes a plan fit: `shots` is what the jobs at `positions` become.

    `priorities` are those jobs', each once, the lowest first. Savings are in nano-dollars: of the maximum,
    which budgets hold, and of what is expected.
    """

    change: str
    positions: tuple[int, ...]
    shots: tuple[Shot, ...]
    priorities: tuple[int, ...]
    saving_maximum_nano: int
    saving_expected_nano: int


Change = Callable[[Catalog, Order], Shot | None]
"""Gives the cheaper shot, or None where that job cannot be made so."""


def advise(catalog: Catalog, orders: Sequence[Order], which: Sequence[int], room: Room) -> list[Advice]:
    """Return every single change by which all jobs fit, and if there is none the shortest list of changes.

    `which` gives for each job the index of its order: many jobs may share one. Advice that touches the fewest
    jobs comes first. Empty where everything fits as it is, and where only leaving jobs out would help.
    """
    from pricing.fitting import Queue

    queue = Queue([order.spend for order in orders], which, room)
    if not queue.over:
        return []
    found = [
        advice
        for name, change in _changes(orders)
        if (advice := _applied(catalog, orders, queue, name, (change,))) is not None
    ]
    if not found:
        found = list(_together(catalog, orders, queue))
    shortest = _best_duration(found)
    return sorted(shortest, key=lambda advice: (len(advice.positions), advice.saving_maximum_nano))


def _changes(orders: Sequence[Order]) -> Iterator[tuple[str, Change]]:
    yield from _steps()
    longest_s = max((_length_s(order.shot) for order in orders), default=0)
    for most_s in range(longest_s - 1, 1, -1):
        yield f"{_SHORTER}{most_s} s", partial(_shorter, most_s=most_s)


_SHORTER = "at most "


def _best_duration(found: list[Advice]) -> list[Advice]:
    """Keep, of all shorter durations that fit, the longest: the first that was tried."""
    kept: list[Advice] = []
    for advice in found:
        if not advice.change.startswith(_SHORTER) or not any(
            each.change.startswith(_SHORTER) for each in kept
        ):
            kept.append(advice)
    return kept


def _steps() -> tuple[tuple[str, Change], ...]:
    """Return the changes that do not touch the length: what is lost least first."""
    return ("without sound", _silent), (f"at {LOW}", _low), (f"with {FAST}", _fast)


def _together(catalog: Catalog, orders: Sequence[Order], queue: Queue) -> Iterator[Advice]:
    """Add one change to the others until all fits: what is lost least first."""
    row: list[tuple[str, Change]] = []
    steps: list[tuple[str, Change]] = [*_steps(), ("as short as can be", partial(_shorter, most_s=0))]
    for step in steps:
        row.append(step)
        name = ", ".join(name for name, _ in row)
        advice = _applied(catalog, orders, queue, name, tuple(change for _, change in row))
        if advice is not None:
            yield advice
            return


def _applied(
    catalog: Catalog, orders: Sequence[Order], queue: Queue, name: str, changes: Sequence[Change]
) -> Advice | None:
    """Change jobs from the least important one on until all fits; None where that is not enough."""
    cheaper = [_cheaper(catalog, order, changes) for order in orders]
    pairs = list(zip(orders, cheaper, strict=True))
    changed = queue.changed(
        [0 if new is None else order.quote.maximum_nano - new[1].maximum_nano for order, new in pairs]
    )
    if changed is None:
        return None
    counts = Counter(queue.which(changed))
    these = [(*pairs[kind], count) for kind, count in counts.items()]
    return Advice(
        change=name,
        positions=tuple(changed),
        shots=tuple(new[0] for kind in queue.which(changed) if (new := cheaper[kind]) is not None),
        priorities=tuple(sorted({orders[kind].spend.priority for kind in counts})),
        saving_maximum_nano=sum(
            count * (order.quote.maximum_nano - new[1].maximum_nano) for order, new, count in these if new
        ),
        saving_expected_nano=sum(
            count * (order.quote.expected_nano - new[1].expected_nano) for order, new, count in these if new
        ),
    )


def _cheaper(catalog: Catalog, order: Order, changes: Sequence[Change]) -> tuple[Shot, Quote] | None:
    """Return the order after as many of the changes as are possible, where that costs less."""
    now = order
    for change in changes:
        shot = change(catalog, now)
        if shot is not None:
            now = replace(now, shot=shot)
    if now is order:
        return None
    price = quote(catalog, now.shot)
    return (now.shot, price) if price.maximum_nano < order.quote.maximum_nano else None


def _silent(_catalog: Catalog, order: Order) -> Shot | None:
    shot = order.shot
    return replace(shot, audio=False) if shot.endpoint.audio and shot.audio else None


def _low(_catalog: Catalog, order: Order) -> Shot | None:
    shot = order.shot
    if shot.resolution == LOW or LOW not in shot.endpoint.resolutions:
        return None
    return replace(shot, resolution=LOW)


def _fast(catalog: Catalog, order: Order) -> Shot | None:
    """Return the shot on Pro Fast, where that takes everything the job asks for; it makes no sound."""
    shot = order.shot
    fast = catalog.endpoint_for(FAST, shot.endpoint.task)
    if fast is None or shot.endpoint.model == FAST or (order.end_image and not fast.end_image):
        return None
    if "seedance" not in shot.endpoint.id:
        return None
    takes = (
        shot.resolution in fast.resolutions
        and shot.aspect_ratio in fast.aspect_ratios
        and (shot.num_frames is None or _within(shot.num_frames, fast.num_frames))
        and (shot.num_frames is not None or shot.duration_s in fast.durations_s)
    )
    return replace(shot, endpoint=fast, audio=False) if takes else None


def _within(frames: int, bounds: tuple[int, int] | None) -> bool:
    return bounds is not None and bounds[0] <= frames <= bounds[1]


def _shorter(_catalog: Catalog, order: Order, *, most_s: int) -> Shot | None:
    """Cap the duration; jobs that name their frames are left alone."""
    shot = order.shot
    if shot.num_frames is not None:
        return None
    allowed_s = shot.endpoint.durations_s
    wanted_s = max((each for each in allowed_s if each <= most_s), default=min(allowed_s))
    return replace(shot, duration_s=wanted_s) if wanted_s < _length_s(shot) else None


def _length_s(shot: Shot) -> int:
    """Return the seconds that are reserved: of a length left to the model, the most."""
    return max(shot.endpoint.durations_s) if shot.is_open else shot.duration_s or 0
