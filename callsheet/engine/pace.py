"""How long renders take, from what the ledger remembers of earlier ones."""

from __future__ import annotations

from collections.abc import Iterable

from callsheet.engine.studio import Studio
from callsheet.ledger import JobRow, Ledger
from pricing.render_times import RenderKind

REMEMBERED = 30
"""Renders of a kind that are looked back on; what fal ran on months ago tells little."""

KINDS = 50
"""Kinds of jobs that are looked up: a run has a handful, and each costs a question to the ledger."""


async def learn(studio: Studio, rows: Iterable[JobRow]) -> None:
    """Teach the studio's render times what earlier renders of the run's own kinds took, oldest first.

    The sandbox renders at whatever speed it was started with, so its past says nothing.
    """
    for name in list(dict.fromkeys(row.cell for row in rows))[:KINDS]:
        cell = cell_named(name)
        if cell is None:
            continue
        times = await studio.books(Ledger.render_times, name, limit=REMEMBERED)
        for each in reversed(times):
            studio.times.observe(cell, each.rendered_ms / 1000)


def cell_named(name: str) -> RenderKind | None:
    """Read the ledger's name of a kind of job, `endpoint|pixels|frames`; None for anything else."""
    endpoint, _, numbers = name.partition("|")
    pixels, _, frames = numbers.partition("|")
    if not (endpoint and pixels.isdecimal() and frames.isdecimal()):
        return None
    return RenderKind(endpoint, int(pixels), int(frames))
