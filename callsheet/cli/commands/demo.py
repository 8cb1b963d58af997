"""`callsheet demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.commands.run import run
from callsheet.cli.example import write_example
from callsheet.cli.options import Json, Speed
from callsheet.cli.output import say

Folder = Annotated[Path, Parameter(help="Where the example campaign and its videos go")]


def demo(folder: Folder = Path("demo"), *, speed: Speed = 20.0, json: Json = False) -> int:
    """Do the whole job on the local sandbox: plan, run, verified MP4s, report. No key, no money.

    Example: callsheet demo
    """
    campaign = write_example(folder)
    say(f"example campaign in {folder}: {campaign.name}, shots.csv and two pictures")
    return run(str(campaign), out=str(folder / "runs"), sandbox=True, speed=speed, yes=True, json=json)
