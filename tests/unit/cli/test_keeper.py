"""What `callsheet keeper --once` says at its end."""

from callsheet.cli.commands.keeper import said_at_end
from callsheet.engine.keeper import Round


def test_a_run_that_waits_is_named_with_the_command_that_goes_on_with_it():
    """Nothing to go on with is said only where nothing waits and nothing was done."""
    waiting = Round(waiting={"spring-1": "2026-11-30T16:20:05.123Z"})
    (said,) = said_at_end(waiting, sandbox=True)
    assert said.startswith("spring-1 waits until 16:20 UTC for the process that opened it; ")
    assert said.endswith("`callsheet resume spring-1 --sandbox` goes on with it now")
    assert said_at_end(Round(), sandbox=False) == ["Nothing to go on with."]
    assert said_at_end(Round(settled=1), sandbox=False) == []
