"""A check of under three milliseconds that `pricing` is our `pricing`.

The names flows, tasks, pricing and manifests belong to other projects too. Two pipelines of this shape in
one environment overwrite each other's files, and the first thing that changes is a price, without any
warning (docs/decisions/0001). So each start makes sure that the four lie beside `callsheet`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from callsheet.errors import CallsheetError

PACKAGES = ("flows", "tasks", "pricing", "manifests")


def check_packages_are_ours() -> None:
    """Raise CallsheetError naming a package that is not Callsheet's, and where it was found."""
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / name:
            raise CallsheetError(
                f"the package {name!r} is not Callsheet's: it is in {found or 'no folder'} and belongs "
                f"in {home / name}. Give Callsheet an environment of its own."
            )
