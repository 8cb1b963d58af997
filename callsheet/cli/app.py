"""The commands and their modules. A command's module is imported only when the command is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Group, Parameter

from callsheet import __version__
from callsheet.cli.logs import configure
from callsheet.cli.options import LogJson, Quiet, Verbose

COMMANDS = {
    "Start here": {
        "demo": "Run an example campaign on the local sandbox: no key, no money",
        "init": "Write an example campaign to start from",
        "doctor": "Check the key, the Prefect server, the ledger, the disk and the versions",
    },
    "Before a run": {
        "models": "Show endpoints, allowed values, rates and a sample price",
        "validate": "Check every row. Nothing is sent or spent",
        "plan": "Show what a manifest costs and whether it fits the budget",
    },
    "Run": {
        "run": "Show the plan, ask for confirmation, render, and download",
        "resume": "Continue an interrupted run",
        "retry": "Try the failed jobs of a run again",
        "finish": "Buy the full-size version of the drafts that you keep",
        "status": "Show the state of a run",
        "runs": "List the runs of the ledger, or serve its figures to Prometheus",
        "cancel": "Stop a run: submit nothing more and cancel what fal has not rendered",
        "reconcile": "Settle open and unknown submissions against fal's records",
        "report": "Write the results and the report page of a run again",
        "review": "Judge the clips of a run in a browser, and order retakes",
        "deliver": "Hand over what you keep of a run: a folder or a ZIP",
    },
    "Money": {
        "budget": "Show and set caps that outlive a run",
        "prices": "Show the price book; compare it with fal's price list",
        "stats": "Show what is kept of what was made, and what a kept clip costs",
        "ledger": "Show where the money is and where it went; check and copy the ledger",
    },
    "Tools": {
        "keeper": "Go on with what dead processes left, in any run of the ledger",
        "deploy": "Register a campaign and its schedule with a Prefect server",
        "notify": "Show and try who is told about runs",
        "receive": "Receive fal's webhooks, which name requests whose replies were lost",
        "sandbox": "Serve the local sandbox, which speaks fal's queue API",
        "ui": "Serve Prefect's pages of past runs",
    },
}


_MODULES = {
    "demo": "example",
    "init": "example",
    "validate": "plan",
    **dict.fromkeys(("resume", "retry", "cancel", "report"), "runs"),
    "runs": "overview",
    **dict.fromkeys(("sandbox", "ui"), "servers"),
}
"""Modules that hold several commands; any other command has a module of its name."""

_WITH_COMMANDS = frozenset({"budget", "deploy", "ledger", "prices"})
"""Commands that have subcommands: their module holds an `app` instead of a function."""

Tokens = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


def module_of(command: str) -> str:
    """Return the name of the module that holds a command."""
    return f"callsheet.cli.commands.{_MODULES.get(command, command)}"


def _default_text(value: object) -> str | None:
    """Return a default as help shows it: nothing for a flag, and nothing where there is no default."""
    return None if isinstance(value, bool) or value in (None, (), "") else str(value)


def make_app(arguments: Sequence[str] = ()) -> App:
    """Return the command line. Call its `meta`, which reads the options that every command takes.

    Only the modules of commands among `arguments` are imported; their help is their docstring.
    """
    app = App(
        name="callsheet",
        help="Bulk video on fal's Seedance models within a budget.\n\n"
        "Never past the budget, never paid twice, nothing paid for is lost.",
        version=__version__,
        help_format="plaintext",
        default_parameter=Parameter(show_default=_default_text),
        group_commands=Group("Other", sort_key=98),
    )
    for place, (title, commands) in enumerate(COMMANDS.items()):
        group = Group(title, sort_key=place)
        for position, (name, purpose) in enumerate(commands.items()):
            target = "app" if name in _WITH_COMMANDS else name
            summary = {} if name in arguments else {"help": purpose}
            app.command(f"{module_of(name)}:{target}", name=name, group=group, sort_key=position, **summary)
    app.register_install_completion_command(
        help="Install tab completion for bash, zsh or fish", add_to_startup=False
    )

    @app.meta.default
    def _launch(
        *tokens: Tokens, verbose: Verbose = False, quiet: Quiet = False, log_json: LogJson = False
    ) -> object:
        configure(verbose=verbose, quiet=quiet, log_json=log_json)
        return app(tokens, result_action="return_value", exit_on_error=False, print_error=False)

    return app
