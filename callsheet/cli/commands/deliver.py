"""`callsheet deliver`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Json, Sandbox, keep_option, option, run_settings
from callsheet.cli.output import document, note, result, say
from callsheet.delivery.delivery import Delivery, deliver_run
from callsheet.delivery.kept_clips import DEFAULT_NAME
from callsheet.engine.finalize import EXIT_FAILED_JOBS
from callsheet.engine.run import find_run
from callsheet.errors import UsageError
from callsheet.wording import number_of
from manifests.selection import read_kept

NAMED = 20

FinishedRun = Annotated[str, Parameter(help="The id of a run")]
Keep = Annotated[list[str] | None, keep_option("The clips to deliver", " (default: what was judged keep)")]
All = Annotated[bool, option("DELIVER_ALL", "Deliver every finished clip", "--all")]
Client = Annotated[str | None, option("DELIVER_CLIENT", "Only the clips of this client", "--client")]
To = Annotated[
    str | Path | None,  # read as text, which may be an address; completed as a file
    option("DELIVER_TO", "A folder, or a ZIP if it ends in .zip (default: RUN-delivery)", "--to"),
]
Name = Annotated[
    str, option("DELIVER_NAME", "The videos' names: columns in braces, / between folders", "--name")
]


def deliver(
    run_id: FinishedRun,
    *,
    keep: Keep = None,
    all: All = False,  # noqa: A002 -- the option's name
    client: Client = None,
    to: To = None,
    name: Name = DEFAULT_NAME,
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """Hand over the clips of a run that you keep.

    Writes a folder or a ZIP: the videos with an AI label and a JSON file
    each, a shot list, a contact sheet and a timeline. Nothing is re-encoded.

    Example: callsheet deliver spring-20261121-090000-a1b2 --keep selection.csv --to spring.zip
    """
    if keep and all:
        raise UsageError("give --keep or --all")
    settings = run_settings(sandbox=sandbox)
    run = find_run(settings, run_id)
    kept = read_kept(keep, option="--keep") if keep else None
    made = asyncio.run(deliver_run(settings, run, kept, to=to, name=name, everything=all, client=client))
    _tell(made)
    if json:
        document(_document(made))
    else:
        result(str(made.path))
    return EXIT_FAILED_JOBS if made.missing else 0


def _tell(made: Delivery) -> None:
    clips, files = number_of(len(made.clips), "clip"), number_of(made.files, "file")
    note(f"{clips}, {files}, {made.bytes / 2**20:,.1f} MiB")
    if made.refetched:
        note(f"downloaded again, for free: {_some(made, made.refetched)}")
    for custom_id, why in made.not_embedded[:NAMED]:
        name = made.labels[custom_id]
        note(f"{name}: the video is left alone, because {why}; its AI label is in an .xmp file")
    if len(made.not_embedded) > NAMED:
        note(f"and {len(made.not_embedded) - NAMED} more have their AI label in an .xmp file")
    if made.without_font:
        packages = " and ".join(made.font_packages)
        advice = f" (install {packages}, or another with these letters)" if packages else ""
        note(
            f"no font here has every letter of {_some(made, made.without_font)}, "
            f"for the contact sheet{advice}"
        )
    if made.missing:
        say(
            f"not delivered: {_some(made, made.missing)}. The files are gone from this disk and could not be "
            "downloaded again. Put them back, or set the key if fal may still have them, and run the same "
            "command again"
        )


def _some(made: Delivery, names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(made.labels[name] for name in names[:NAMED]) + more


def _document(made: Delivery) -> dict[str, object]:
    return {
        "path": str(made.path),
        "clips": list(made.clips),
        "files": made.files,
        "bytes": made.bytes,
        "refetched": list(made.refetched),
        "missing": list(made.missing),
        "label_in_sidecar": dict(made.not_embedded),
        "without_font": list(made.without_font),
    }
