"""What fal's history proves: which requests are ours, and when one that it does not show is absent. Pure.

fal has no field of ours to look for, so a request is known by what was sent: the endpoint, the whole body
(with the random seed of the attempt in it), and the time. Bodies that are equal are matched as a multiset:
which of two equal purchases is whose makes no difference. What could be read in two ways that do make one
is named and left to a person.

Absence
    sent -- start timeout, run timeout, history lag --> deadline -- first look without it
             -- gap --> second look without it: absent

    The wait for a start is the one that was sent with the submission: fal goes by that, whatever the settings
    say today. Two looks at one instant would be one look, for whatever hides a request (a replica that lags,
    a search index that is being rebuilt) hides it from both. A look is whole reads of the history in two
    orders.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callsheet.ledger.records import Submission
from callsheet.provider.platform_messages import HistoryItem, iso
from callsheet.settings import DEFAULT_START_TIMEOUT_S, Settings
from manifests.job import canonical_json

CLOCK_SLACK_MS = 120_000
"""How far this machine's clock may be from fal's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A POST that may have arrived.

    `sent_ms` and `until_ms` bound when fal can have taken it (Unix milliseconds). `arguments` is the body
    that was sent, or None where only its hash is known. An attempt that is `in_motion` is another process's,
    under way at this moment: it takes part, but is not decided about.
    """

    job_id: int
    endpoint: str
    sent_ms: int
    until_ms: int
    arguments_sha256: str
    arguments: Mapping[str, Any] | None = None
    in_motion: bool = False


@dataclass(frozen=True, slots=True)
class Tangle:
    """Attempts and requests that belong together in more than one way."""

    job_ids: tuple[int, ...]
    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the history says. Every attempt that is not in motion is in exactly one of the four.

    `hidden` are attempts that may be among requests whose inputs the history does not show.
    """

    found: Mapping[int, str]
    tangled: tuple[Tangle, ...]
    hidden: frozenset[int]
    unseen: frozenset[int]


def match(attempts: Sequence[Attempt], history: Iterable[HistoryItem]) -> Answer:
    """Match attempts with the requests of the history that no job has claimed yet."""
    items = list(history)
    groups = _groups(attempts, items)
    found: dict[int, str] = {}
    tangled: list[Tangle] = []
    for ours, theirs in groups:
        pairs = _paired(ours, theirs)
        if pairs is not None:
            found |= pairs
        elif (tangle := _tangle(ours, theirs)).job_ids:
            tangled.append(tangle)
    decided = set(found) | {job_id for tangle in tangled for job_id in tangle.job_ids}
    open_ = [attempt for attempt in attempts if not attempt.in_motion and attempt.job_id not in decided]
    hidden = {attempt.job_id for attempt in open_ if any(_may_be_hidden(attempt, item) for item in items)}
    unseen = {attempt.job_id for attempt in open_} - hidden
    return Answer(found, tuple(tangled), frozenset(hidden), frozenset(unseen))


def fitting(attempts: Sequence[Attempt], items: Iterable[HistoryItem]) -> list[HistoryItem]:
    """Return the requests that hold what one of the attempts sent, also those that another job claims."""
    places = _places(attempts)
    return [item for item in items if _candidates(item, attempts, places)]


def digest(body: Mapping[str, Any]) -> str | None:
    """Return the hash of a body as the ledger keeps it; None for one that cannot have been ours."""
    try:
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()
    except ValueError:  # infinities and lone surrogates: we never send them
        return None


def wrong_id(item: HistoryItem, job_id: int) -> str:
    """Say whose request it is that another job has."""
    return f"request {item.request_id} holds what job {job_id} sent, not this job"


def is_exactly(item: HistoryItem, arguments_sha256: str | None) -> bool:
    """Say whether the history shows exactly the body that was sent, nothing added."""
    return item.input is not None and arguments_sha256 is not None and digest(item.input) == arguments_sha256


def _groups(
    attempts: Sequence[Attempt], items: Sequence[HistoryItem]
) -> list[tuple[list[Attempt], list[HistoryItem]]]:
    """Put everything that could belong together into one group; what nothing could belong to is left out."""
    places = _places(attempts)
    leader = list(range(len(attempts)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    candidates: list[tuple[HistoryItem, int]] = []
    for item in items:
        numbers = _candidates(item, attempts, places)
        for number in numbers[1:]:
            leader[find(number)] = find(numbers[0])
        if numbers:
            candidates.append((item, numbers[0]))
    theirs: dict[int, list[HistoryItem]] = defaultdict(list)
    for item, number in candidates:
        theirs[find(number)].append(item)
    ours: dict[int, list[Attempt]] = defaultdict(list)
    for number, attempt in enumerate(attempts):
        if find(number) in theirs:
            ours[find(number)].append(attempt)
    return [(ours[root], theirs[root]) for root in theirs]


def _places(attempts: Sequence[Attempt]) -> dict[tuple[str, Any], list[int]]:
    """Index attempts by what is quick to look up: the body's hash, and the prompt in it."""
    places: dict[tuple[str, Any], list[int]] = defaultdict(list)
    for number, attempt in enumerate(attempts):
        places[attempt.endpoint, attempt.arguments_sha256].append(number)
        if attempt.arguments is not None:
            places[attempt.endpoint, ("prompt", attempt.arguments.get("prompt"))].append(number)
    return places


def _candidates(
    item: HistoryItem, attempts: Sequence[Attempt], places: Mapping[tuple[str, Any], list[int]]
) -> list[int]:
    """Return the attempts that this request can be, those with exactly its body before all others."""
    if item.input is None:
        return []
    exact = places.get((item.endpoint_id, digest(item.input)), [])
    prompt = item.input.get("prompt")
    near = places.get((item.endpoint_id, ("prompt", prompt)), []) if isinstance(prompt, str) else []
    # fal may show a body with its own defaults filled in: then everything that was sent still stands in it.
    alike = exact or [number for number in near if _holds(item.input, attempts[number].arguments or {})]
    return [number for number in alike if item.sent_ms >= attempts[number].sent_ms - CLOCK_SLACK_MS]


def _holds(shown: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    return all(name in shown and _same(shown[name], value) for name, value in sent.items())


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _paired(ours: Sequence[Attempt], theirs: Sequence[HistoryItem]) -> dict[int, str] | None:
    """Give every request to an attempt in whose time it was sent, the oldest attempt first.

    None where that leaves a request over, where the bodies differ, or where one of the attempts is in motion.
    """
    if len({attempt.arguments_sha256 for attempt in ours}) > 1 or any(each.in_motion for each in ours):
        return None
    waiting = sorted(ours, key=lambda attempt: (attempt.until_ms, attempt.sent_ms, attempt.job_id))
    pairs: dict[int, str] = {}
    for item in sorted(theirs, key=lambda item: (item.sent_ms, item.request_id)):
        taker = next((each for each in waiting if _in_time(each, item)), None)
        if taker is None:
            return None
        waiting.remove(taker)
        pairs[taker.job_id] = item.request_id
    return pairs


def _in_time(attempt: Attempt, item: HistoryItem) -> bool:
    return attempt.sent_ms - CLOCK_SLACK_MS <= item.sent_ms <= attempt.until_ms + CLOCK_SLACK_MS


def _tangle(ours: Sequence[Attempt], theirs: Sequence[HistoryItem]) -> Tangle:
    return Tangle(
        tuple(sorted(attempt.job_id for attempt in ours if not attempt.in_motion)),
        tuple(sorted(item.request_id for item in theirs)),
    )


def contradiction(attempt: Attempt, item: HistoryItem) -> str:
    """Say what rules out that this request is this attempt, in words; empty where nothing does."""
    if item.endpoint_id != attempt.endpoint:
        return f"it was sent to {item.endpoint_id}, the job goes to {attempt.endpoint}"
    if item.sent_ms < attempt.sent_ms - CLOCK_SLACK_MS:
        return f"fal took it at {iso(item.sent_ms)}, before the job was sent at {iso(attempt.sent_ms)}"
    if item.input is None or attempt.arguments is None or digest(item.input) == attempt.arguments_sha256:
        return ""
    other = [name for name, value in attempt.arguments.items() if not _holds(item.input, {name: value})]
    return f"what it was sent differs from the job in {', '.join(sorted(other))}" if other else ""


def _may_be_hidden(attempt: Attempt, item: HistoryItem) -> bool:
    return item.input is None and item.endpoint_id == attempt.endpoint and _in_time(attempt, item)


MIN_GAP_MS = 30_000
"""The least time between two looks that decide, in milliseconds, where the history is said not to lag."""


def window_ms(settings: Settings, submission: Submission) -> int:
    """Return for how long after it was sent a submission may still turn up, in milliseconds.

    The longest wait for a start, then the longest render, then what fal's history may be late by: after that
    an accepted request has ended and is listed. Where no wait was recorded, it is taken to have been today's
    setting or the default, whichever is longer.
    """
    sent_s = submission.start_timeout_s
    start_s = max(settings.start_timeout_s, DEFAULT_START_TIMEOUT_S) if sent_s is None else sent_s
    return 1000 * (start_s + settings.run_timeout_s + settings.history_lag_s)


def gap_ms(settings: Settings) -> int:
    """Return the time between the two looks, in milliseconds: half the history's lag, at least MIN_GAP_MS.

    With the default lag of 600 s that is five minutes.
    """
    return max(MIN_GAP_MS, 500 * settings.history_lag_s)


def certain_now_ms(server_ms: int | None, now_ms: int) -> int | None:
    """Return a time that has certainly come by fal's clock and ours; None where they disagree."""
    if server_ms is None or abs(server_ms - now_ms) > CLOCK_SLACK_MS:
        return None
    return min(server_ms, now_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What one submission has to wait for. All times are Unix milliseconds by fal's clock."""

    deadline_ms: int
    gap_ms: int
    first_look_ms: int | None = None
    """When it was first not seen; a look before the deadline (which may have been put off) is none."""

    @property
    def again_ms(self) -> int:
        """From when on another look can bring something new."""
        if not self.had_first_look:
            return self.deadline_ms
        assert self.first_look_ms is not None
        return self.first_look_ms + self.gap_ms

    @property
    def had_first_look(self) -> bool:
        """Whether one look after the deadline has not shown it."""
        return self.first_look_ms is not None and self.first_look_ms >= self.deadline_ms

    def is_absent(self, look_ms: int) -> bool:
        """Say whether a look that began at `look_ms` and did not show it either is the second one."""
        return self.had_first_look and look_ms >= self.again_ms
