"""Time that passes when a test says so, for long deadlines."""

import asyncio


def pass_time(seconds: float) -> None:
    """Let the running event loop's clock jump: every deadline within `seconds` from now has come."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]
