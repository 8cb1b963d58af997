"""What reconciling works with, made at the edge and passed down; and whose work may be touched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from callsheet.errors import LedgerError
from callsheet.falqueue.client import FalQueue
from callsheet.falqueue.platform import FalPlatform
from callsheet.ledger import Ledger, wall_clock_ms
from callsheet.settings import Settings
from pricing.catalog import Catalog

P = ParamSpec("P")
T = TypeVar("T")


class Books(Protocol):
    """The ledger, called without holding up the event loop."""

    async def __call__(
        self, verb: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do one verb of the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One ledger, one account at fal, one clock (Unix milliseconds)."""

    settings: Settings
    catalog: Catalog
    ledger: Ledger
    books: Books
    queue: FalQueue
    platform: FalPlatform
    now_ms: Callable[[], int] = wall_clock_ms

    @property
    def window_ms(self) -> int:
        """How long after it was sent a submission may still turn up, in milliseconds.

        The longest wait for a start, then the longest render, then what fal's history may be late by: after
        that an accepted request has ended and is listed.
        """
        settings = self.settings
        return 1000 * (settings.start_timeout_s + settings.run_timeout_s + settings.history_lag_s)


@contextmanager
def claimed(
    ledger: Ledger, run_ids: Collection[str], *, owned: Collection[str] = ()
) -> Iterator[frozenset[str]]:
    """Own, while entered, those of the runs that nobody alive works on; gives their ids.

    Runs that are `owned` by the caller already count as its own.
    """
    with ExitStack() as held:
        mine = set(owned)
        for run_id in sorted(set(run_ids) - mine):
            try:
                held.enter_context(ledger.claim(run_id))
            except LedgerError:
                continue
            mine.add(run_id)
        yield frozenset(mine)
