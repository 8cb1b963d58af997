"""`callsheet init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.console import document, result
from callsheet.cli.example import write_example
from callsheet.cli.options import Json
from callsheet.errors import UsageError

Folder = Annotated[Path, Parameter(help="The folder to write into; it is made where it is not there")]


def init(folder: Folder = Path(), *, json: Json = False) -> int:
    """Write an example campaign to start from: campaign.toml, shots.csv and two pictures.

    Example: callsheet init spring
    """
    if (folder / "campaign.toml").exists() or (folder / "shots.csv").exists():
        raise UsageError(f"{folder} has a campaign already; nothing was written")
    campaign = write_example(folder)
    following = f"callsheet plan {shlex.quote(str(campaign))}"
    if json:
        document({"campaign": str(campaign), "manifest": str(folder / "shots.csv"), "next": following})
    else:
        result(f"{campaign}\nNext: {following}")
    return 0
