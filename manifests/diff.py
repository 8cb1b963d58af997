"""A plan beside what its campaign has paid for: new, changed, already made.

    +  new           nothing of that name was made in this campaign
    ~  changed       something of that name was made, with other content: it costs money again
    =  already made  exactly this was made and paid for: it costs nothing

Pure. What makes a video is its content (`Job.fingerprint`); a custom_id is only a name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from manifests.job import FAL_DEFAULTS, Job
from manifests.plan import Plan
from pricing.budgets import Spend

Sign = Literal["+", "~", "="]
SIGNS: tuple[Sign, ...] = ("+", "~", "=")
SHOWN_TEXT = 40


@dataclass(frozen=True, slots=True)
class MadeJob:
    """A job that was made before: its number in the ledger, and what was paid for it, in nano-dollars."""

    job_id: int
    custom_id: str
    fingerprint: str
    paid_nano: int


@dataclass(slots=True)
class Sum:
    """Jobs of one sign: what they cost now, and what was paid for those that are there, in nano-dollars."""

    jobs: int = 0
    expected_nano: int = 0
    maximum_nano: int = 0
    paid_nano: int = 0

    def take(self, jobs: int, expected_nano: int, maximum_nano: int, *, paid_nano: int = 0) -> None:
        """Add, or take away."""
        self.jobs += jobs
        self.expected_nano += expected_nano
        self.maximum_nano += maximum_nano
        self.paid_nano += paid_nano


@dataclass(frozen=True, slots=True)
class Changes:
    """A plan's jobs by position: those that were made, those that were changed; all others are new.

    `pictures` are those of the changed ones whose content is the same and whose address has another picture.
    """

    made: Mapping[int, MadeJob] = field(default_factory=dict)
    changed: Mapping[int, MadeJob] = field(default_factory=dict)
    pictures: frozenset[int] = frozenset()

    def sign(self, position: int) -> Sign:
        """Return the sign of the job at a position."""
        if position in self.made:
            return "="
        return "~" if position in self.changed else "+"

    def sums(self, plan: Plan) -> dict[Sign, Sum]:
        """Add up a plan's jobs by sign. What is made costs nothing more."""
        total = plan.total
        sums = {sign: Sum() for sign in SIGNS}
        sums["+"] = Sum(total.jobs, total.expected_nano, total.maximum_nano)
        for found in filter(None, (self.changed, self.made)):
            part = plan.part(found).total
            sums["+"].take(-part.jobs, -part.expected_nano, -part.maximum_nano)
            if found is self.changed:
                sums["~"].take(part.jobs, part.expected_nano, part.maximum_nano)
            else:
                paid_nano = sum(before.paid_nano for before in found.values())
                sums["="].take(part.jobs, 0, 0, paid_nano=paid_nano)
        return sums


Lookup = Callable[[Collection[str]], Mapping[str, MadeJob]]
"""Returns, by fingerprint or by custom_id, the jobs that were made of those asked for, the newest of each."""


def look_up(identities: Sequence[tuple[str, str]], by_fingerprint: Lookup, by_name: Lookup) -> Changes:
    """Set the jobs of these identities (fingerprint and custom_id) beside what was made.

    Names are looked up only for jobs that were not made.
    """
    made = by_fingerprint({fingerprint for fingerprint, _ in identities})
    same = {
        position: made[fingerprint]
        for position, (fingerprint, _) in enumerate(identities)
        if fingerprint in made
    }
    if len(same) == len(identities):
        return Changes(same)
    names = {position: name for position, (_, name) in enumerate(identities) if position not in same}
    known = by_name(set(names.values()))
    return Changes(same, {position: known[name] for position, name in names.items() if name in known})


def compare(plan: Plan, made: Iterable[MadeJob]) -> Changes:
    """Set a plan's jobs beside jobs that are in memory; of several that fit, the last one counts."""
    known = list(made)
    by_fingerprint = {each.fingerprint: each for each in known}
    by_name = {each.custom_id: each for each in known}
    if not known:
        return Changes()
    return look_up(list(plan.identities()), lambda _: by_fingerprint, lambda _: by_name)


def to_pay(plan: Plan, changes: Changes) -> list[Spend]:
    """Return what is needed by model and client of what costs money: all but what is made already."""
    made = plan.part(changes.made).groups if changes.made else {}
    return [
        replace(each, maximum_nano=each.maximum_nano - made[each.model, each.client].maximum_nano)
        if (each.model, each.client) in made
        else each
        for each in plan.demands()
    ]


def what_differs(before: Job, now: Job) -> list[str]:
    """Name what makes two jobs of one name different videos: `resolution: 720p, was 480p`."""
    old, new = _content(before), _content(now)
    return [
        f"{name}: {_shown(new.get(name))}, was {_shown(old.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _content(job: Job) -> dict[str, Any]:
    addresses = {image.identity: image.identity for image in job.images}
    content = {"model": job.endpoint.model, **job.arguments(addresses), "take": job.take}
    return {name: value for name, value in content.items() if FAL_DEFAULTS.get(name) is not value}


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= SHOWN_TEXT else f"{text[: SHOWN_TEXT - 1]}…"
