"""What the provider knows, beside what the product believes: the oracle's verdict over one campaign."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from callsheet.ledger import FINISHED, JobRow, State
from callsheet.report.rows import ResultRow


@dataclass(slots=True)
class Judgement:
    """Counts. All that are not in `attacks` must be 0; `open_max` must not pass the cap.

    `missing` names what was lost, a line each.
    """

    jobs: int = 0
    accepted: int = 0
    delivered: int = 0
    reused: int = 0
    bad_replies: int = 0
    skipped: int = 0
    bought_twice: int = 0
    lost: int = 0
    corrupt: int = 0
    over_budget: int = 0
    over_slots: int = 0
    broken_promises: int = 0
    unfinished: int = 0
    parts_left: int = 0
    crashes: int = 0
    open_max: int = 0
    missing: list[str] = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Add another campaign's counts and lines; of `open_max` the larger."""
        for each in fields(self):
            one, two = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, max(one, two) if each.name == "open_max" else one + two)

    def write(self, path: Path) -> None:
        """Hand the counts over to another process."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Take over what another process wrote."""
        return cls(**json.loads(path.read_text()))


def judge(
    oracle: Mapping[str, Any],
    rows: Iterable[JobRow],
    folders: Mapping[str, Path],
    *,
    limit_nano: int,
    job_nano: int,
    slots: int,
    again: Iterable[tuple[ResultRow, Path]] = (),
) -> Judgement:
    """Compare. A job is known at the provider by its prompt, which names it.

    `again` are the results of a run that was to use what the others made, and buy nothing, each with the
    run's folder.
    """
    jobs = {json.loads(row.payload)["prompt"]: row for row in rows}
    accepted = oracle["accepted"]
    per_job = Counter(record["arguments"]["prompt"] for record in accepted)
    verdict = Judgement(
        jobs=len(jobs),
        accepted=len(accepted),
        bad_replies=sum(oracle["fired"].values()),
        open_max=oracle["open_max"],
        bought_twice=sum(count - 1 for count in per_job.values()),
        over_budget=_times_over(accepted, limit_nano, job_nano),
        over_slots=int(oracle["open_max"] > slots),
        unfinished=sum(row.state not in FINISHED for row in jobs.values()),
    )
    for record in accepted:
        _look_for(record, jobs[record["arguments"]["prompt"]], folders, verdict)
    for result, folder in again:
        _look_for_reused(result, folder, verdict)
    for folder in folders.values():
        verdict.parts_left += len(list(folder.rglob(".*.part")))
    verdict.corrupt += _strange_files(accepted, folders.values())
    return verdict


def _look_for(
    record: Mapping[str, Any], row: JobRow, folders: Mapping[str, Path], verdict: Judgement
) -> None:
    """A paid video must be a file of its job, byte for byte, with its cost in the book."""
    if record["status_code"] != 200:
        return
    known = row.state is State.SUCCEEDED and row.ticket is not None and row.ticket.request_id == record["id"]
    if not known or row.output is None or row.spent_nano != record["cost_nano"]:
        verdict.lost += 1
        verdict.missing.append(f"paid and lost: {dict(record)}; {row}")
        return
    path = folders[row.run_id] / row.output.path
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
        verdict.corrupt += 1
        return
    verdict.delivered += 1


def _look_for_reused(row: ResultRow, folder: Path, verdict: Judgement) -> None:
    """The results of a run name a video that was made before where it stands, byte for byte."""
    if row.status != "already_made":
        return
    path = folder / row.output_path
    if not path.is_file():
        verdict.lost += 1
        verdict.missing.append(f"used again and not there: {row}")
    elif hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
        verdict.corrupt += 1
    else:
        verdict.reused += 1


def _strange_files(accepted: Iterable[Mapping[str, Any]], folders: Iterable[Path]) -> int:
    """Count finished files that no render of this campaign made."""
    made = {record["sha256"] for record in accepted}
    files = [path for folder in folders for path in (folder / "media").glob("*.mp4")]
    return sum(hashlib.sha256(path.read_bytes()).hexdigest() not in made for path in files)


def _times_over(accepted: Iterable[Mapping[str, Any]], limit_nano: int, job_nano: int) -> int:
    """Count acceptances at whose instant the worst case of all that was bought passed the limit.

    What is open may still cost its maximum; what has ended has cost what was billed.
    """
    records = sorted(accepted, key=lambda record: record["submitted_at"])
    over = 0
    for index, record in enumerate(records):
        now = record["submitted_at"]
        worst = sum(
            earlier["cost_nano"] if (earlier["completed_at"] or now + 1) <= now else job_nano
            for earlier in records[: index + 1]
        )
        over += worst > limit_nano
    return over
