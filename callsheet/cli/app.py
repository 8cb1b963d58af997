"""The commands and their modules. A command's module is imported only when the command is used."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Group, Parameter

from callsheet import __version__
from callsheet.cli.options import LogJson, Quiet, Verbose

_COMMANDS = {
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
        "status": "Show the state of a run",
        "cancel": "Stop a run: submit nothing more and cancel what fal has not started",
        "reconcile": "Settle open and unknown submissions against fal's records",
        "report": "Write the results and the report page of a run again",
    },
    "Money": {
        "budget": "Show and set caps that outlive a run",
        "prices": "Show the price book; compare it with fal's price list",
        "ledger": "Show where the money is and where it went; check and copy the ledger",
    },
    "Tools": {
        "deploy": "Register flows and schedules with a Prefect server",
        "sandbox": "Serve the local sandbox, which speaks fal's queue API",
    },
}


_EXAMPLES = {
    "demo": "callsheet demo",
    "init": "callsheet init spring",
    "doctor": "callsheet doctor",
    "models": "callsheet models --json",
    "validate": "callsheet validate shots.csv",
    "plan": "callsheet plan shots.csv --budget-usd 25 --out plan.json",
    "run": "callsheet run shots.csv --budget-usd 25",
    "resume": "callsheet resume",
    "retry": "callsheet retry",
    "status": "callsheet status --json",
    "cancel": "callsheet cancel spring-20261121-090000-a1b2",
    "reconcile": "callsheet reconcile",
    "report": "callsheet report spring-20261121-090000-a1b2",
    "budget": "callsheet budget set client:acme 60",
    "prices": "callsheet prices check",
    "ledger": "callsheet ledger statement --by client --csv",
    "deploy": 'callsheet deploy campaign.toml --cron "0 2 * * *" --budget-usd 40',
    "sandbox": "callsheet sandbox --speed 20",
}

_WITH_COMMANDS = frozenset({"budget", "ledger", "prices"})
"""Commands that have subcommands: their module holds an `app` instead of a function."""

Tokens = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


def make_app() -> App:
    """Return the command line. Call its `meta`, which reads the options that every command takes."""
    app = App(
        name="callsheet",
        help="Bulk video on fal's Seedance models within a budget.\n\n"
        "Never past the budget, never paid twice, nothing paid for is lost.",
        version=__version__,
        help_format="plaintext",
    )
    for title, commands in _COMMANDS.items():
        group = Group.create_ordered(title)
        for name, purpose in commands.items():
            target = "app" if name in _WITH_COMMANDS else name
            shown = f"{purpose}\n\nExample: {_EXAMPLES[name]}"
            app.command(f"callsheet.cli.commands.{name}:{target}", name=name, help=shown, group=group)
    app.register_install_completion_command(
        help="Install tab completion for bash, zsh or fish", add_to_startup=False
    )

    @app.meta.default
    def _launch(
        *tokens: Tokens, verbose: Verbose = False, quiet: Quiet = False, log_json: LogJson = False
    ) -> object:
        from callsheet.cli.logs import configure  # noqa: PLC0415 -- help needs no log

        configure(verbose=verbose, quiet=quiet, log_json=log_json)
        return app(tokens, result_action="return_value", exit_on_error=False, print_error=False)

    return app
