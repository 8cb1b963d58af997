"""Every verb that acts on what was read before names the submission that it speaks of."""

import ast
from pathlib import Path

import pytest

from callsheet.provider import transport
from callsheet.provider.transport import since_boot_s

ROOMS = ("callsheet/engine", "callsheet/reconciliation", "callsheet/cli", "tasks", "flows")
NAMES_ITS_ATTEMPT = frozenset(
    {
        *("send", "accept", "not_sent", "release", "refuse", "fail_inputs", "lose", "find", "note_unseen"),
        *("declare_absent", "write_off", "start", "render", "settle", "fail_render", "collect", "fail_media"),
        *("take_up", "settle_found", "note_waiting"),
    }
)
ROOT = Path(__file__).parents[3]


def verb_of(call: ast.Call) -> str:
    """Return the verb that is called, as `transitions.render(tx, ...)` or `do(transitions.render, ...)`."""
    for node in (call.func, *call.args[:1]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if owner in ("transitions", "settlement", "recovery"):
                return node.attr
    return ""


CALLS = [
    (f"{path.relative_to(ROOT)}:{node.lineno}", {keyword.arg for keyword in node.keywords})
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Call) and verb_of(node) in NAMES_ITS_ATTEMPT
]


def test_the_calls_are_found() -> None:
    """The reader of calls below is not blind."""
    assert len(CALLS) > 20


@pytest.mark.parametrize("named", [named for _, named in CALLS], ids=[where for where, _ in CALLS])
def test_a_verb_names_the_attempt_it_speaks_of(named: set[str]) -> None:
    """Without it a late process could act on the submission that has replaced its own."""
    assert "attempt" in named


def test_the_departure_clock_counts_what_the_monotonic_one_sleeps_through(monkeypatch) -> None:
    """It is the time since boot where the system has it, and the monotonic one elsewhere."""
    asked = []
    monkeypatch.setattr(transport.time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(transport.time, "clock_gettime", lambda clock: asked.append(clock) or 42.0)
    assert since_boot_s() == 42.0
    assert asked == [7]
    monkeypatch.delattr(transport.time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(transport.time, "monotonic", lambda: 41.0)
    assert since_boot_s() == 41.0
