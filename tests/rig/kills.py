"""Kills at random instants and at every named boundary, under a provider that answers badly."""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from callsheet import failpoints
from tests.rig.campaign import SLOTS, Tally, attack
from tests.rig.figures import Figure, at_least, at_most, none_of

KILLS_PER_CAMPAIGN = 36
PART = "kills"


def kill_campaigns(folder: Path, *, kills: int, seed: int, **variant: object) -> Tally:
    """Run campaigns until so many workers have been killed."""
    tally, number = Tally(), 0
    while tally.kills < kills:
        place = folder / f"campaign-{number}"
        wanted = min(KILLS_PER_CAMPAIGN, kills - tally.kills)
        attack(place, kills=wanted, seed=seed * 10_000 + number * 100, tally=tally, **variant)  # type: ignore[arg-type]
        shutil.rmtree(place)
        number += 1
        if number % 5 == 0:
            sys.stderr.write(
                f"  {tally.kills:,} kills of {kills:,}; bought twice: {tally.judgement.bought_twice}\n"
            )
    return tally


def kill_figures(*, kills: int, seed: int) -> list[Figure]:
    """Return the figures of the whole attack."""
    with memory_folder() as folder:
        tally = kill_campaigns(folder, kills=kills, seed=seed)
    verdict = tally.judgement
    sys.stderr.writelines(f"{line}\n" for line in verdict.missing)
    named = sum(count for name, count in tally.by_name.items() if name != "at random")
    fewest = min(failpoints.NAMES, key=lambda name: tally.by_name[name])
    return [
        at_least(PART, "kills, of which", tally.kills, kills),
        at_least(PART, "  at a named boundary", named, kills // 10),
        at_least(PART, f"  at {fewest}, which has the fewest", tally.by_name[fewest], int(kills >= 500)),
        at_least(PART, "campaigns of 44 jobs, 2 workers", tally.campaigns, 1),
        at_least(PART, "requests accepted", verdict.accepted, 1),
        at_least(PART, "bad replies and other faults", verdict.bad_replies, kills // 4),
        at_least(PART, "files used again after a kill", verdict.reused, 1),
        none_of(PART, "bought twice", verdict.bought_twice),
        none_of(PART, "paid and lost", verdict.lost),
        none_of(PART, "corrupt files", verdict.corrupt),
        none_of(PART, "purchases past the budget", verdict.over_budget),
        none_of(PART, "campaigns above the cap on slots", verdict.over_slots),
        at_most(PART, "open at the provider at once", verdict.open_max, SLOTS),
        none_of(PART, "broken promises of the ledger", verdict.broken_promises),
        none_of(PART, "jobs that never ended", verdict.unfinished),
        none_of(PART, "part files left", verdict.parts_left),
        none_of(PART, "workers that ended with an error", verdict.crashes),
    ]


def memory_folder() -> TemporaryDirectory[str]:
    """A folder in memory where the system has such a file system: kills do not test the disk."""
    memory = Path("/dev/shm")
    return _PathDirectory(dir=memory if memory.is_dir() else None)


class _PathDirectory(TemporaryDirectory):
    def __enter__(self) -> Path:
        return Path(super().__enter__())
