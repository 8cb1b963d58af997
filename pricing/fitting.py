"""Which of very many jobs have to become cheaper, so that all of them fit. Exact, and quick for a million.

Jobs are decided about one after the other, but many at a time: until a cap is met, or one kind of job no
longer fits, nothing changes for the next one. Pure; whole nano-dollars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pricing.budgets import Room, Spend, counts_in

_EXACT = 1 << 62
"""Sums below this are exact in 64 bits; larger ones are kept as Python's whole numbers."""


class Queue:
    """Jobs from the least important one on: the lowest priority first, and of one priority the last first.

    `kinds` are the different jobs there are, `which` says for each job its kind. `over` is by how much each
    cap is passed that is passed at all, in nano-dollars.
    """

    def __init__(self, kinds: Sequence[Spend], which: Sequence[int], room: Room) -> None:
        self._which = np.array(which, np.int64)
        priorities = np.array([kind.priority for kind in kinds], np.int64)
        places = np.arange(len(self._which))
        self._order = np.lexsort((-places, priorities[self._which]))
        self._kinds = self._which[self._order]
        counts = np.bincount(self._which, minlength=len(kinds)).tolist()
        needed = {
            cap: sum(
                count * kind.maximum_nano
                for kind, count in zip(kinds, counts, strict=True)
                if counts_in(kind, cap)
            )
            for cap in room
        }
        self.over = [nano - max(room[cap], 0) for cap, nano in needed.items() if nano > max(room[cap], 0)]
        passed = [cap for cap, nano in needed.items() if nano > max(room[cap], 0)]
        self._counts_in = np.array([[counts_in(kind, cap) for cap in passed] for kind in kinds], bool)
        largest_nano = max([*needed.values(), *(kind.maximum_nano for kind in kinds)], default=0)
        self._number: Any = np.int64 if largest_nano < _EXACT else object

    def which(self, positions: Sequence[int]) -> list[int]:
        """Return the kinds of the jobs at these positions."""
        kinds: list[int] = self._which[np.array(positions, np.int64)].tolist()
        return kinds

    def changed(self, saved_nano: Sequence[int]) -> list[int] | None:
        """Return the positions of the jobs that have to change, where one of each kind saves so much.

        None where that is not enough. What larger savings after it have made needless is taken back, the
        highest priority first.
        """
        amounts = np.array(saved_nano, self._number)[:, None] * self._counts_in
        over = np.array(self.over, self._number)
        changed = self._until_it_fits(amounts, over)
        if changed is None:
            return None
        needless = self._needless(amounts, -over, changed[::-1])
        return sorted(self._order[np.setdiff1d(changed, needless)].tolist())

    def _until_it_fits(self, amounts: npt.NDArray[Any], over: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """Return the first places of the queue whose change is enough; `over` becomes what is still over."""
        changed = [np.empty(0, np.int64)]
        start = 0
        while (passed := np.flatnonzero(over > 0)).size:
            helps = np.any(amounts[:, passed] > 0, axis=1)
            places = start + np.flatnonzero(helps[self._kinds[start:]])
            sums = amounts[self._kinds[places]].cumsum(axis=0)
            # As far as the first cap is met: from there on others have to change.
            met = min(
                (int(np.searchsorted(sums[:, at], over[at])) for at in passed),
                default=len(places),
            )
            if met == len(places):
                return None
            over -= sums[met]
            changed.append(places[: met + 1])
            start = int(places[met]) + 1
        return np.concatenate(changed)

    def _needless(
        self, amounts: npt.NDArray[Any], left: npt.NDArray[Any], places: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Return which of these places can go back, each in turn, while every cap has that much left."""
        back = [np.empty(0, np.int64)]
        while len(places):
            # What does not fit now never will: there is only ever less left.
            fits = np.all(amounts <= left, axis=1)
            places = places[fits[self._kinds[places]]]
            sums = amounts[self._kinds[places]].cumsum(axis=0)
            count = min(
                (int(np.searchsorted(sums[:, at], left[at], side="right")) for at in range(len(left))),
                default=len(places),
            )
            if count:
                left = left - sums[count - 1]
            back.append(places[:count])
            places = places[count:]
        return np.concatenate(back)
