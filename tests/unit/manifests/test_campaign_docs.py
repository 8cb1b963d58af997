"""docs/campaign.md: every column, every key, and nothing else."""

import re
from pathlib import Path
from typing import get_args

import pytest

from manifests.campaign_file import CampaignFile, read_campaign
from manifests.columns import COLUMNS

TEXT = (Path(__file__).parents[3] / "docs" / "campaign.md").read_text("utf-8")
EXAMPLE = TEXT.partition("```toml\n")[2].partition("```")[0]
FREE = {"defaults", "columns", "template"}
"""Tables whose keys are columns."""


def keys() -> set[str]:
    """Every key of the model of a campaign file, as the document writes it."""
    found = set()
    for section, about in CampaignFile.model_fields.items():
        if section in FREE:
            found.add(f"{section}.COLUMN" if section != "columns" else 'columns."THEIRS"')
            continue
        model = next(iter(get_args(about.annotation)), about.annotation)  # X | None is X
        for key in model.model_fields:
            name = {"values_by_column": "COLUMN", "client": "client.NAME"}.get(key, key)
            found.add(f"{section}.{name}")
    return found


def documented(heading: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    lines = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_column_is_documented():
    """And no column that does not exist."""
    assert documented("Columns of a manifest") == {column.name for column in COLUMNS}


def test_every_key_is_documented():
    """And no key that does not exist."""
    assert documented("Campaign file") == keys()


def test_the_example_has_every_section_and_can_be_read(tmp_path):
    """What is printed can be copied."""
    path = tmp_path / "campaign.toml"
    path.write_text(EXAMPLE)
    campaign = read_campaign(path)
    assert (campaign.name, campaign.takes, campaign.header_row, campaign.skip_hidden) == (
        "spring-launch",
        3,
        3,
        True,
    )
    for section in CampaignFile.model_fields:
        assert f"[{section}]" in EXAMPLE


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_required_columns_are_named_as_such(column):
    """The word stands in the row of the table."""
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{column.name}` ")]
    assert ("required" in line) == column.required
