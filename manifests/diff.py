"""A plan beside what its campaign has paid for: new, changed, already made.

    +  new           nothing of that name was made in this campaign
    ~  changed       something of that name was made, with other content: it costs money again
    =  already made  exactly this was made and paid for: it costs nothing
    >  in flight     an unfinished run is making exactly this, or is about to: this run does not buy it

Pure. What makes a video is its content (`Job.fingerprint`); a custom_id is only a name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Literal

from manifests.job import FAL_DEFAULTS, Job
from manifests.plan import Plan, Total
from pricing.budgets import Spend

Sign = Literal["+", "~", "=", ">"]
SIGNS: tuple[Sign, ...] = ("+", "~", "=", ">")
SHOWN_TEXT, SHOWN_BEFORE = 40, 10


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

    def less(self, other: Total) -> Sum:
        """Return the same without these jobs."""
        return Sum(
            self.jobs - other.jobs,
            self.expected_nano - other.expected_nano,
            self.maximum_nano - other.maximum_nano,
            self.paid_nano,
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """A plan's jobs by position: made, changed, or in flight in the run named; all others are new.

    `pictures` are those of the changed ones whose content is the same and whose address has another picture.
    """

    made: Mapping[int, MadeJob] = field(default_factory=dict)
    changed: Mapping[int, MadeJob] = field(default_factory=dict)
    pictures: frozenset[int] = frozenset()
    in_flight: Mapping[int, str] = field(default_factory=dict)

    @property
    def costless(self) -> Collection[int]:
        """The positions of the jobs that cost this run nothing: made, or bought by another run."""
        return {*self.made, *self.in_flight} if self.in_flight else self.made.keys()

    def beside(self, in_flight: Mapping[int, str]) -> Changes:
        """Return the same with these jobs, none of which is made, in flight in these runs."""
        changed = {at: before for at, before in self.changed.items() if at not in in_flight}
        return replace(self, changed=changed, pictures=self.pictures - in_flight.keys(), in_flight=in_flight)

    def sign(self, position: int) -> Sign:
        """Return the sign of the job at a position."""
        if position in self.made:
            return "="
        if position in self.in_flight:
            return ">"
        return "~" if position in self.changed else "+"

    def sums(self, plan: Plan) -> dict[Sign, Sum]:
        """Add up a plan's jobs by sign. What is made or in flight costs this run nothing."""
        total = plan.total
        sums = {sign: Sum() for sign in SIGNS}
        sums["+"] = Sum(total.jobs, total.expected_nano, total.maximum_nano)
        others: tuple[tuple[Sign, Mapping[int, object]], ...] = (
            ("~", self.changed),
            ("=", self.made),
            (">", self.in_flight),
        )
        for sign, found in others:
            if not found:
                continue
            part = plan.part(found).total
            sums["+"] = sums["+"].less(part)
            sums[sign] = (
                Sum(part.jobs, part.expected_nano, part.maximum_nano) if sign == "~" else Sum(part.jobs)
            )
        sums["="].paid_nano = sum(before.paid_nano for before in self.made.values())
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


def to_pay(plan: Plan, changes: Changes) -> list[Spend]:
    """Return what is needed by model and client of what costs this run money: see `Changes.costless`."""
    costless = plan.part(changes.costless).groups if changes.costless else {}
    return [
        replace(each, maximum_nano=each.maximum_nano - costless[each.model, each.client].maximum_nano)
        if (each.model, each.client) in costless
        else each
        for each in plan.demands()
    ]


def what_differs(before: Job, now: Job) -> list[str]:
    """Name what makes two jobs of one name different videos: `resolution: 720p, was 480p`."""
    old, new = _content(before), _content(now)
    return [
        f"{name}: {', was '.join(_shown(new.get(name), old.get(name)))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _content(job: Job) -> dict[str, Any]:
    addresses = {image.identity: image.identity for image in job.images}
    content = {"model": job.endpoint.model, **job.arguments(addresses), "take": job.take}
    return {name: value for name, value in content.items() if FAL_DEFAULTS.get(name) is not value}


def _shown(now: Any, before: Any) -> list[str]:
    """Return both values as texts of one line; long ones from shortly before the place where they differ."""
    texts = [_text(now), _text(before)]
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False)))
    is_late = same > SHOWN_TEXT - SHOWN_BEFORE and max(map(len, texts)) > SHOWN_TEXT
    return [_cut(text, same - SHOWN_BEFORE if is_late else 0) for text in texts]


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("\n", r"\n")


def _cut(text: str, start: int) -> str:
    text = f"…{text[start + 1 :]}" if start else text
    return text if len(text) <= SHOWN_TEXT else f"{text[: SHOWN_TEXT - 1]}…"
