"""Many mistakes in many rows: all of them at once, in the words a person can act on."""
# ruff: noqa: E501  # golden text stands as it is printed

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from callsheet.errors import ManifestError, Problem
from manifests.columns import COLUMNS
from manifests.planner import make_plan

HEADER = "custom_id,prompt,model,image_url,end_image_url,aspect_ratio,resolution,duration,num_frames,seed,generate_audio,output_name"
ROWS = """\
a1,A fox,seedance-1.0-pro-fast,,,16:9,720p,5,,,,
a2,,seedance-1.0-pro-fast,,,,,,,,,
a3,A fox,seedance-2-pro,,,,,,,,,
a4,A fox,seedance-1.0-pro-fast,,,16:10,,,,,,
a5,A fox,seedance-1.0-pro-fast,,,,4k,,,,,
a6,A fox,seedance-1.0-pro-fast,,,,,13,,,,
a7,A fox,seedance-1.0-pro-fast,,,,,2.5,,,,
a8,A fox,seedance-1.5-pro,,,,,3,,,,
a9,A fox,seedance-1.0-pro-fast,,,,,,300,,,
a10,A fox,seedance-1.5-pro,,,,,,121,,,
a11,A fox,seedance-1.0-pro-fast,,,,,,,4294967296,,
a12,A fox,seedance-1.0-pro-fast,,,,,,,,yes,
a13,A fox,seedance-1.5-pro,,,,,,,,perhaps,
a14,A fox,seedance-1.0-pro-fast,ftp://example.com/a.png,,,,,,,,
a15,A fox,seedance-1.0-pro-fast,gone.png,,,,,,,,
a16,A fox,seedance-1.0-pro-fast,https://me:secret@example.com/a.png,,,,,,,,
a17,A fox,seedance-1.0-pro,,https://example.com/a.png,,,,,,,
a18,A fox,seedance-1.0-pro-fast,https://example.com/a.png,https://example.com/b.png,,,,,,,
a19,A fox,seedance-1.0-pro-fast,,,,,,,,,../a
a1,A cat,seedance-1.0-pro-fast,,,,,,,,,
a21,A dog,seedance-1.0-pro-fast,,,,,,,,,Hero
a22,A dog runs,seedance-1.0-pro-fast,,,,,,,,,hero
a23,A dog,seedance-1.0-pro-fast
"""
GOLDEN = """\
shots.csv, row 3, column prompt: this cell must not be empty
shots.csv, row 4, column model: found seedance-2-pro: allowed are seedance-1.0-lite, seedance-1.0-pro, seedance-1.0-pro-fast, seedance-1.5-pro, seedance-2.0, seedance-2.0-fast, seedance-2.0-mini, seedance-2.0-us, seedance-2.5, seedance-2.5-us, or an endpoint's id
shots.csv, row 5, column aspect_ratio: found 16:10: seedance-1.0-pro-fast text-to-video allows 21:9, 16:9, 4:3, 1:1, 3:4, 9:16
shots.csv, row 6, column resolution: found 4k: seedance-1.0-pro-fast text-to-video allows 480p, 720p, 1080p
shots.csv, row 7, column duration: found 13: seedance-1.0-pro-fast text-to-video allows whole seconds from 2 to 12, like 5 or 5s
shots.csv, row 8, column duration: found 2.5: seedance-1.0-pro-fast text-to-video allows whole seconds from 2 to 12, like 5 or 5s
shots.csv, row 9, column duration: found 3: seedance-1.5-pro text-to-video allows whole seconds from 4 to 12, like 5 or 5s
shots.csv, row 10, column num_frames: found 300: a whole number from 29 to 289 is allowed
shots.csv, row 11, column num_frames: found 121: seedance-1.5-pro text-to-video takes no num_frames; give duration
shots.csv, row 12, column seed: found 4294967296: a whole number from -1 to 2147483647 is allowed
shots.csv, row 13, column generate_audio: found yes: seedance-1.0-pro-fast text-to-video makes no sound; with sound: seedance-1.5-pro, seedance-2.0, seedance-2.0-fast, seedance-2.0-mini, seedance-2.0-us, seedance-2.5, seedance-2.5-us
shots.csv, row 14, column generate_audio: found perhaps: allowed are true and false (or yes and no, 1 and 0)
shots.csv, row 15, column image_url: found ftp://example.com/a.png: ftp: URLs are not supported; use a path, https://, s3:// or data:
shots.csv, row 16, column image_url: found gone.png: there is no file ~/gone.png
shots.csv, row 17, column image_url: found https://[hidden]@example.com/a.png: a name or password in an address would be sent on to fal; use a presigned address
shots.csv, row 18, column end_image_url: found https://example.com/a.png: a last frame needs a first one; fill image_url as well
shots.csv, row 19, column end_image_url: found https://example.com/b.png: seedance-1.0-pro-fast image-to-video takes no end_image_url; these do: seedance-1.0-lite, seedance-1.0-pro, seedance-1.5-pro, seedance-2.0, seedance-2.0-fast, seedance-2.0-mini, seedance-2.0-us, seedance-2.5, seedance-2.5-us
shots.csv, row 20, column output_name: found ../a: not a safe file name; allowed are letters, digits, '.', '_', '-' (and '/' between folders), at most 100 characters and 180 bytes, not beginning with '.' or '-', not ending with '.', no device name such as CON
shots.csv, row 21, column custom_id: found a1: row 2 has the same custom_id; every row needs its own
shots.csv, row 23, column output_name: found hero: row 22 has this output_name too (upper and lower case are one name)
shots.csv, row 24: found 3 cells: the header has 12; is a separator or a quote missing?
"""


def test_twenty_mistakes_and_their_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mistake of every row is named at once, in row order, with what was found and what is allowed."""
    monkeypatch.chdir(tmp_path)
    Path("shots.csv").write_text(f"{HEADER}\n{ROWS}")
    problems = _problems(Path("shots.csv"))
    assert len(problems) >= 20
    lines = [str(problem).replace(str(tmp_path.resolve()), "~") for problem in problems]
    assert "\n".join(lines) + "\n" == GOLDEN


def _problems(path: Path) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        make_plan(path)
    return caught.value.problems


def test_a_manifest_without_the_columns_it_needs(tmp_path: Path) -> None:
    """A missing column is said once, for the file, and the column that was meant is named."""
    (tmp_path / "shots.csv").write_text("Promt,seed\n" + "A fox,1\n" * 5)
    problems = _problems(tmp_path / "shots.csv")
    assert [(problem.row, problem.column) for problem in problems] == [(0, "prompt"), (0, "model")]
    assert "is 'Promt' meant? Rename it" in problems[0].message
    assert "set it under [defaults]" in problems[1].message


HOSTILE = [
    "\x00",
    "\x1b[2J",
    "\x7f",
    "\u202e",
    "=cmd|' /C calc'!A0",
    "{row.__class__}",
    "{0!r:>999999999}",
    "../../etc/passwd",
    "file:///etc/passwd",
    "/dev/zero",
    "data:image/png;base64,AAAA",
    "data:,",
    "http://",
    "http://[::1",
    "http://a:b@c",
    "http://x:99999",
    "1e5000000",
    "9" * 5000,
    "-0",
    "NaN",
    "Infinity",
    "\N{FULLWIDTH DIGIT ONE}",
    "½",
    "true\tfalse",
    "'; DROP TABLE job; --",
    "<script>alert(1)</script>",
    "a" * 6000,
    "[" * 500,
    "[a]" * 500,
    "\\n",
    "CON",
    ".",
    "..",
    "~root/x.png",
    "C:\\x.png",
    "s3://b/k",
    "16:09:00",
    " ",
    "\u00a0",
    "é",
    "\u0301",
    "👩‍👩‍👧",
]


def test_ten_thousand_hostile_rows(tmp_path: Path) -> None:
    """Whatever stands in the cells, nothing crashes, and every row that cannot be made is named."""
    rng = random.Random(20261121)
    names = [column.name for column in COLUMNS]
    good = {"prompt": "A fox", "model": "seedance-1.0-pro-fast"}
    rows, planted = [], set()
    for number in range(1, 10_001):
        cells = {**good, "custom_id": f"id-{number}"}
        for name in rng.sample(names, rng.randint(1, 4)):
            cells[name] = rng.choice(HOSTILE)
        if rng.random() < 0.3:
            cells["seed"] = "no number"
            planted.add(number)
        rows.append(json.dumps(cells))
    (tmp_path / "hostile.jsonl").write_text("\n".join(rows))
    problems = _problems(tmp_path / "hostile.jsonl")
    assert planted <= {problem.row for problem in problems if problem.column == "seed"}
    assert all(problem.message and problem.column in names for problem in problems)
    assert all(str(problem).isprintable() for problem in problems)
    assert [problem.row for problem in problems] == sorted(problem.row for problem in problems)
    _rows_without_a_mistake_can_be_made(tmp_path, rows, {problem.row for problem in problems})


def _rows_without_a_mistake_can_be_made(folder: Path, rows: list[str], bad: set[int]) -> None:
    good = [line for number, line in enumerate(rows, 1) if number not in bad]
    assert 0 < len(good) < len(rows)
    (folder / "good.jsonl").write_text("\n".join(good))
    assert len(make_plan(folder / "good.jsonl").jobs) == len(good)
