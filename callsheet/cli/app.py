"""The commands and where they live. Nothing is imported before it is needed, so that help is quick."""

from __future__ import annotations

from cyclopts import App, Group

from callsheet import __version__

_COMMANDS = {
    "Start here": {
        "demo": "The whole job on the local sandbox: no key, no money",
        "init": "Write an example campaign to start from",
        "doctor": "Say what works on this machine and what does not",
    },
    "Before": {
        "models": "Show endpoints, allowed values, rates and a sample price",
        "validate": "Check every row; nothing is sent, nothing is spent",
        "plan": "Say what it will cost, and whether it fits",
    },
    "Run": {
        "run": "Plan, ask, render, collect",
        "resume": "Go on with a run that was interrupted",
        "retry": "Try the failed jobs of a run again",
        "status": "Show where a run stands",
        "cancel": "Stop a run: nothing more is submitted, what can be is cancelled",
        "reconcile": "Settle open and unknown submissions against fal's own records",
        "report": "Write a run's results and page again",
    },
    "Money": {
        "budget": "Show and set caps that outlive a run",
        "prices": "Show the dated price book; compare it with fal's price list",
        "ledger": "Show where the money is and went; check and copy the book",
    },
    "Tools": {
        "deploy": "Register flows and schedules with a Prefect server",
        "sandbox": "Serve the local sandbox that speaks fal's queue API",
    },
}


_WITH_COMMANDS = frozenset({"budget", "ledger", "prices"})
"""These have commands of their own: their module holds an `app` and not one function."""


def make_app() -> App:
    """Return the command line."""
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
            app.command(f"callsheet.cli.commands.{name}:{target}", name=name, help=purpose, group=group)
    return app
