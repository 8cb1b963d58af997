"""The campaign file's JSON Schema and the table of its keys say what the reader of the file does."""

import importlib.util
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from callsheet.errors import ManifestError
from manifests.campaign_file import read_campaign

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs" / "campaign.schema.json").read_text("utf-8"))
HEAD = '[campaign]\nname = "spring"\nmanifest = "shots.csv"\n'


def site():
    """The hooks of `make docs`."""
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docs_have_the_keys_and_the_schema_of_today():
    """`make docs` writes both."""
    hooks = site()
    page = (ROOT / "docs" / "campaign.md").read_text("utf-8")
    assert "| `campaign.name` |" in page
    assert hooks.with_keys(page) == page
    assert hooks.SCHEMA.read_text("utf-8") == hooks.schema_text()


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("examples/*/campaign.toml"), *ROOT.glob("callsheet/cli/example/campaign.toml")],
    ids=lambda path: path.parent.name,
)
def test_our_examples_are_valid(path):
    """By the schema as by the reader."""
    read_campaign(path)
    jsonschema.validate(tomllib.loads(path.read_text("utf-8")), SCHEMA)


def test_the_example_of_the_page_is_valid():
    """It has every section."""
    page = (ROOT / "docs" / "campaign.md").read_text("utf-8")
    example = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    jsonschema.validate(example, SCHEMA)
    assert set(example) == set(SCHEMA["properties"])


@pytest.mark.parametrize(
    "more",
    [
        "[budget]\ntotal_usd = 0",
        "[budget]\ntotal_usd = -1",
        "[budget]\nweekly_usd = 1",
        "[input]\nheader_row = 0",
        '[input]\nskip_hidden = "yes"',
        "[matrix]\ntakes = 0",
        '[matrix]\nresolution = "480p"',
        "[matrix]\nresolution = []",
        "[look]\nblack_s = 0.01",
        '[look]\nignore = ["dull"]',
        "[notify]\nurls = 1",
        "[outputs]",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(tmp_path, more):
    """An editor marks it before the file is read."""
    path = tmp_path / "campaign.toml"
    path.write_text(f"{HEAD}{more}\n")
    with pytest.raises(ManifestError):
        read_campaign(path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(path.read_text()), SCHEMA)


def test_the_schema_is_one():
    """By the specification's own schema."""
    jsonschema.Draft202012Validator.check_schema(json.loads(site().schema_text()))
