"""A run as lines of a terminal: a lane for each slot, the money, the rate and the time that is left. Pure.

Marks differ in shape as well as in colour, so that nothing is lost without colour. Texts from a manifest or
from fal are made printable here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from callsheet.cli.logs import printable
from callsheet.cli.views.run_line import ALSO, cap_label
from callsheet.cli.views.watch import Lane, Moment
from callsheet.ledger import State
from pricing.money import usd_rounded_up
from pricing.render_times import in_words

WIDE, MIDDLE = 100, 78
"""Terminals of so many columns have room for long words."""

BAR_WIDTH = 40
SPARE_LINES = 2
"""Lines for what is hidden of the lanes, and for trouble."""

SLOW = 2.0
"""A render that takes so many times as long as usual is called slow."""

SHORTENED = 8
"""Names in at least so many columns are shortened in the middle: their ends tell them apart."""

KINDS = {
    "sending": ("→", ">", "cyan"),
    "queued": ("○", "o", "blue"),
    "rendering": ("●", "*", "green"),
    "late": ("!", "!", "bold yellow"),
    "unknown": ("?", "?", "bold red"),
    "free": ("·", ".", "dim"),
}
"""What is drawn for a kind of lane, also with ASCII alone, and its style."""

BLOCKS = ("█", "▒", "░")
ASCII_BLOCKS = ("#", "=", "-")


def live_lines(
    now: Moment, *, width: int, height: int, plain: bool = False, over: bool = False
) -> list[Text]:
    """Return a run as lines of at most `width` columns and about `height` lines.

    `plain` draws with ASCII alone. `over` leaves out the lanes, for what stays in the terminal at the end.
    """
    lines, money = [*_head(now, width, plain)], [*_money(now, width, plain)]
    if not over:
        lines += _lanes(now, width, max(1, height - len(lines) - len(money) - SPARE_LINES), plain)
    lines += money
    if now.trouble and not over:
        lines.append(Text(_one_line(now.trouble), "bold yellow"))
    for line in lines:
        line.truncate(width, overflow="crop" if plain else "ellipsis")
    return lines


def _head(now: Moment, width: int, plain: bool) -> Iterator[Text]:
    tally, counts = now.tally, now.tally.counts
    blocks = ASCII_BLOCKS if plain else BLOCKS
    if not tally.jobs and now.before:
        yield Text(f"{now.run_id}: {_one_line(now.before.in_words())}")
        return
    yield _ends(now.run_id, clock(now.elapsed_s), width)
    failed = counts.get(State.FAILED, 0)
    at_work = sum(1 for lane in now.lanes if lane)
    done = tally.finished - failed
    bar = _bar(
        [(done, blocks[0], "green"), (failed, "x" if plain else "▓", "red"), (at_work, blocks[1], "cyan")],
        tally.jobs,
        blocks[2],
        min(BAR_WIDTH, width // 3),
    )
    progress = Text.assemble(bar, f" {tally.finished}/{tally.jobs} done")
    pace = Text(_pace(now), "bold")
    if progress.cell_len + 2 + pace.cell_len <= width:
        yield Text.assemble(progress, "  ", pace)
    else:
        yield progress
        yield pace
    parts = [f"{counts.get(State.PENDING, 0) + counts.get(State.HELD, 0)} waiting", f"{failed} failed"]
    parts += [f"{counts[state]} {word}" for state, word in ALSO.items() if counts.get(state)]
    yield from _wrapped(parts, width)


def _pace(now: Moment) -> str:
    parts = []
    if now.left_s is not None:
        parts.append(f"about {in_words(now.left_s)} left")
    if now.rate_per_min is not None:
        parts.append(f"{now.rate_per_min:.3g}/min")
    elif now.left_s is not None and not now.learned:
        parts.append("by fal's published times")
    return ", ".join(parts)


def _lanes(now: Moment, width: int, most: int, plain: bool) -> Iterator[Text]:
    free_mark = KINDS["free"][plain]
    shown = now.lanes[:most]
    for number, lane in enumerate(shown, start=1):
        yield (
            Text(f"{number:>2} {free_mark} free", "dim")
            if lane is None
            else _lane(number, lane, width, plain=plain)
        )
    hidden = sum(1 for lane in now.lanes[most:] if lane)
    free = max(0, now.slots - sum(1 for lane in now.lanes if lane))
    parts = [f"and {hidden} more"] * bool(hidden)
    parts += [f"{free} of {now.slots} slots not used by this run"] * bool(free)
    if parts:
        yield Text("   " + ", ".join(parts), "dim")


def _lane(number: int, lane: Lane, width: int, *, plain: bool) -> Text:
    kind, words = said(lane)
    *marks, style = KINDS[kind]
    age = clock(lane.age_s)
    model = lane.model if width >= WIDE else lane.model.removeprefix("seedance-")
    model_width = 0 if width < 48 else 21 if width >= WIDE else 12
    words_width = 36 if width >= WIDE else 28 if width >= MIDDLE else 16
    name_width = max(6, width - 14 - words_width - (model_width + 1 if model_width else 0))
    shown = next((each for each in words if cell_len(each) <= words_width), words[-1])
    columns = [_fitted(lane.name, name_width)]
    columns += [_fitted(model, model_width)] if model_width else []
    return Text.assemble(
        f"{number:>2} ",
        (marks[plain], style),
        " " + " ".join(columns) + " ",
        (set_cell_size(shown, words_width), style),
        f" {age:>7}",
    )


def said(lane: Lane) -> tuple[str, Sequence[str]]:
    """Say what a job with a slot is doing, as a kind and in words from the longest to the shortest."""
    if lane.state is State.UNKNOWN:
        return "unknown", ("not known whether fal has it", "not known")
    if lane.state in (State.HELD, State.SUBMITTING):
        return "sending", ("being sent to fal", "being sent")
    return _said_at_fal(lane)


def _said_at_fal(lane: Lane) -> tuple[str, Sequence[str]]:
    is_queued = lane.state is State.IN_QUEUE
    doing = "queued at fal" if is_queued else "rendering"
    if lane.silent_s:
        silence = in_words(lane.silent_s)
        return "late", (
            f"{doing}, no answer for {silence}",
            f"no answer for {silence}",
            f"no answer {silence}",
        )
    if lane.overdue:
        return "late", (f"{doing}, overdue", "overdue")
    if is_queued and lane.position is not None:
        return "queued", (f"{doing}, position {lane.position:,}", f"queued at {lane.position:,}")
    if is_queued:
        return "queued", (doing,)
    if lane.usual_s and lane.age_s > SLOW * lane.usual_s:
        usual = in_words(lane.usual_s)
        return "late", (f"{doing}, slow (usually {usual})", "rendering, slow")
    left_s = lane.usual_s - lane.age_s
    return "rendering", (f"{doing}, about {in_words(left_s)} left", doing) if left_s >= 1 else (doing,)


def _money(now: Moment, width: int, plain: bool) -> Iterator[Text]:
    tally, cap = now.tally, now.cap
    run = [f"spent {usd_rounded_up(tally.spent_nano)}", f"held {usd_rounded_up(tally.held_nano)}"]
    if cap is None or cap.limit_nano is None:
        yield from _wrapped([*run, "no cap"], width)
    else:
        blocks = ASCII_BLOCKS if plain else BLOCKS
        bar = _bar(
            [(cap.spent_nano, blocks[0], "magenta"), (cap.held_nano, blocks[1], "yellow")],
            cap.limit_nano,
            blocks[2],
            min(BAR_WIDTH, width // 3),
        )
        free = usd_rounded_up(max(0, cap.left_nano or 0))
        if cap.ref.scope != "run":
            yield from _wrapped([f"this run: {run[0]}", run[1]], width)
            run = [f"spent {usd_rounded_up(cap.spent_nano)}", f"held {usd_rounded_up(cap.held_nano)}"]
        run.append(f"free {free} of {usd_rounded_up(cap.limit_nano)}")
        words = ", ".join(run)
        name = f"cap of {_one_line(cap_label(cap))}"
        if cell_len(words) + cell_len(name) + bar.cell_len + 4 <= width:
            yield Text.assemble(bar, f" {words} ", (f"({name})", "dim"))
        else:
            yield bar
            yield from _wrapped(run, width)
            yield Text(name, "dim")
    if tally.frozen or (cap is not None and cap.frozen):
        yield Text("FROZEN by a bill above its hold", "bold red")


def _bar(parts: Sequence[tuple[int, str, str]], total: int, rest: str, width: int) -> Text:
    """Return a bar: each part that is above 0 has at least one cell, and no part is drawn past the end."""
    bar, used, so_far = Text(), 0, 0
    for amount, block, style in parts:
        so_far += amount
        end = min(width, max(used + (amount > 0), round(so_far * width / total) if total else 0))
        bar.append(block * (end - used), style)
        used = end
    return bar.append(rest * (width - used), "dim")


def _wrapped(parts: Sequence[str], width: int) -> Iterator[Text]:
    """Join parts with commas, on as many lines as they need: no figure is cut off."""
    line = ""
    for part in parts:
        longer = f"{line}, {part}" if line else part
        if line and cell_len(longer) + 1 > width:
            yield Text(f"{line},")
            longer = part
        line = longer
    yield Text(line)


def _ends(left: str, right: str, width: int) -> Text:
    left = _fitted(left, max(1, width - cell_len(right) - 1))
    return Text.assemble((left, "bold"), " ", right)


def _fitted(text: str, width: int) -> str:
    """Return a name in exactly so many columns; a longer one keeps its begin and its end."""
    text = _one_line(text)
    if cell_len(text) <= width or width < SHORTENED:
        return set_cell_size(text, width)
    tail = text[-(width // 3) :]
    while cell_len(tail) > width // 3:
        tail = tail[1:]
    return f"{set_cell_size(text, width - cell_len(tail) - 1)}~{tail}"


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def clock(seconds: float) -> str:
    """Write a time as a clock does: `0:34`, `12:05`, `3:20:00`."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
