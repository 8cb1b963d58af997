"""`callsheet demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.commands.run import run
from callsheet.cli.example import write_example
from callsheet.cli.options import Json, Speed
from callsheet.cli.output import note

Folder = Annotated[Path, Parameter(help="The folder for the example campaign and its videos")]


def demo(folder: Folder = Path("demo"), *, speed: Speed = 20.0, json: Json = False) -> int:
    """Run an example campaign on the local sandbox: no key, no money.

    Plans, renders, verifies the MP4s and writes the report page.

    Example: callsheet demo
    """
    campaign = write_example(folder)
    note(f"example campaign in {folder}: {campaign.name}, shots.csv and two images")
    return run(str(campaign), out=str(folder / "runs"), sandbox=True, speed=speed, yes=True, json=json)
