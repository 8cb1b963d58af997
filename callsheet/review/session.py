"""What is looked at and judged of one run: its clips, the retakes that were ordered, and selection.csv.

One process serves a run; several may serve the same one, because what counts is in the ledger. To be used
from one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from callsheet.engine.results import facts_of, manifest_of, other_takes, result_rows, reviewed, write_report
from callsheet.errors import ManifestError, UsageError
from callsheet.ledger import Ledger, Run, queries, reviews
from callsheet.report.clips import review_document
from callsheet.report.page import existing_pictures, parts_of, render_page
from callsheet.report.rows import ResultRow
from callsheet.report.run_files import SELECTION_FILE, selection_text, write_selection
from callsheet.report.summary import summarise
from manifests.columns import SEED_MAX
from manifests.retakes import Retake, checked_retake, new_seed, next_take, retake_cells, shot_of, take_name
from manifests.selection import VERDICTS
from pricing.catalog import Catalog, load_catalog

TRIES = 1_000
"""Numbers of takes that are tried until one is free."""

DOCUMENTS = ("results.csv", "results.parquet", "errors.csv", "summary.json")
"""Files of the run that the page links to."""


class ReviewSession:
    """The clips of one run and what is said about them."""

    def __init__(self, ledger: Ledger, run: Run) -> None:
        self._ledger = ledger
        self._run = run
        self._folder = Path(run.out)
        self._catalog: Catalog = load_catalog()
        self._files: dict[str, Path] = {}
        self._names: dict[str, str] = {}
        self._retakes: dict[int, Retake | None] = {}
        self.load()

    def load(self) -> None:
        """Read the run anew: others may have judged, and retakes may have been bought."""
        self._rows = result_rows(self._ledger, self._run)
        self._others = other_takes(self._ledger, self._run, self._rows)
        self._at = {row.job_id: place for place, row in enumerate(self._rows) if row.job_id}
        self._manifest = manifest_of(self._run, self._rows)
        self._retakes = {row.job_id: self._ordered(row) for row in self._rows if row.verdict == "retake"}

    def _ordered(self, row: ResultRow) -> Retake | None:
        """Return the retake that was ordered of a clip, None where it can no longer be made as it was."""
        assert row.review is not None
        try:
            cells = retake_cells(row.job, row.review.changes)
            return checked_retake(cells, self._folder, self._catalog)
        except (ManifestError, KeyError, LookupError):
            return None

    # -- what is read ----------------------------------------------------------------------------------------

    def page(self, part: int = 1) -> str:
        """Return a part of the page, with addresses under which `file` finds its videos and pictures.

        A part that does not exist is the first.
        """
        self.load()
        facts = facts_of(self._ledger, self._run, self._rows)
        pieces = render_page(
            summarise(facts, self._rows),
            self._rows,
            self._others,
            part=part if part <= len(parts_of(self._rows)) else 1,
            part_address="./?part={}".format,
            pictures=existing_pictures(self._folder, [*self._rows, *self._others]),
            address=self._address,
            review={
                "models": self._models(),
                "seed_max": SEED_MAX,
                "tally": self.tally(),
                "retakes": {job_id: _retake_document(retake) for job_id, retake in self._retakes.items()},
            },
        )
        return "".join(pieces)

    def _address(self, path: str) -> str:
        """Give a file of the run an address that says nothing of where it is."""
        name = self._names.setdefault(path, f"file/{len(self._names)}{PurePosixPath(path).suffix}")
        self._files[name] = self._folder / path
        return name

    def file(self, name: str) -> Path | None:
        """Return the file of an address that the page has, or a document of the run; None for any other."""
        return self._folder / name if name in DOCUMENTS else self._files.get(name)

    def _models(self) -> dict[str, list[str]]:
        """Return the models that make videos from what a clip was made from, by task."""
        found: dict[str, list[str]] = {}
        for endpoint in self._catalog.endpoints.values():
            if endpoint.task != "draft-to-video" and endpoint.model not in found.setdefault(
                endpoint.task, []
            ):
                found[endpoint.task].append(endpoint.model)
        return found

    def tally(self) -> dict[str, Any]:
        """Count the verdicts, and say what the retakes cost.

        `maximum` is that at most, and `left` what the nearest cap leaves, in nano-dollars; None without any.
        """
        counts = Counter(row.verdict for row in self._rows)
        caps = facts_of(self._ledger, self._run, self._rows).caps
        left = [
            max(0, (cap.limit_nano or 0) - cap.spent_nano - cap.held_nano)
            for cap in caps
            if cap.ref.scope != "run"
        ]
        return {
            **{verdict: counts[verdict] for verdict in VERDICTS},
            "maximum": sum(each.price.maximum_nano for each in self._retakes.values() if each),
            "left": min(left, default=None),
        }

    def reviews_of(self, job_id: int) -> list[dict[str, Any]]:
        """Return what was said about a clip, oldest first."""
        return [review_document(review) for review in self._ledger.do(reviews.history, [job_id])]

    def selection(self) -> str:
        """Return selection.csv as it is now."""
        return selection_text(
            self._manifest,
            self._rows,
            self._cells(),
            campaign=self._run.campaign,
            run_id=self._run.run_id,
        )

    def _cells(self) -> dict[str, Mapping[str, str]]:
        rows = (self._rows[self._at[job_id]] for job_id in self._retakes)
        return {row.custom_id: retake.cells for row in rows if (retake := self._retakes[row.job_id])}

    # -- what is written -------------------------------------------------------------------------------------

    def judge(
        self, job_id: int, *, verdict: str, note: str, changes: Mapping[str, str | int], by: str, seen: int
    ) -> dict[str, Any]:
        """Write down what a person says about a clip, and selection.csv.

        `changes` may hold `prompt`, `model` and `seed` of a retake; its number, and a seed where none was
        chosen, are added. Raises UsageError for a clip that is not of this run, ManifestError for a retake
        that cannot be made, JudgedMeanwhile where `seen` is not the newest review, and OSError.
        """
        if job_id not in self._at:
            raise UsageError("this clip is not of this run")
        self._read_judgements()
        place = self._at[job_id]
        row, retake, written = self._rows[place], None, {}
        if verdict == "retake":
            written = self._completed(row, changes)
            retake = checked_retake(retake_cells(row.job, written), self._folder, self._catalog)
            if not retake.cells["seed"]:  # the model takes none
                written.pop("seed", None)
        review = self._ledger.do(
            reviews.judge, job_id, verdict=verdict, note=note, changes=written, by=by, seen=seen
        )
        self._read_judgements()
        self._write_selection()
        return {
            "review": review_document(review),
            "retake": _retake_document(retake),
            "tally": self.tally(),
        }

    def _read_judgements(self) -> None:
        """Read what was said about the clips since: selection.csv has it too, whoever judged."""
        before = self._rows
        self._rows = reviewed(self._ledger, before)
        for old, row in zip(before, self._rows, strict=True):
            if row.review != old.review:
                self._retakes.pop(row.job_id, None)
                if row.verdict == "retake":
                    self._retakes[row.job_id] = self._ordered(row)

    def _completed(self, row: ResultRow, changes: Mapping[str, str | int]) -> dict[str, str | int]:
        """Add the number of the take, and a seed where none was chosen.

        What was ordered before and is not bought yet keeps its number and its seed.
        """
        before = row.review.changes if row.review and row.review.verdict == "retake" else {}
        number = int(before.get("take", 0))
        if not number or self._is_bought(row, number):
            number, before = self._next_take(row), {}
        return {"seed": before.get("seed", new_seed()), **changes, "take": number}

    def _is_bought(self, row: ResultRow, take: int) -> bool:
        name = take_name(shot_of(row.custom_id, row.job.take), take)
        return bool(self._ledger.do(queries.by_name, self._run.campaign, [name]))

    def _next_take(self, row: ResultRow) -> int:
        """Return the first number after those that the shot has, here, on order, and in the campaign."""
        shot = shot_of(row.custom_id, row.job.take)
        numbers = [1]
        for each in (*self._rows, *self._others):
            if shot_of(each.custom_id, each.job.take) == shot:
                numbers.append(each.job.take)
                if each.review and each.review.verdict == "retake" and each.job_id != row.job_id:
                    numbers.append(int(each.review.changes.get("take", 1)))
        first = next_take(numbers)
        return next(number for number in range(first, first + TRIES) if not self._is_bought(row, number))

    def _write_selection(self) -> None:
        write_selection(
            self._folder,
            self._manifest,
            self._rows,
            self._cells(),
            campaign=self._run.campaign,
            run_id=self._run.run_id,
        )

    def finish(self) -> Path | None:
        """Write the run's results and page again. Returns selection.csv, None where nothing was judged."""
        write_report(self._ledger, self._run)
        path = self._folder / SELECTION_FILE
        return path if path.is_file() else None


def _retake_document(retake: Retake | None) -> dict[str, Any] | None:
    """Describe what a retake is called and costs, in nano-dollars."""
    if retake is None:
        return None
    return {
        "id": retake.cells["custom_id"],
        "expected": retake.price.expected_nano,
        "maximum": retake.price.maximum_nano,
    }
