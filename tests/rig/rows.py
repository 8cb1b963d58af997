"""Manifests full of mistakes: no crash, and every bad row is named with its column, and no good one."""

import csv
import random
import time
from collections import defaultdict
from pathlib import Path

from callsheet.errors import ManifestError
from manifests.planner import make_plan
from tests.rig.figures import Figure, at_least, none_of
from tests.rig.kills import memory_folder

ROWS_PER_FILE = 10_000
BAD_SHARE = 0.1
COLUMNS = (
    "custom_id",
    "prompt",
    "model",
    "resolution",
    "aspect_ratio",
    "duration",
    "num_frames",
    "camera_fixed",
    "seed",
    "enable_safety_checker",
    "priority",
    "image_url",
    "note",
)

NO_NUMBERS = ("five", "5.5", "NaN", "Infinity", "1e5000000", "-1", "0x10", "\u0665 \u0665", "1" * 5000, "--5")

BAD: dict[str, tuple[str, ...]] = {
    "prompt": ("", "   ", "\t"),
    "model": ("sora", "seedance", "fal-ai/other/model", "\u202eseedance-1.0-pro", "a" * 9000),
    "resolution": ("999p", "4k", "721", "720P!", "1080i"),
    "aspect_ratio": ("7:3", "16-9", "wide", "0:0", "16:9:1"),
    "duration": (*NO_NUMBERS, "1", "13", "99"),
    "num_frames": (*NO_NUMBERS, "28", "290", "1"),
    "camera_fixed": ("maybe", "2", "tru e", "[]"),
    "seed": ("abc", "1.5", "NaN", "1e400", "9" * 400),
    "enable_safety_checker": ("perhaps", "-", "2"),
    "priority": ("high", "1.5", "NaN", "1e9999999"),
    "image_url": (
        "ftp://example.com/a.png",
        "nowhere/at/all.png",
        "data:image/png;base64,%%%",
        "file:///etc/passwd",
    ),
}
"""Column -> cells that no row may have there."""

HARMLESS = (
    "=SUM(A1:A9)",
    'a "quoted" word, and a comma',
    "two\nlines",
    "[Push in] slowly [not a camera word]",
    "\U0001f680 emoji \u200d and \u0301 marks",
    "{braces} and %s and \\n",
    "x" * 400,
)


def row_figures(*, rows: int, seed: int) -> list[Figure]:
    """Return the figures of so many fuzzed rows."""
    part, rng = "fuzzed rows", random.Random(seed)
    checked = bad = missed = wronged = crashes = 0
    begun = time.monotonic()
    with memory_folder() as folder:
        while checked < rows:
            wanted = write_manifest(folder / "shots.csv", min(ROWS_PER_FILE, rows - checked), rng)
            try:
                named = _named(folder / "shots.csv")
            except Exception as error:  # noqa: BLE001 - a crash is what is counted
                print(f"crash: {type(error).__name__}: {str(error)[:300]}")  # noqa: T201
                crashes += 1
                named = {}
            checked += ROWS_PER_FILE
            bad += len(wanted)
            missed += sum(column not in named.get(row, ()) for row, column in wanted.items())
            wronged += len(set(named) - set(wanted))
    return [
        at_least(part, "rows", checked, rows),
        at_least(part, "rows with a mistake", bad, int(rows * BAD_SHARE * 0.8)),
        at_least(part, "rows a second", int(checked / (time.monotonic() - begun)), 1),
        none_of(part, "crashes", crashes),
        none_of(part, "bad rows that were not named, or not by their column", missed),
        none_of(part, "good rows that were called bad", wronged),
    ]


def write_manifest(path: Path, rows: int, rng: random.Random) -> dict[int, str]:
    """Write a manifest; return the number of each bad row, as a spreadsheet shows it, and what is bad."""
    wanted: dict[int, str] = {}
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        for number in range(2, rows + 2):
            row = _good_row(number, rng)
            if rng.random() < BAD_SHARE:
                wanted[number] = _spoil(row, rng)
            out.writerow(row)
    return wanted


def _good_row(number: int, rng: random.Random) -> dict[str, str]:
    model = rng.choice(("seedance-1.0-pro", "seedance-1.0-pro-fast", "seedance-1.0-lite"))
    row = {
        "custom_id": f"shot-{number}",
        "prompt": f"{number} {rng.choice(HARMLESS)}",
        "model": model,
        "resolution": rng.choice(("480p", "720p", "1080p", "")),
        "aspect_ratio": rng.choice(("16:9", "9:16", "1:1", "")),
        "duration": rng.choice(("", "2", "5", "10", "12")),
        "seed": rng.choice(("", "0", "7", "2147483647")),
        "camera_fixed": rng.choice(("", "true", "FALSE", "yes", "no")),
        "enable_safety_checker": rng.choice(("", "true", "false")),
        "priority": rng.choice(("", "0", "9", "-3")),
        "note": rng.choice(HARMLESS),
    }
    if model != "seedance-1.0-pro" and rng.random() < 0.2:  # which takes no frames
        row["num_frames"] = str(rng.randint(29, 289))
    return row


def _spoil(row: dict[str, str], rng: random.Random) -> str:
    column = rng.choice(list(BAD))
    row[column] = rng.choice(BAD[column])
    return column


def _named(manifest: Path) -> dict[int, set[str]]:
    """Plan, and return the columns that were found wrong, by row."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    try:
        make_plan(manifest)
    except ManifestError as error:
        for problem in error.problems:
            found[problem.row].add(problem.column)
    return dict(found)
