"""`callsheet init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.console import result
from callsheet.cli.example import write_example
from callsheet.errors import UsageError

Folder = Annotated[Path, Parameter(help="The folder to write into; it is made where it is not there")]


def init(folder: Folder = Path()) -> int:
    """Write an example campaign to start from: campaign.toml, shots.csv and two pictures.

    Example: callsheet init spring
    """
    if (folder / "campaign.toml").exists() or (folder / "shots.csv").exists():
        raise UsageError(f"{folder} has a campaign already; nothing was written")
    campaign = write_example(folder)
    result(f"{campaign}\nNext: callsheet plan {campaign}")
    return 0
