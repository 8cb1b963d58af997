"""Many rows at once and one by one: the same mistakes, the same jobs, the same prices, the same hash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callsheet.errors import Problem
from manifests.campaign import Campaign
from manifests.columns import COLUMN
from manifests.images import PictureFinder
from manifests.kinds import Context
from manifests.notes import Notes
from manifests.plan import Summary, summary_of
from manifests.planning_rows import planned_rows
from manifests.template import Template, parse_template
from pricing.catalog import load_catalog

CATALOG = load_catalog()
PAD = st.sampled_from(["", "", "", " ", "\u3000"])
TEXTS: dict[str, list[str]] = {
    "custom_id": [
        "",
        "a",
        "b",
        "A",
        "é",
        "e\u0301",
        "x y",
        "con",
        "n" * 121,
        "tab\tbed",
        "shot/1",
        "null\x00",
    ],
    "prompt": [
        "A fox",
        "A cat [Push in]",
        "[Slow zoom, Push in] [Pan left]",
        "雨の街",
        "",
        "x" * 5001,
        "\x1b",
    ],
    "model": [
        *CATALOG.models,
        "Seedance-1.0-PRO",
        *list(CATALOG.endpoints)[:4],
        "seedance-1.0-pr",
        "veo",
        "",
    ],
    "image_url": [
        "",
        "",
        "",
        "https://example.com/a.png",
        "a.png",
        "b.png",
        "gone.png",
        "ftp://x/y",
        "HTTPS://h/x",
    ],
    "end_image_url": ["", "", "", "https://example.com/b.png", "a.png", "http://u:p@h/x"],
    "reference_image_urls": ["", "", "", "https://h/1.png | https://h/2.png", "a.png | https://h/3.png"],
    "aspect_ratio": ["", "16:9", "9:16", "9:21", "auto", "AUTO", "16:09", "16:10"],
    "resolution": ["", "480p", "720P", "1080p", "4k"],
    "duration": ["", "5", "5s", "2", "3", "12", "13", "2.5", "5 sec"],
    "num_frames": ["", "", "", "29", "30", "289", "290", "x"],
    "camera_fixed": ["", "true", "FALSE", "perhaps"],
    "enable_safety_checker": ["", "yes", "0"],
    "generate_audio": ["", "true", "no", "?"],
    "seed": ["", "-1", "7", "7.0", "+7", "-2", "4294967296", "many"],
    "priority": ["", "3", "-1000", "1001"],
    "take": ["", "1", "2", "0"],
    "client": ["", "acme", "Zoë", "b\u200bd", "c" * 121],
    "output_name": ["", "", "", "hero", "Hero.mp4", "../a", "a/b", "NUL.mp4", ".mp4"],
    "note": ["", " kept ", "x", "\x07"],
    "product": ["tea", "Käse", "", "a/b"],
}
NAMES = st.lists(st.sampled_from(sorted(TEXTS)), unique=True, max_size=9).map(
    lambda names: list(dict.fromkeys(["prompt", "model", *names]))
)


@st.composite
def manifests(draw: Any) -> tuple[list[str], list[list[str]]]:
    """Draw a header and rows of cells, many of them good and some of them twice."""
    names = draw(st.one_of(NAMES, st.just(["prompt", "model"]), st.just(list(TEXTS))))
    rarely_wrong = draw(st.booleans())

    def cells(name: str) -> Any:
        texts = TEXTS[name][: 4 if rarely_wrong else None]
        return st.builds(lambda text, pad: text + pad, st.sampled_from(texts), PAD)

    row = st.tuples(*(cells(name) for name in names)).map(list)
    return names, draw(st.lists(row, min_size=1, max_size=12))


NAMINGS = st.sampled_from(
    [None, "{client}/{custom_id}", "{client}-{custom_id}-{take}", "{product}{aspect_ratio}"]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures beside the manifest."""
    home = tmp_path_factory.mktemp("agrees")
    PIL.Image.new("RGB", (400, 400)).save(home / "a.png")
    PIL.Image.new("RGB", (800, 400)).save(home / "b.png")
    return home


Outcome = tuple[list[Problem], list[Problem], list[Any], Summary | None]


def _planned(folder: Path, few: int, **changes: Any) -> Outcome:
    campaign = replace(Campaign(name="c", manifest="m.parquet", folder=folder), **changes)
    notes = Notes()
    context = Context(CATALOG, PictureFinder.of(folder), campaign.naming)
    jobs, counted = planned_rows(campaign, context, notes, few=few)
    if notes.count:
        return notes.problems(), [], [], None
    return [], notes.warnings(), list(jobs), counted or summary_of(jobs)


def _both_ways(folder: Path, **changes: Any) -> Outcome:
    """Plan both ways, hold one against the other, return what they agree on."""
    singly, by_columns = _planned(folder, 10**9, **changes), _planned(folder, -1, **changes)
    assert by_columns[0] == singly[0]
    assert by_columns[1] == singly[1]
    for ours, theirs in zip(by_columns[2], singly[2], strict=True):
        assert (ours.job, ours.quote, ours.fingerprint) == (theirs.job, theirs.quote, theirs.fingerprint)
        assert _comparable(ours.cells) == _comparable(theirs.cells)
    assert by_columns[3] == singly[3]
    return by_columns


def _comparable(cells: Any) -> list[tuple[str, str]]:
    """Return cells with what may be spelled differently left out: numbers, and space around our own columns."""
    numbers = ("seed", "priority", "take")
    return [
        (name, "" if name in numbers else cell.strip() if name in COLUMN else cell)
        for name, cell in cells.items()
        if name not in ("custom_id", "output_name")
    ]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manifest=manifests(), naming=NAMINGS)
def test_every_row_means_the_same_both_ways(folder, manifest, naming):
    """Mistakes, warnings, jobs, prices, cells, totals and hash of generated rows agree, error for error."""
    names, rows = manifest
    pq.write_table(_table(names, rows), folder / "m.parquet")
    _both_ways(folder, naming=parse_template(naming) if naming else None)


def _table(names: Iterable[str], rows: list[list[str]]) -> pa.Table:
    return pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)})


__all__ = ["Template"]
