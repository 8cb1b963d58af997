"""How messages name a number of things, and the command that helps."""

from __future__ import annotations

from collections.abc import Sequence


def number_of(number: int, noun: str) -> str:
    """Write a number of things: `1 job`, `1,200 jobs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(numbers: Sequence[int], most: int = 5) -> str:
    """Write numbers out: `2, 3 and 7`, and how many more there are."""
    words = [f"{number:,}" for number in numbers[:most]]
    if len(numbers) > most:
        return f"{', '.join(words)} and {len(numbers) - most:,} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def command(*words: str, sandbox: bool) -> str:
    """Return a command to paste: one advised after a run on the sandbox acts on the sandbox's ledger."""
    return " ".join(("callsheet", *words)) + " --sandbox" * sandbox
