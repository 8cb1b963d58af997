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
            shown = f"{purpose}\n\nExample: {_EXAMPLES[name]}"
            app.command(f"callsheet.cli.commands.{name}:{target}", name=name, help=shown, group=group)
    return app
