"""Jobs that lie on disk, and what is asked about many of them without making each one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifests.plan import PlannedJob


class StoredJobs(Sequence["PlannedJob"], ABC):
    """The jobs of a large plan, as a sequence; making one of them takes some 30 microseconds."""

    @abstractmethod
    def values(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield what every job has in these columns of the plan's table (`manifests.plan_rows`), in order."""

    @abstractmethod
    def fingerprints(self) -> Iterator[str]:
        """Yield every job's fingerprint, in order."""

    @abstractmethod
    def picked(self, positions: Iterable[int]) -> Iterator[PlannedJob]:
        """Yield the jobs at these positions, in ascending order."""
