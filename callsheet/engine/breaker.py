"""A circuit breaker: stop buying a price group whose first paid clips all fail in the same way.

Where every clip of a model and size comes out wrong, the next one will too, and each costs money. One clip
that is fine closes the matter for its group: later failures are those of single jobs.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Breaker:
    """Counts how the paid jobs of each price group ended.

    `limit` is the number of equal failures that stop buying the group; 0 turns the breaker off.
    """

    limit: int
    _failures: dict[str, list[str]] = field(default_factory=dict)
    _trusted: set[str] = field(default_factory=set)
    _open: dict[str, str] = field(default_factory=dict)

    def record_success(self, group: str) -> None:
        """A clip of the group passed: the group is bought on."""
        self._trusted.add(group)

    def record_failure(self, group: str, error_type: str) -> bool:
        """A paid clip of the group failed. Return True where that stops buying the group."""
        if not self.limit or group in self._trusted or group in self._open:
            return False
        failures = self._failures.setdefault(group, [])
        failures.append(error_type)
        if len(failures) < self.limit or set(failures) != {error_type}:
            return False
        self._open[group] = error_type
        return True

    @property
    def has_tripped(self) -> bool:
        """Whether any group is not bought any more."""
        return bool(self._open)

    def is_open(self, group: str) -> bool:
        """Say whether nothing more of the group is bought."""
        return group in self._open
