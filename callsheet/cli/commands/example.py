"""`callsheet init` and `callsheet demo`: the example campaign, twelve shots over all four models."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.commands.run import run
from callsheet.cli.options import Json, RunOptions, Speed
from callsheet.cli.output import document, note, result
from callsheet.errors import UsageError
from callsheet.files import usable_folder

FILES = Path(__file__).parents[1] / "example"

NewFolder = Annotated[Path, Parameter(help="The folder to write into; created if missing")]
DemoFolder = Annotated[Path, Parameter(help="The folder for the example campaign and its videos")]


def init(folder: NewFolder = Path(), *, json: Json = False) -> int:
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


def demo(folder: DemoFolder = Path("demo"), *, speed: Speed = 20.0, json: Json = False) -> int:
    """Run an example campaign on the local sandbox: no key, no money.

    Plans, renders, verifies the MP4s and writes the report page.

    Example: callsheet demo
    """
    campaign = write_example(folder)
    note(f"example campaign in {folder}: {campaign.name}, shots.csv and two images")
    asked = RunOptions(sandbox=True, speed=speed)
    return run(str(campaign), asked=asked, out=str(folder / "runs"), yes=True, json=json)


def write_example(folder: Path) -> Path:
    """Write the campaign into `folder` and return the campaign file. What is there already is replaced.

    Raises UsageError for a folder that cannot be used.
    """
    usable_folder(folder, what="the folder", instead="name another")
    for file in FILES.iterdir():
        shutil.copyfile(file, folder / file.name)
    return folder / "campaign.toml"
