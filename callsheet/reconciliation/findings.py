"""What reconciling found out, submission by submission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from callsheet.ledger import JobRow
from callsheet.provider.platform_messages import iso

Outcome = Literal[
    "found",
    "absent",
    "unknown",
    "ambiguous",
    "mismatch",
    "rendering",
    "rendered",
    "collected",
    "failed",
    "lost",
    "orphan",
]
"""How a submission stands after the look at fal.

found      the request turned up and is followed from now on
absent     it never arrived and cannot any more: its money is free again
unknown    not known yet (`again_ms` says when to look again), or fal's records could not be read
ambiguous  several requests or several attempts fit: a person has to decide
mismatch   the request is booked for another job, which sent something else: a person has to look at both
rendering  fal still works on it
rendered   the render has ended; `resume` of its run fetches the file
collected  the file is here and verified
failed     it ended without a file, as fal says
lost       fal holds neither the request nor its result any more: its money counts as spent
orphan     a request that holds what a job of ours sent, and that no job claims: paid for, and never fetched
"""

UNDECIDED: tuple[Outcome, ...] = ("unknown", "ambiguous", "mismatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One submission. `why` is a sentence for people.

    `again_ms` (Unix milliseconds) is from when on another look counts even if the request does not turn up.
    `was_found` says that it was unknown before this look, whatever it came to since.
    """

    outcome: Outcome
    job_id: int
    run_id: str
    custom_id: str
    why: str = ""
    request_ids: tuple[str, ...] = ()
    again_ms: int | None = None
    was_found: bool = False


def finding(outcome: Outcome, row: JobRow, why: str = "", **more: Any) -> Finding:
    """Make the finding of a job."""
    return Finding(
        outcome=outcome, job_id=row.job_id, run_id=row.run_id, custom_id=row.custom_id, why=why, **more
    )


@dataclass(slots=True)
class Findings:
    """Everything one look found out.

    `busy` are runs that another process works on; they were left alone. `unknown_elsewhere` counts unknown
    submissions that were not looked at.
    """

    each: list[Finding] = field(default_factory=list)
    busy: tuple[str, ...] = ()
    unknown_elsewhere: int = 0

    def take(self, more: Iterable[Finding]) -> None:
        """Add findings; what a job came to later replaces what it was before, except that it was found.

        An orphan stands beside whatever became of the job that had sent it.
        """
        known = {_place(finding): finding for finding in self.each}
        for finding in more:
            before = known.get(_place(finding))
            was_found = before is not None and before.was_found
            known[_place(finding)] = replace(finding, was_found=was_found or finding.was_found)
        self.each = sorted(known.values(), key=lambda finding: finding.job_id)

    def by(self, *outcomes: Outcome) -> Sequence[Finding]:
        """Return those with one of these outcomes."""
        return [finding for finding in self.each if finding.outcome in outcomes]

    @property
    def of_submissions(self) -> Sequence[Finding]:
        """Those that say how a submission stands. An orphan is none: nothing is left to do for it here."""
        return [finding for finding in self.each if finding.outcome != "orphan"]

    @property
    def undecided(self) -> int:
        """How many submissions are still unknown."""
        return len(self.by(*UNDECIDED)) + self.unknown_elsewhere

    @property
    def again_ms(self) -> int | None:
        """From when on another look counts for something that does not turn up; None where no look can."""
        return min((each.again_ms for each in self.by(*UNDECIDED) if each.again_ms is not None), default=None)

    def in_words(self) -> str:
        """Return one line: "2 found, 1 unknown"; empty where there was nothing to find."""
        counts = Counter(finding.outcome for finding in self.each)
        return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())

    def document(self) -> dict[str, Any]:
        """Return the findings as a JSON document, a list per outcome."""
        lists: dict[str, Any] = {}
        for each in self.each:
            lists.setdefault(each.outcome, []).append(_document(each))
        if self.again_ms is not None:
            lists["look_again_at"] = iso(self.again_ms)
        return {**lists, "undecided": self.undecided, "busy_runs": list(self.busy)}


def _place(finding: Finding) -> tuple[int, tuple[str, ...]]:
    return finding.job_id, finding.request_ids if finding.outcome == "orphan" else ()


def _document(finding: Finding) -> dict[str, Any]:
    document: dict[str, Any] = {
        "job": finding.job_id,
        "run_id": finding.run_id,
        "custom_id": finding.custom_id,
        "why": finding.why,
        "was_found": finding.was_found,
        "request_ids": list(finding.request_ids),
    }
    if finding.again_ms is not None:
        document["look_again_at"] = iso(finding.again_ms)
    return document
