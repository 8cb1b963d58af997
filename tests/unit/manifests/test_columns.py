"""Every column: what it takes, what it refuses, and what becomes of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from callsheet.errors import ManifestError, Problem
from manifests.columns import COLUMNS, PROMPT_MAX_CHARS, SEED_MAX, column_by_words, likely_column
from manifests.job import Job
from manifests.planner import make_plan

FAST, LITE, PRO, SOUND = "seedance-1.0-pro-fast", "seedance-1.0-lite", "seedance-1.0-pro", "seedance-1.5-pro"
PICTURE = "https://example.com/a.png"
BASE = "fal-ai/bytedance/seedance/v1"


def _write(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "shots.csv"
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _row(**cells: str) -> dict[str, str]:
    return {"prompt": "A fox runs", "model": FAST, **cells}


def _job(folder: Path, **cells: str) -> Job:
    (planned,) = make_plan(_write(folder, _row(**cells))).jobs
    return planned.job


def _problems(folder: Path, **cells: str) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        make_plan(_write(folder, _row(**cells)))
    return caught.value.problems


TRUE = [
    "true",
    "TRUE",
    "Yes",
    "1",
    "1.0",
    "WAHR",
    "ja",
    "y",
    "on",
    "checked",
    "VRAI",
    "oui",
    "VERDADERO",
    "si",
    "sí",
    "SÍ",
    "VERO",
]
FALSE = ["false", "No", "0", "0.0", "FALSCH", "nein", "n", "off", "unchecked", "FAUX", "non", "FALSO"]

GOOD: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {"resolution": "1080p", "aspect_ratio": "16:9", "duration_s": 5, "num_frames": None, "seed": None}),
    (
        {},
        {
            "priority": 0,
            "take": 1,
            "camera_fixed": None,
            "enable_safety_checker": None,
            "generate_audio": None,
        },
    ),
    ({"model": LITE}, {"resolution": "720p"}),
    ({"model": SOUND}, {"resolution": "720p", "generate_audio": True}),
    ({"model": "SEEDANCE-1.0-Pro"}, {"resolution": "1080p"}),
    *(({"model": text}, {"resolution": "1080p"}) for text in ("Seedance 1.0 Pro", "seedance_1.0_PRO")),
    ({"resolution": "720P"}, {"resolution": "720p"}),
    ({"aspect_ratio": "9:16"}, {"aspect_ratio": "9:16"}),
    *(
        ({"aspect_ratio": text}, {"aspect_ratio": "9:16"})
        for text in ("9x16", "9X16", "9\u00d716", "9/16", "9 : 16", "9\uff1a16")
    ),
    *(
        ({"aspect_ratio": text}, {"aspect_ratio": "16:9"})
        for text in ("16:09", "16:09:00", "0.672916666666667", "0.6729166667", "0,672916666666667")
    ),
    *(({"aspect_ratio": text}, {"aspect_ratio": "1:1"}) for text in ("01:01", "1:01", "1:01:00")),
    ({"aspect_ratio": "9:21", "model": LITE}, {"aspect_ratio": "9:21"}),
    ({"aspect_ratio": "AUTO", "model": SOUND}, {"aspect_ratio": "auto"}),
    ({"image_url": PICTURE}, {"aspect_ratio": "auto"}),
    ({"image_url": PICTURE, "model": SOUND}, {"aspect_ratio": "16:9"}),
    *(
        ({"duration": text}, {"duration_s": 7})
        for text in ("7", "7.0", "7s", "7 s", "7 SEC", "7 seconds", " 07 ", "7,0", "7\u00a0s")
    ),
    ({"num_frames": "57"}, {"num_frames": 57, "duration_s": None}),
    ({"num_frames": "57.0", "duration": "9"}, {"num_frames": 57, "duration_s": None}),
    ({"num_frames": "289"}, {"num_frames": 289}),
    *(({"seed": text}, {"seed": None}) for text in ("-1", "-1.0", "")),
    *(({"seed": text}, {"seed": 7}) for text in ("7.0", "7.00", "7.000000")),
    ({"priority": "0.000"}, {"priority": 0}),
    *(({"seed": str(seed)}, {"seed": seed}) for seed in (0, 7, SEED_MAX)),
    *(({"camera_fixed": text}, {"camera_fixed": True}) for text in TRUE),
    *(({"camera_fixed": text}, {"camera_fixed": False}) for text in FALSE),
    ({"enable_safety_checker": "no"}, {"enable_safety_checker": False}),
    ({"generate_audio": "no", "model": SOUND}, {"generate_audio": False}),
    ({"generate_audio": "false"}, {"generate_audio": None}),
    *(({"priority": str(number)}, {"priority": number}) for number in (-1000, 0, 1000)),
    ({"take": "3"}, {"take": 3}),
    ({"client": " Ümit & Co / Berlin "}, {"client": "Ümit & Co / Berlin"}),
    ({"custom_id": "Scene 1 (a)"}, {"custom_id": "Scene 1 (a)", "output_name": "Scene-1-a"}),
    ({"output_name": "acme/hero_1.MP4"}, {"output_name": "acme/hero_1"}),
    ({"output_name": "acme/hero_1.mp4"}, {"output_name": "acme/hero_1"}),
    ({"output_name": "u\u0308"}, {"output_name": "\u00fc"}),
    ({"prompt": "Two\nlines, [Push in] and a tab\t"}, {"prompt": "Two\nlines, [Push in] and a tab"}),
    ({"prompt": "x" * PROMPT_MAX_CHARS}, {}),
    ({"note": " kept as it is ", "prompt2": ""}, {"extra": {"note": " kept as it is ", "prompt2": ""}}),
]


@pytest.mark.parametrize(("cells", "fields"), GOOD)
def test_good_values(tmp_path: Path, cells: dict[str, str], fields: dict[str, Any]) -> None:
    """What is plainly meant is taken, and what is empty becomes the endpoint's own default."""
    job = _job(tmp_path, **cells)
    assert {name: getattr(job, name) for name in fields} == fields


BAD: list[tuple[dict[str, str], str, str]] = [
    ({"prompt": "  "}, "prompt", "must not be empty"),
    *(
        ({"prompt": text}, "prompt", "must not be empty")
        for text in (
            "\u200b",
            "\u2060 \ufeff",
            "\u00ad",
            "\u200e\u200f",
            "\u3164\u00a0\u3164",
            "\ufe0f\n\u2800",
        )
    ),
    ({"prompt": "Loading..."}, "prompt", "this formula failed"),
    ({"resolution": "Loading..."}, "resolution", "this formula failed"),
    ({"prompt": "x" * (PROMPT_MAX_CHARS + 1)}, "prompt", "at most 5,000 characters"),
    ({"prompt": "a\x00b"}, "prompt", "control characters"),
    ({"note": "\x1b]52;c;x\x07"}, "note", "control characters"),
    ({"model": ""}, "model", "name a model"),
    ({"model": "seedance-1.0-pro-fats"}, "model", "did you mean seedance-1.0-pro-fast?"),
    ({"model": "sora"}, "model", "allowed are seedance-1.0-lite"),
    *(({"resolution": text}, "resolution", "480p, 720p, 1080p") for text in ("721", "4k", "1080i")),
    ({"aspect_ratio": "auto"}, "aspect_ratio", "allows 21:9, 16:9"),
    ({"aspect_ratio": "9:21"}, "aspect_ratio", "allows 21:9, 16:9"),
    *(
        ({"aspect_ratio": text}, "aspect_ratio", "allows 21:9")
        for text in ("16-9", "16x10", "0.7", "16xx9", "16:10:00", "16:09:09", "0.673")
    ),
    *(
        ({"duration": text}, "duration", "from 2 to 12")
        for text in ("1", "13", "2.5", "five", "-5", "5m", "1e1", "5,000", "\N{ARABIC-INDIC DIGIT FIVE}")
    ),
    ({"duration": "3", "model": SOUND}, "duration", "from 4 to 12"),
    ({"duration": "9" * 5000}, "duration", "from 2 to 12"),
    *(({"num_frames": text}, "num_frames", "29 to 289") for text in ("28", "290", "x", "1e5000000", "57.5")),
    ({"num_frames": "57", "model": SOUND}, "num_frames", "takes no num_frames"),
    *(
        ({"seed": text}, "seed", "from -1 to 2147483647")
        for text in ("-2", str(SEED_MAX + 1), "x", "1.5", "9" * 5000)
    ),
    *(({"camera_fixed": text}, "camera_fixed", "true and false") for text in ("maybe", "2", "t", "2.0")),
    ({"enable_safety_checker": "x"}, "enable_safety_checker", "true and false"),
    ({"generate_audio": "true"}, "generate_audio", "makes no sound; with sound: seedance-1.5-pro"),
    *(({"priority": text}, "priority", "from -1000 to 1000") for text in ("1001", "-1001", "high", "1.5")),
    *(({"take": text}, "take", "from 1 to 1000000") for text in ("0", "1000001", "A")),
    *(
        ({name: text}, name, f"{text} may mean {text[:-4]}000 or {text[:-4]}: write it without the point")
        for name, text in (
            ("seed", "1.000"),
            ("priority", "-1.000"),
            ("take", "10.000"),
            ("num_frames", "101.000"),
        )
    ),
    ({"client": "x" * 121}, "client", "at most 120"),
    ({"client": "a\nb"}, "client", "line breaks"),
    ({"custom_id": "a\tb"}, "custom_id", "line breaks"),
    ({"custom_id": "a\N{RIGHT-TO-LEFT OVERRIDE}b"}, "custom_id", "invisible characters"),
    *(
        ({"output_name": text}, "output_name", "not a safe file name")
        for text in (
            "../x",
            "/etc/x",
            "a b",
            "a\\b",
            ".hidden",
            "-x",
            "x.",
            "CON",
            "com1.x",
            "a.MP4/b",
            "a//b",
            "\u3164",
            "\u0308u",
            "茶" * 61,
            "x" * 101,
        )
    ),
    *(
        ({"image_url": f"{PICTURE}{text}"}, "image_url", "here are several addresses; one is allowed")
        for text in (
            ",https://e.com/b.png",
            ",HTTP://e.com/b.png",
            ", https://e.com/b.png",
            ",data:image/png;base64,AA",
        )
    ),
    (
        {"reference_image_urls": f"{PICTURE},{PICTURE}", "model": LITE},
        "reference_image_urls",
        "separate files with ';'",
    ),
    *(
        (
            {"image_url": text},
            "image_url",
            "this formula failed in the spreadsheet, or the picture is placed in the cell",
        )
        for text in ("#VALUE!", "#WERT!", "Loading...")
    ),
    ({"end_image_url": PICTURE, "model": PRO}, "end_image_url", "a last frame needs a first one"),
    ({"end_image_url": PICTURE, "image_url": PICTURE}, "end_image_url", "these do: seedance-1.0-lite"),
    ({"reference_image_urls": PICTURE}, "reference_image_urls", "these models do: seedance-1.0-lite"),
    (
        {"reference_image_urls": " | ".join([PICTURE] * 5), "model": LITE},
        "reference_image_urls",
        "5 pictures; 1 to 4",
    ),
    (
        {"reference_image_urls": PICTURE, "image_url": PICTURE, "model": LITE},
        "reference_image_urls",
        "do not go with image_url",
    ),
    (
        {"model": f"{BASE}/pro/text-to-video", "image_url": PICTURE},
        "image_url",
        "set model to seedance-1.0-pro",
    ),
    ({"model": f"{BASE}/pro/image-to-video"}, "image_url", "needs image_url"),
]


@pytest.mark.parametrize(("cells", "column", "message"), BAD)
def test_bad_values(tmp_path: Path, cells: dict[str, str], column: str, message: str) -> None:
    """What is not allowed is one mistake, in its row and column, and the message says what is allowed."""
    (problem,) = _problems(tmp_path, **cells)
    assert (problem.row, problem.column) == (2, column)
    assert message in problem.message


@pytest.mark.parametrize(
    ("cells", "endpoint"),
    [
        ({"model": FAST}, "v1/pro/fast/text-to-video"),
        ({"model": FAST, "image_url": PICTURE}, "v1/pro/fast/image-to-video"),
        ({"model": PRO, "image_url": PICTURE, "end_image_url": PICTURE}, "v1/pro/image-to-video"),
        ({"model": LITE, "reference_image_urls": f"{PICTURE}\n{PICTURE}?2"}, "v1/lite/reference-to-video"),
        (
            {"model": f"{BASE}/lite/reference-to-video", "reference_image_urls": PICTURE},
            "v1/lite/reference-to-video",
        ),
        ({"model": f"{BASE}/pro/text-to-video"}, "v1/pro/text-to-video"),
        ({"model": SOUND, "image_url": PICTURE}, "v1.5/pro/image-to-video"),
    ],
)
def test_pictures_choose_the_endpoint(tmp_path: Path, cells: dict[str, str], endpoint: str) -> None:
    """A model's alias and the pictures of the row say which endpoint is meant."""
    assert _job(tmp_path, **cells).endpoint.id == f"fal-ai/bytedance/seedance/{endpoint}"


def test_every_mistake_of_a_row_at_once(tmp_path: Path) -> None:
    """A wrong model does not hide the other mistakes of its row."""
    problems = _problems(tmp_path, model="sora", duration="99", resolution="8k", seed="x", camera_fixed="?")
    assert {problem.column for problem in problems} == {
        "model",
        "duration",
        "resolution",
        "seed",
        "camera_fixed",
    }


@pytest.mark.parametrize(
    ("cells", "column", "found", "message"),
    [
        ({"prompt": "A fox [Dolly zoom]"}, "prompt", "[Dolly zoom]", "known are Truck left, Truck right"),
        ({"prompt": "A fox [Push in, Crane]"}, "prompt", "[Crane]", "known are"),
        ({"num_frames": "100"}, "num_frames", "100", "25 + 4 x n"),
        ({"promt": "x"}, "promt", "", "did you mean prompt?"),
        ({"aspect ration": "16:9"}, "aspect ration", "", "did you mean aspect_ratio?"),
        ({"image": "x.png"}, "image", "", "did you mean image_url?"),
        (
            {"Video length": "5"},
            "Video length",
            "",
            "not a Callsheet column, copied to the results; did you mean dur",
        ),
        ({"Video length": "5", "duration": ""}, "Video length", "", "did you mean duration?"),
    ],
)
def test_warnings(tmp_path: Path, cells: dict[str, str], column: str, found: str, message: str) -> None:
    """What may be meant as it stands is planned, with a warning."""
    (warning,) = make_plan(_write(tmp_path, _row(**cells))).warnings
    assert (warning.column, warning.found) == (column, found)
    assert message in warning.message


def test_equal_warnings_become_one(tmp_path: Path) -> None:
    """A warning that many rows earn names the first of them and counts the others."""
    rows = [_row(prompt=f"Fox {at} [Crane]") for at in range(30)]
    (warning,) = make_plan(_write(tmp_path, *rows)).warnings
    assert (warning.row, warning.message[-18:]) == (2, "(and 29 more rows)")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("promt", "prompt"),
        ("Prompt", "prompt"),
        ("num-frames", "num_frames"),
        ("takes", "take"),
        ("budget", None),
    ],
)
def test_likely_columns(name: str, ours: str | None) -> None:
    """A misspelt column is recognised; an ordinary column of the customer's is not."""
    assert likely_column(name) == ours


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ("Duration in seconds|Length (sec)|Video length|ClipLength|Secs|Dauer|clip_length_s", "duration"),
        ("Output resolution|AUFLÖSUNG|Auflo\u0308sung", "resolution"),
        ("Start Image URL|Start frame|Images|Image File|Keyframe|image1|MainImage", "image_url"),
        ("End frame|Last image", "end_image_url"),
        ("Reference pictures", "reference_image_urls"),
        ("With audio|Ton|Sound?", "generate_audio"),
        ("Variants|Number of takes|Quantity", "take"),
        ("Format|Ratio (W:H)", "aspect_ratio"),
        ("Number of frames", "num_frames"),
        ("Random seed", "seed"),
        ("AI model", "model"),
        ("Video prompt", "prompt"),
        ("Image credit|Frame rate|Model release|Lengthy|Soundtrack|note|budget|Tonne|Second-hand", None),
    ],
)
def test_columns_by_a_word_of_the_header(headers: str, ours: str | None) -> None:
    """A header names a column of ours by one of its words, unless another says that it is something else."""
    assert {column_by_words(header) for header in headers.split("|")} == {ours}


def test_a_word_of_ours_is_no_doubt_beside_the_filled_column(tmp_path: Path) -> None:
    """`Product image` is the customer's own where image_url holds pictures, if only in some of the rows."""
    rows = [_row(image_url="", **{"Product image": "x.png"}), _row(image_url=PICTURE, seed="1")]
    assert make_plan(_write(tmp_path, *rows)).warnings == ()


def test_another_word_is_no_mistake_beside_the_column_itself() -> None:
    """`description` beside `prompt` is the customer's own column."""
    assert likely_column("description", {"prompt"}) is None


def test_declaration_names_fields_that_exist(tmp_path: Path) -> None:
    """Whatever the declaration refers to in an endpoint is really there."""
    endpoint = _job(tmp_path).endpoint
    for column in COLUMNS:
        for attribute in ("allowed", "default", "bounds", "where"):
            field = getattr(column.kind, attribute, None)
            assert not isinstance(field, str) or not field or hasattr(endpoint, field)
