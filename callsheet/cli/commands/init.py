"""`callsheet init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.example import write_example
from callsheet.cli.options import Json
from callsheet.cli.output import document, result
from callsheet.errors import UsageError

Folder = Annotated[Path, Parameter(help="The folder to write into; created if missing")]


def init(folder: Folder = Path(), *, json: Json = False) -> int:
    """Write an example campaign to start from: campaign.toml, shots.csv and two images.

    Example: callsheet init spring
    """
    if (folder / "campaign.toml").exists() or (folder / "shots.csv").exists():
        raise UsageError(f"{folder} already has a campaign; nothing was written. Name another folder")
    campaign = write_example(folder)
    following = f"callsheet plan {shlex.quote(str(campaign))}"
    if json:
        document({"campaign": str(campaign), "manifest": str(folder / "shots.csv"), "next": following})
    else:
        result(f"{campaign}\nNext: {following}")
    return 0
