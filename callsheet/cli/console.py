"""Results go to standard output, everything that is said to a person goes to standard error."""

from __future__ import annotations

import json
import sys
from typing import Any


def result(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(text + "\n")


def document(value: Any) -> None:
    """Write the result as one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """Tell the person something."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def ask(question: str) -> bool:
    """Ask for a yes. Anything else, and no terminal to ask at, is a no."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
