"""Where the process begins and where its exit code is decided."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

from callsheet.cli import garbage
from callsheet.cli.console import document, flush, say, write_no_more
from callsheet.errors import CallsheetError, ManifestError, UsageError

INTERNAL_ERROR = 1
INTERRUPTED = 130
_YES = frozenset({"1", "t", "true", "y", "yes"})
"""What the command line's parser takes for a yes."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with the code of docs/cli.md."""
    garbage.look_seldom()
    _mend_streams()
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    garbage.keep_for_good()
    sys.exit(code)


def _mend_streams() -> None:
    """Let what is said be lost where nobody listens, and be readable where a terminal knows ASCII alone."""
    # A process may be started with its streams closed; Python's are None then.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    from callsheet.cli.app import make_app  # noqa: PLC0415 -- imports are what a fast start is made of
    from callsheet.guard import check_packages_are_ours  # noqa: PLC0415

    try:
        check_packages_are_ours()
        code = make_app()(arguments, result_action="return_value", exit_on_error=False, print_error=False)
        flush()
    except CallsheetError as error:
        _explain(error, as_json=_wants_json(arguments))
        return error.exit_code
    except KeyboardInterrupt:
        say("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # a table that is written piece by piece has nobody to be written for
        write_no_more()
        return 0
    except Exception as error:  # noqa: BLE001 -- the last place that can say anything
        return _end_by(error, as_json=_wants_json(arguments))
    return code if isinstance(code, int) else 0


def _wants_json(arguments: list[str]) -> bool:
    """Say whether a document is expected, also of a command whose options could not be read."""
    return "--json" in arguments or os.environ.get("CALLSHEET_JSON", "").lower() in _YES


def _end_by(error: Exception, *, as_json: bool) -> int:
    """Say what is wrong with the options, the room on a disk, or us; return the exit code."""
    from callsheet.files import FULL  # noqa: PLC0415 -- as in run_command

    if isinstance(error, OSError) and error.errno in FULL:
        if error.filename is None:
            write_no_more()
        say(f"callsheet: there is no room in {error.filename or 'what standard output goes to'}")
        return INTERNAL_ERROR
    if (bad_option := _as_usage_error(error)) is not None:
        _explain(bad_option, as_json=as_json)
        return bad_option.exit_code
    _explain_mistake(error)
    return INTERNAL_ERROR


def _as_usage_error(error: Exception) -> UsageError | None:
    """Say what is wrong with the options or with a value; None where it is a mistake of ours."""
    if isinstance(error, UnusedCliTokensError):
        words = ", ".join(map(repr, error.unused_tokens or ()))
        return UsageError(f"nothing takes {words} here; `--help` behind the command shows what it takes")
    if isinstance(error, MissingArgumentError) and (missing := _missing_argument(error)):
        return UsageError(missing)
    if isinstance(error, CycloptsError):
        return UsageError(" ".join(str(error).split()))
    if type(error).__name__ != "ValidationError" or getattr(error, "title", "") != "RunRequest":
        return None
    first = error.errors()[0]  # type: ignore[attr-defined]
    option = "--" + str(first["loc"][0]).replace("_", "-")
    return UsageError(f"{option}: found {first['input']}: {first['msg'][:1].lower()}{first['msg'][1:]}")


def _missing_argument(error: MissingArgumentError) -> str:
    """Name an argument as it is typed, without dashes; "" for an option that lacks its value."""
    argument = error.argument
    if (
        error.keyword is not None
        or argument is None
        or argument.tokens
        or not argument.field_info.is_positional
    ):
        return ""
    command = " ".join(["callsheet", *(error.command_chain or ())])
    name = argument.name.removeprefix("--").upper()
    return f"`{command}` requires an argument, {name}; `{command} --help` shows an example"


def _explain(error: CallsheetError, *, as_json: bool) -> None:
    from callsheet.cli.problems import show_problems  # noqa: PLC0415 -- as in run_command

    say(f"callsheet: {error}")
    problems = error.problems if isinstance(error, ManifestError) else []
    if not show_problems(problems):
        say("  `callsheet validate` writes all of them down, row by row")
    if as_json:
        errors = [
            {"row": each.row, "column": each.column, "found": each.found, "message": each.message}
            for each in problems
        ]
        document({"error": str(error), "exit_code": error.exit_code, "errors": errors})


def _explain_mistake(error: Exception) -> None:
    """Say that this is our mistake and keep the traceback, without the values of variables, in a file."""
    import tempfile  # noqa: PLC0415 -- 30 ms that no other command has to pay
    import traceback  # noqa: PLC0415 -- as above

    with tempfile.NamedTemporaryFile("w", prefix="callsheet-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    say(
        f"callsheet: a mistake of ours: {type(error).__name__}: {str(error)[:300]}\n"
        f"  The ledger has what was bought; `callsheet resume` goes on. The traceback is in {log.name}"
    )
