"""File names, ids and takes."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import ManifestError
from manifests import planner
from manifests.columnar.row_maker import slugs
from manifests.names import (
    PART_MAX_BYTES,
    PART_MAX_CHARS,
    file_part,
    folded,
    is_safe,
    safe_part,
    settled_ids,
    shortened,
    slug,
    with_hash,
)
from manifests.plan import Plan
from manifests.planner import make_plan
from manifests.validate import unknown_instructions

FAST = "seedance-1.0-pro-fast"


def _plan(folder: Path, *rows: dict[str, str]) -> Plan:
    path = folder / "shots.jsonl"
    full = ({"prompt": "A fox", "model": "seedance-1.0-pro-fast", **row} for row in rows)
    path.write_text("\n".join(map(json.dumps, full)), encoding="utf-8")
    return make_plan(path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Shot 1", "Shot-1"),
        ("a/b\\c", "a-b-c"),
        ("Frühling", "Fruhling"),
        ("..", "clip-5ec1f7e7"),
        ("CON", "CON-a3dbc4b6"),
        ("CON.txt", "CON-txt-09c8cc7e"),
        ("日本", "clip-"),
        ("x" * 300, "x" * 91),
    ],
)
def test_any_text_becomes_a_safe_part(text: str, part: str) -> None:
    """Separators become dashes, accents go, and what would lose letters gets a hash of its own."""
    assert safe_part(text).startswith(part)
    assert is_safe(safe_part(text))


@given(st.text())
def test_safe_parts_are_safe(text: str) -> None:
    """Whatever the text, its part is safe, is one part, and is the same each time."""
    part = safe_part(text)
    assert is_safe(part)
    assert "/" not in part
    assert len(part) <= PART_MAX_CHARS
    assert safe_part(text) == part


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("株式会社", "株式会社"),
        ("株式会社 A/B", "株式会社-A-B"),
        ("Кириллица № 5?", "Кириллица-5"),
        ("हिन्दी फ़िल्म", unicodedata.normalize("NFC", "हिन्दी-फ़िल्म")),
        (unicodedata.normalize("NFD", "ガラス"), "ガラス"),
        ("Straße", "Straße"),
        ("Müller", "Muller"),
        ("Shot 1", "Shot-1"),
        ("\u3164", "clip-7519204f"),
        ("..", "clip-5ec1f7e7"),
        ("Con.アート", "Con-bdfbbb41"),
    ],
)
def test_a_file_keeps_the_letters_of_its_script(text: str, part: str) -> None:
    """A client of any script is called by its name; what ASCII can write keeps the name that it had."""
    assert file_part(text) == part
    assert is_safe(part)


@given(st.text())
def test_any_part_of_a_file_is_safe(text: str) -> None:
    """One part, composed, of a length that every file system takes, and the same each time."""
    for part in (file_part(text), with_hash(file_part(text), "x"), f"{file_part(text)[:50]}-t2"):
        assert is_safe(part)
        assert "/" not in part
        assert len(part.encode()) <= PART_MAX_BYTES
    assert file_part(file_part(text)) == file_part(text)


def test_a_long_name_of_another_script_is_shortened() -> None:
    """By its bytes; two of them stay apart."""
    one, other = (file_part("茶" * 90 + letter) for letter in "器具")
    assert one != other
    assert is_safe(one)
    assert one.startswith("茶" * 50)


@pytest.mark.parametrize("few_jobs", [-1, 1000])
def test_the_folder_of_a_client_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_jobs: int
) -> None:
    """Row by row and by columns alike; the names can be given back in a manifest."""
    monkeypatch.setattr(planner, "FEW_JOBS", few_jobs)
    (tmp_path / "shots.csv").write_text(
        f"custom_id,prompt,model,client\na,A fox,{FAST},株式会社\n製品 1,A cat,{FAST},Кириллица\n", "utf-8"
    )
    head = '[campaign]\nname = "c"\nmanifest = "shots.csv"\n'
    (tmp_path / "c.toml").write_text(f'{head}[output]\nname = "{{client}}/{{custom_id}}"\n', "utf-8")
    names = [planned.job.output_name for planned in make_plan(tmp_path / "c.toml").jobs]
    assert names == ["株式会社/a", "Кириллица/製品-1"]
    assert [planned.job.output_name for planned in make_plan(tmp_path / "shots.csv").jobs] == ["a", "製品-1"]
    given = [{"prompt": name, "output_name": name} for name in names]
    assert [planned.job.output_name for planned in _plan(tmp_path, *given).jobs] == names


@pytest.mark.parametrize("few_jobs", [-1, 1000])
def test_what_a_template_adds_to_a_long_part_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_jobs: int
) -> None:
    """Folder and name are shortened by bytes and told apart by a hash; the same row by row and by columns.

    A name that fits stays what it is.
    """
    monkeypatch.setattr(planner, "FEW_JOBS", few_jobs)
    titles = ["東" * 60, "東" * 59 + "京", "東" * 59, "x" * 100, "y" * 98]
    rows = [f"{at},Fox {at},{FAST},{title}" for at, title in enumerate(titles)]
    (tmp_path / "shots.csv").write_text("\n".join(["custom_id,prompt,model,title", *rows]), "utf-8")
    head = '[campaign]\nname = "c"\nmanifest = "shots.csv"\n'
    (tmp_path / "c.toml").write_text(f'{head}[output]\nname = "{{title}}_v/{{title}}-{{take}}"\n', "utf-8")
    names = [planned.job.output_name for planned in make_plan(tmp_path / "c.toml").jobs]
    assert all(is_safe(name) for name in names)
    assert len(set(names)) == len(names)
    assert [folder.split("_")[0].split("-")[0] for folder in names[:3]] == ["東" * 57, "東" * 57, "東" * 59]
    assert names[2] == f"{'東' * 59}_v/{'東' * 59}-1"
    assert names[4].startswith(f"{'y' * 98}_v/{'y' * 90}-")


@given(st.text(min_size=1), st.text(min_size=1))
def test_hashed_parts_differ(one: str, other: str) -> None:
    """Two texts that would become one part can be told apart by their hashes."""
    assert (with_hash("a", one) == with_hash("a", other)) == (one == other)


@given(st.text(max_size=30))
def test_safe_names_stay_inside(name: str) -> None:
    """No name that counts as safe climbs out of its folder, hides, or is the folder itself."""
    if is_safe(name):
        parts = name.split("/")
        assert all(part and part[0] not in ".-" and part[-1] != "." for part in parts)
        assert unicodedata.is_normalized("NFC", name)
        assert all(unicodedata.category(char)[0] in "LMN" or char in "._-/" for char in name)
        assert not name.startswith("/")


def test_folded_names() -> None:
    """Case and composition make no difference to many file systems, and so not to us."""
    assert folded("É") == folded(unicodedata.normalize("NFD", "é"))


def test_ids_are_made_from_the_content(tmp_path: Path) -> None:
    """A row without an id gets the same one whenever it is planned, and its video is called so."""
    first = _plan(tmp_path, {"prompt": "A fox"}, {"prompt": "A cat"})
    again = _plan(tmp_path, {"prompt": "A cat", "priority": "5"}, {"prompt": "A fox"})
    ids = [planned.job.custom_id for planned in first.jobs]
    assert [planned.job.custom_id for planned in again.jobs] == ids[::-1]
    assert [planned.job.output_name for planned in first.jobs] == ids
    assert len(set(ids)) == 2


def test_equal_rows_are_takes_and_earn_a_warning(tmp_path: Path) -> None:
    """A row that is there three times is made three times, said to be, and told apart."""
    plan = _plan(tmp_path, {}, {"custom_id": "mine"}, {})
    assert [planned.job.take for planned in plan.jobs] == [1, 2, 3]
    assert len({planned.fingerprint for planned in plan.jobs}) == 3
    first = plan.jobs[0].job.custom_id
    assert [planned.job.custom_id for planned in plan.jobs] == [first, "mine", f"{first}-t3"]
    assert [(warning.row, "equal to row 1" in warning.message) for warning in plan.warnings] == [
        (2, True),
        (3, True),
    ]


@pytest.mark.parametrize("cells", [{"seed": "2"}, {"take": "2"}, {"resolution": "480p"}, {"duration": "6"}])
def test_different_purchases_are_not_equal(tmp_path: Path, cells: dict[str, str]) -> None:
    """Another seed, take or option is another video, and no warning."""
    plan = _plan(tmp_path, {"seed": "1"}, {"seed": "1", **cells})
    assert plan.warnings == ()
    assert plan.jobs[0].fingerprint != plan.jobs[1].fingerprint


def test_a_take_that_is_taken_moves_on(tmp_path: Path) -> None:
    """An equal row after a numbered take becomes the next free one."""
    plan = _plan(tmp_path, {}, {"take": "2"}, {})
    assert [planned.job.take for planned in plan.jobs] == [1, 2, 3]


def test_default_names_give_way(tmp_path: Path) -> None:
    """Ids that differ only in case or punctuation get different file names; given names stay as they are."""
    rows = [{"custom_id": "Shot 1"}, {"custom_id": "shot-1"}, {"custom_id": "x", "output_name": "SHOT-1"}]
    names = [planned.job.output_name for planned in _plan(tmp_path, *rows).jobs]
    assert names[2] == "SHOT-1"
    assert len({folded(name) for name in names}) == 3
    assert all(is_safe(name) for name in names)


def test_composed_and_decomposed_ids_are_one(tmp_path: Path) -> None:
    """The same letters in two compositions are the same id, and both rows are named."""
    rows = [{"custom_id": unicodedata.normalize(form, "é"), "prompt": form} for form in ("NFC", "NFD")]
    with pytest.raises(ManifestError) as caught:
        _plan(tmp_path, *rows)
    (problem,) = caught.value.problems
    assert (problem.row, problem.column) == (2, "custom_id")
    assert "row 1 has the same custom_id" in problem.message


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("A fox. [Push in] then [pan LEFT, Shake]", []),
        ("[Low-angle shot] and [Overhead shot]", []),
        ("[Crane up] [Push in] [Crane up]", ["Crane up"]),
        ("no brackets, [] and [ ] or ]x[", []),
        ("[" * 1000, []),
    ],
)
def test_camera_instructions(prompt: str, unknown: list[str]) -> None:
    """The instructions of Seedance's page are known in any case, alone or several in one bracket."""
    assert unknown_instructions(prompt) == unknown


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A glass teapot on a sunlit table, steam rising", "glass-teapot-sunlit-table"),
        ("[Push in] The dog's café", "dogs-cafe"),
        ("[Push in", "push"),
        ("Into the [Pan left] blue", "blue"),
        ("雨の街", "clip"),
        ("of the", "clip"),
        ("  4K  product_shot #7 ", "4k-product-shot-7"),
        ("Donaudampfschifffahrtsgesellschaftskapitän am Ruder", "donaudampfschifffahrtsgesellschaftskapit"),
        ("x\ny\r\nz\tw v", "x-y-z-w"),
    ],
)
def test_a_slug_is_the_first_telling_words(prompt: str, expected: str) -> None:
    """Four words at most, without small words, instructions and accents; the same by columns."""
    assert slug(prompt) == expected
    assert slugs(pa.array([prompt])).to_pylist() == [expected]


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_slugs_are_safe_and_agree(prompt: str) -> None:
    """Every prompt gives a safe part of a name, one at a time and by columns."""
    made = slug(prompt)
    assert is_safe(f"{made}-3f2a9c")
    assert slugs(pa.array([prompt])).to_pylist() == [made]


@pytest.mark.parametrize("folder", ["", "acme/", "y" * 100 + "/", "株" * 70 + "/"])
@pytest.mark.parametrize("long", ["x" * 100, "東" * 54 + "x" * 40])
def test_a_name_that_is_too_long_is_shortened(folder: str, long: str) -> None:
    """In characters or in bytes. It fits its folder, and two long names do not become one."""
    first, second = (shortened(f"{folder}{long}_{size}") for size in ("864x480", "1248x704"))
    assert first != second
    assert is_safe(first)
    assert is_safe(second)
    assert shortened("acme/hero_864x480") == "acme/hero_864x480"


def test_made_ids_do_not_depend_on_the_order() -> None:
    """Two videos that would get one id both get a longer one; a given id and a take stay as they are."""
    rows = [
        ("", "kite", "aaaaaa11aaaa99", 1),
        ("", "kite", "aaaaaa22bbbb99", 1),
        ("", "kite", "aaaaaa11aaaa99", 2),
        ("", "boat", "aaaaaa11aaaa99", 1),
        ("mine", "kite", "cccccc", 1),
    ]
    expected = ["kite-aaaaaa11aaaa", "kite-aaaaaa22bbbb", "kite-aaaaaa-t2", "boat-aaaaaa", "mine"]
    assert settled_ids(*map(list, zip(*rows, strict=True))) == expected
    assert settled_ids(*map(list, zip(*rows[::-1], strict=True))) == expected[::-1]
