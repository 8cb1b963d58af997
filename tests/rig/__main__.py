"""`python -m tests.rig [--quick] [--seed N] [part ...]`: attack, and print one table of figures."""

import argparse
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict

import callsheet.sandbox.video  # noqa: F401

# Everything that a fork would otherwise import by itself, again and again.
from tests.rig.bodies import body_figures
from tests.rig.crowd import crowd_figures, has_server
from tests.rig.figures import Figure, table
from tests.rig.kills import kill_figures
from tests.rig.planted import planted_figures
from tests.rig.power import power_figures
from tests.rig.replies import reply_figures
from tests.rig.rows import row_figures
from tests.rig.shards import shard_figures

Part = Callable[[int], list[Figure]]

FULL: dict[str, Part] = {
    "kills": lambda seed: kill_figures(kills=1_000, seed=seed),
    "planted": lambda seed: planted_figures(kills=100, rounds=5, seed=seed),
    "crowd": lambda _: [*crowd_figures("sqlite", rounds=20), *_on_postgres(rounds=20)],
    "power": lambda seed: power_figures(cuts=2_000, seed=seed),
    "replies": lambda _: reply_figures(jobs=50),
    "bodies": lambda seed: body_figures(bodies=3_000, seed=seed),
    "rows": lambda seed: row_figures(rows=1_000_000, seed=seed),
    "shards": lambda seed: shard_figures(jobs=2_000, seed=seed),
}

QUICK: dict[str, Part] = {
    "kills": lambda seed: kill_figures(kills=10, seed=seed),
    "planted": lambda seed: planted_figures(kills=8, rounds=2, seed=seed),
    "crowd": lambda _: [*crowd_figures("sqlite", rounds=2), *_on_postgres(rounds=2)],
    "power": lambda seed: power_figures(cuts=60, seed=seed),
    "replies": lambda _: reply_figures(jobs=2),
    "bodies": lambda seed: body_figures(bodies=60, seed=seed),
    "rows": lambda seed: row_figures(rows=10_000, seed=seed),
    "shards": lambda seed: shard_figures(jobs=60, seed=seed),
}


def _on_postgres(*, rounds: int) -> list[Figure]:
    if has_server():
        return crowd_figures("postgres", rounds=rounds)
    return [Figure("8 processes, postgres", "no server answers", "-", "a server", ok=False)]


def main() -> int:
    """Attack. Returns 0 where every figure is what it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.rig", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"all, or some of: {', '.join(FULL)}")
    parser.add_argument("--quick", action="store_true", help="small numbers: the tier of `make test`")
    parser.add_argument("--seed", type=int, default=11, help="other kills, other faults, other cuts")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(FULL):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are: {', '.join(FULL)}")
    tier = QUICK if given.quick else FULL
    figures = list(_attacked({name: tier[name] for name in given.parts or tier}, given.seed))
    text = json.dumps([asdict(figure) for figure in figures]) if given.json else table(figures)
    sys.stdout.write(f"{text}\n")
    return 0 if all(figure.ok for figure in figures) else 1


def _attacked(parts: dict[str, Part], seed: int) -> Iterator[Figure]:
    for name, part in parts.items():
        begun = time.monotonic()
        try:
            figures = part(seed)
        except Exception as error:  # noqa: BLE001 -- the other parts have something to say all the same
            traceback.print_exception(error)
            figures = [Figure(name, "came to its end", type(error).__name__, "no error", ok=False)]
        # A picture that is freed in a forked child waits for FFmpeg's threads, which are not there.
        gc.collect()
        sys.stderr.write(f"{table(figures)}\n{name}: {time.monotonic() - begun:.0f} s\n")
        yield from figures


if __name__ == "__main__":
    sys.exit(main())
