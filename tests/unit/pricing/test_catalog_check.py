"""Our own catalog, which is right; a person's: what it adds, and how every mistake in it is told."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest

from callsheet.errors import UsageError
from pricing import catalog_check
from pricing.catalog import load_catalog
from pricing.catalog_tables import CatalogTables, Endpoint
from pricing.pins import first_pin
from pricing.quotes import Shot, quote

OWN = """
[pixels.kling]
source = "https://fal.ai/models/fal-ai/kling-video"
inexact = ["720p"]
720p = { "16:9" = [1280, 720], "9:16" = [720, 1280], "1:1" = [960, 960] }

[[endpoints]]
id = "fal-ai/kling-video/v2/master/text-to-video"
model = "kling-2"
pixels = "kling"
aspect_ratios = ["16:9", "9:16", "1:1"]
default_aspect_ratio = "16:9"
resolutions = ["720p"]
default_resolution = "720p"
durations_s = [5, 10]
not_sent = ["resolution"]
unit = "seconds"
unit_price = "0.28"

[[rates]]
of = "kling-2"
usd = "0.28"
per = "second"
from = 2026-01-01
source = "https://fal.ai/models/fal-ai/kling-video/v2/master/text-to-video"
"""
KLING = "fal-ai/kling-video/v2/master/text-to-video"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that CALLSHEET_CATALOG names."""
    path = tmp_path / "catalog.toml"
    monkeypatch.setenv("CALLSHEET_CATALOG", str(path))
    path.write_text(OWN)
    return path


def test_our_own_file_is_right() -> None:
    """It is checked here as a person's is, and not at each start."""
    ours = resources.files("pricing").joinpath("catalog.toml").read_text("utf-8")
    tables = catalog_check.read_catalog_file(ours, "pricing/catalog.toml", base=CatalogTables())
    assert {each.id: each for each in tables.endpoints} == load_catalog().endpoints
    assert tables.rates == load_catalog().book


def test_every_field_of_an_endpoint_is_a_key() -> None:
    """None is forgotten by the check."""
    names = {each.name for each in fields(Endpoint)} - {"default_duration_s"} | {"default_duration"}
    assert set(catalog_check.ENDPOINT) == names


def test_an_own_endpoint_stands_beside_ours(own: Path) -> None:
    """It is priced by its own unit; ours and the book stay as they are."""
    catalog = load_catalog()
    endpoint = catalog.endpoints[KLING]
    price = quote(catalog, Shot(endpoint, "720p", "16:9", duration_s=10))
    assert Decimal(price.expected_nano).scaleb(-9) == Decimal("2.8")
    own.unlink()
    own.write_text("")
    ours = load_catalog()
    assert {name for name in catalog.endpoints if name not in ours.endpoints} == {KLING}
    assert catalog.rates[: len(ours.rates)] == ours.rates


def test_an_own_rate_replaces_ours_from_its_day_on(own: Path) -> None:
    """Yesterday's run keeps yesterday's row: its pin holds what was in force when it was opened."""
    own.write_text(
        '[[rates]]\nof = "seedance-2.0"\nusd = "0.016"\nper = "1000 tokens"\nfrom = 2026-12-01\nsource = "me"'
    )
    endpoint_id = "bytedance/seedance-2.0/text-to-video"

    def nano(day: str) -> int:
        catalog = load_catalog(day)
        shot = Shot(catalog.endpoints[endpoint_id], "720p", "16:9", duration_s=5, audio=True)
        return quote(catalog, shot).expected_nano

    assert (nano("2026-11-30"), nano("2026-12-01")) == (1_512_000_000, 1_728_000_000)
    assert (load_catalog("2026-11-30").price_book, load_catalog("2026-12-01").price_book) == (
        "2026-11-21",
        "2026-12-01",
    )
    assert all(rate.since <= "2026-11-30" for rate in first_pin(load_catalog("2026-11-30")).rates)


def test_a_clock_behind_the_book_is_not_believed() -> None:
    """The book was written on its day: an earlier day has the book's own prices."""
    assert load_catalog("2001-01-01").rates == load_catalog("2026-11-21").rates


RATE = 'of = "kling-2"\nusd = "0.28"\nper = "second"\n'
MISTAKES = [
    (
        "[[endpoints]]\nid",
        "[[endpoint]]\nid",
        "the file, endpoint: ",
        "no such key; allowed are as_of, endpoints",
    ),
    ('usd = "0.28"', "usd = 0.28", "[[rates]] 1, usd: found '0.28'", "dollars as text"),
    ('usd = "0.28"', 'usd = "0"', "[[rates]] 1, usd: found '0'", "above 0"),
    (
        "durations_s = [5, 10]",
        "durations_s = []",
        "durations_s: found '[]'; it must be a list of whole",
        "shortest",
    ),
    ('usd = "0.28"', 'usd = "1e5"', "[[rates]] 1, usd: found '1e5'", "dollars as text"),
    ('per = "second"', 'per = "unit"', "[[rates]] 1, per: found 'unit'", "amount of tokens"),
    (
        'per = "second"',
        'per = "compute second"',
        "[[rates]] 1, per: found 'compute second'",
        "seconds or videos",
    ),
    ("from = 2026-01-01", 'from = "soon"', "[[rates]] 1, from: found 'soon'", "a day like"),
    ("from = 2026-01-01\n", "", "[[rates]] 1, from: it is missing", "a day like"),
    ('of = "kling-2"\nusd', 'of = "kling-3"\nusd', "[[rates]] 1, of: found 'kling-3'", "kling-2"),
    (
        'source = "https://fal.ai/models/fal-ai/kling-video/v2',
        'sauce = "https://fal.ai/v2',
        "sauce",
        "no such key",
    ),
    (
        "durations_s = [5, 10]",
        "durations_s = [10, 5]",
        "[[endpoints]] 1, durations_s: found '[10, 5]'",
        "shortest",
    ),
    (
        "durations_s = [5, 10]",
        "durations_s = [6, 10]",
        "default_duration: found '5'",
        "allowed are auto, 6, 10",
    ),
    ('resolutions = ["720p"]', 'resolutions = ["1080p"]', "default_resolution: found '720p'", "1080p"),
    (
        'resolutions = ["720p"]',
        'resolutions = ["720p", "4k"]',
        "pixels: found 'kling', which has no 4k",
        "kling 720p",
    ),
    ('"1:1"]', '"1:1", "2:1"]', "aspect_ratios: found '2:1'", "no such size"),
    (
        'not_sent = ["resolution"]',
        'not_sent = ["prompt"]',
        "not_sent: found 'prompt'",
        "aspect_ratio, resolution",
    ),
    ("[1280, 720]", "[1280]", "[pixels.kling], 720p: found", "sizes like"),
    ("[1280, 720]", "[0, 720]", "[pixels.kling], 720p: found", "sizes like"),
    ('unit = "seconds"\n', "", "[[endpoints]] 1, unit: ", "go together"),
    (
        f'id = "{KLING}"',
        f'id = "{KLING}"\nlike = "x/y"',
        "[[endpoints]] 1, like: found 'x/y'",
        "earlier endpoints",
    ),
    (f'id = "{KLING}"', 'id = "../x y"', "[[endpoints]] 1, id: found '../x y'", "letters, digits"),
    (
        f'id = "{KLING}"',
        'id = "bytedance/seedance-2.0/text-to-video"',
        "[[endpoints]] 1, id: found 'bytedance/seedance-2.0/text-to-video'",
        "has this endpoint already",
    ),
    (
        f'id = "{KLING}"',
        'id = "fal-ai/seedance-2/text-to-video"',
        "[[endpoints]] 1, id: found 'fal-ai/seedance-2/text-to-video'",
        "has this endpoint already",
    ),
    (
        "durations_s = [5, 10]",
        "audio = true\ndurations_s = [5, 10]\nseed = 1",
        "seed: found '1'",
        "true or false",
    ),
    (RATE, RATE + 'resolution = "4k"\n', f"id: found '{KLING}'", "no rate for kling-2 without audio at 720p"),
    (RATE, RATE + "audio = true\n", f"id: found '{KLING}'", "add a [[rates]] row"),
    (
        "durations_s = [5, 10]",
        'durations_s = [5, 10]\ndefault_duration = "0"',
        "default_duration: found '0'",
        "seconds as text",
    ),
    (
        "durations_s = [5, 10]",
        'durations_s = [5, 10]\ndefault_duration = "05"',
        "default_duration: found '05'",
        "seconds as text",
    ),
    ('usd = "0.28"', 'usd = "1000000.5"', "[[rates]] 1, usd: found '1000000.5'", "dollars as text"),
    ('per = "second"', 'per = "00 videos"', "[[rates]] 1, per: found '00 videos'", "seconds or videos"),
    (f'id = "{KLING}"', f'id = "{KLING}"\nlike = [1]', "[[endpoints]] 1, like: found '[1]'", "earlier"),
    (f'id = "{KLING}"', f'id = "{KLING}"\nlike = 7', "[[endpoints]] 1, like: found '7'", "earlier"),
    (f'id = "{KLING}"', "id = 3", "[[endpoints]] 1, id: found '3'", "letters, digits"),
    (f'id = "{KLING}"', f"id = 0x{'F' * 5000}", "[[endpoints]] 1, id: found 'int'", "letters, digits"),
    ("[[rates]]", "[[extra]]", "the file, extra: found", "no such key"),
    ("[pixels.kling]", "[pixels]", "the file, pixels: found", "each under [pixels.NAME]"),
    ("[pixels.kling]", "[pixels.kling]\nother = 3", "[pixels.kling], other: found '3'", "tables of sizes"),
    ("[[rates]]", "[rates]", "the file, rates: found", "each under [[rates]]"),
    ("[[rates]]", "[[rates", "is not TOML", "line"),
    ("{ ", '{ "²:1" = [9, 9], ', "[pixels.kling], 720p: found", "sizes like"),
    (RATE, RATE + 'resolution = "8k"\n', "[[rates]] 1, resolution: found '8k'", "kling-2 has 720p"),
]


@pytest.mark.parametrize("letter", ["[", "9"])
def test_toml_that_is_nested_too_deeply_or_holds_a_huge_number(own: Path, letter: str) -> None:
    """It is refused as a whole, like any other text that is not TOML."""
    own.write_text(f"a = {letter * 5000}")
    with pytest.raises(UsageError, match="is not TOML"):
        load_catalog()


@pytest.mark.parametrize(("before", "after", "where", "allowed"), MISTAKES)
def test_mistakes_name_table_key_and_what_is_allowed(
    own: Path, before: str, after: str, where: str, allowed: str
) -> None:
    """File, table, key, what was found, what is allowed."""
    assert before in OWN
    own.write_text(OWN.replace(before, after, 1))
    with pytest.raises(UsageError) as caught:
        load_catalog()
    assert str(own) in str(caught.value)
    assert where in str(caught.value)
    assert allowed in str(caught.value)


def test_all_mistakes_are_told_together(own: Path) -> None:
    """Not one at a time."""
    own.write_text(OWN.replace('"0.28"', '"-1"').replace('"second"', '"unit"'))
    with pytest.raises(UsageError) as caught:
        load_catalog()
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read(own: Path, content: bytes | None) -> None:
    """It is named, with why."""
    if content is None:
        own.unlink()
    else:
        own.write_bytes(content)
    with pytest.raises(UsageError, match=r"CALLSHEET_CATALOG names .*catalog\.toml, which cannot be read"):
        load_catalog()
