"""`python -m callsheet.sandbox`: serve in the foreground, the way the launcher starts it.

The options are the fields of SandboxConfig; `callsheet sandbox` is the command for people.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields

from pydantic import TypeAdapter, ValidationError

from callsheet.errors import CallsheetError
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.server import serve

_NAMED = {"state_dir": "--state", "hosts": "--allow-host"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m callsheet.sandbox", argument_default=argparse.SUPPRESS)
    for each in fields(SandboxConfig):
        name = _NAMED.get(each.name, f"--{each.name.replace('_', '-')}")
        if each.default is False:
            parser.add_argument(name, action="store_true")
        elif each.default is True:
            parser.add_argument(name.replace("draw", "hide"), dest=each.name, action="store_false")
        else:
            action = "append" if each.default == () else "store"
            parser.add_argument(name, dest=each.name, action=action)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve. Returns the exit code: 0 when asked to stop, 2 where it could not start."""
    parser = _parser()
    try:
        config = TypeAdapter(SandboxConfig).validate_python(vars(parser.parse_args(arguments)))
    except ValidationError as error:
        parser.error(f"--{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}")
    try:
        serve(config)
    except CallsheetError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
