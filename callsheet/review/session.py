"""What is looked at and judged of one run: its clips, the retakes that were ordered, and selection.csv.

One process serves a run; several may serve the same one, because what counts is in the ledger. To be used
from one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from callsheet.engine.results import facts_of, manifest_of, other_takes, result_rows, reviewed, write_report
from callsheet.errors import ManifestError, UsageError
from callsheet.ledger import (
    AccountRef,
    Ledger,
    Run,
    admission,
    queries,
    refs_of_owners,
    reviews,
)
from callsheet.ledger.records import Change
from callsheet.report.clips import review_document
from callsheet.report.page import existing_pictures, parts_of, render_page
from callsheet.report.rows import ResultRow
from callsheet.report.run_files import RUN_AGAIN, SELECTION_FILE, selection_text, write_selection
from callsheet.report.summary import summarise
from manifests.columns import SEED_MAX
from manifests.retakes import Retake, checked_retake, new_seed, next_take, retake_cells, take_name
from manifests.selection import VERDICTS
from pricing.catalog import load_catalog

TRIES = 1_000
"""Numbers of takes that are tried until one is free."""

DOCUMENTS = ("results.csv", "results.parquet", "errors.csv", "summary.json")
"""Files of the run that the page links to."""


class ReviewSession:
    """The clips of one run and what is said about them. `warn` is told what a person should know."""

    def __init__(self, ledger: Ledger, run: Run, warn: Callable[[str], None] = lambda _: None) -> None:
        self._ledger = ledger
        self._run = run
        self._warn = warn
        self._written: str | None = None
        self._folder = Path(run.out)
        self._catalog = load_catalog()
        self._files: dict[str, Path] = {}
        self._names: dict[str, str] = {}
        self.load()

    def load(self) -> None:
        """Read the run anew: others may have judged, and retakes may have been bought."""
        self._rows = result_rows(self._ledger, self._run)
        self._others = other_takes(self._ledger, self._run, self._rows)
        self._at = {row.job_id: place for place, row in enumerate(self._rows) if row.job_id}
        self._manifest = manifest_of(self._run, self._rows)
        self._retakes: dict[int, Retake | None] = {
            row.job_id: self._ordered(row) for row in self._rows if row.verdict == "retake"
        }
        self._bought = self._read_bought()

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
                "retakes": {job_id: self.retake_of(job_id) for job_id in self._retakes},
                "bought": sorted(self._bought),
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

        `retake` counts the retakes that are on order, and `bought` those that were bought. `maximum` is what
        the former cost at most, and `left` what the nearest cap that they count in leaves, in nano-dollars;
        None without any.
        """
        counts = Counter(row.verdict for row in self._rows)
        bought = len(self._bought & self._retakes.keys())
        ordered = [
            retake for job_id, retake in self._retakes.items() if retake and job_id not in self._bought
        ]
        return {
            **{verdict: counts[verdict] for verdict in VERDICTS},
            "retake": counts["retake"] - bought,
            "bought": bought,
            "maximum": sum(retake.price.maximum_nano for retake in ordered),
            "left": self._left(ordered),
        }

    def _left(self, ordered: Sequence[Retake]) -> int | None:
        """Return what the cap leaves now that is nearest to what these retakes need of it."""
        campaign, run_id, now_ms = self._run.campaign, self._run.run_id, self._ledger.do(queries.now_ms)
        needed: Counter[AccountRef] = Counter()
        for retake in ordered:
            owners = [(retake.job.client, retake.job.endpoint.model)]
            refs = refs_of_owners(owners, campaign=campaign, run_id=run_id, at_ms=now_ms)
            needed.update(dict.fromkeys(refs, retake.price.maximum_nano))
        accounts = self._ledger.do(admission.headroom, [ref for ref in needed if ref.scope != "run"])
        left = {ref: account.left_nano for ref, account in accounts.items() if account.left_nano is not None}
        return min(((nano - needed[ref], nano) for ref, nano in left.items()), default=(0, None))[1]

    def retake_of(self, job_id: int) -> dict[str, Any] | None:
        """Describe the retake of a clip: its name, what it costs in nano-dollars, and whether it was bought.

        None where none is ordered, and where the one that is can no longer be made.
        """
        retake = self._retakes.get(job_id)
        if retake is None:
            return None
        return {
            "id": retake.cells["custom_id"],
            "expected": retake.price.expected_nano,
            "maximum": retake.price.maximum_nano,
            "bought": job_id in self._bought,
        }

    def reviews_of(self, job_id: int) -> list[dict[str, Any]]:
        """Return what was said about a clip, oldest first."""
        return [review_document(review) for review in self._ledger.do(reviews.history, [job_id])]

    def selection(self) -> str:
        """Return selection.csv as it is now."""
        return self._text(self._rows, self._retakes)

    def _text(self, rows: Sequence[ResultRow], retakes: Mapping[int, Retake | None]) -> str:
        cells = {row.custom_id: retake.cells for row in rows if (retake := retakes.get(row.job_id))}
        named = {"campaign": self._run.campaign, "run_id": self._run.run_id}
        return selection_text(self._manifest, rows, cells, **named)

    # -- what is written -------------------------------------------------------------------------------------

    def judge(
        self,
        job_id: int,
        *,
        verdict: str | None,
        note: str,
        changes: Mapping[str, str | int] | None,
        by: str,
        seen: int,
    ) -> dict[str, Any]:
        """Write down what a person says about a clip, and selection.csv.

        `verdict` None is a note alone: the verdict and the retake stay as they are. `changes` may hold
        `prompt`, `model` and `seed` of a retake, None for what the clip's last retake was ordered with; its
        number, and a seed where none was chosen, are added. Raises UsageError for a clip that is not of this
        run, ManifestError for a retake that cannot be made, JudgedMeanwhile where `seen` is not the newest
        review, and OSError.
        """
        if job_id not in self._at:
            raise UsageError("this clip is not of this run")
        self._read_judgements()
        row, before, written = self._rows[self._at[job_id]], self._retakes.get(job_id), {}
        if verdict is None:
            verdict, written = row.verdict, dict(row.review.changes) if row.review else {}
        elif verdict == "retake":
            written = self._completed(row, changes)
            retake = checked_retake(retake_cells(row.job, written), self._folder, self._catalog)
            if not retake.cells["seed"]:  # the model takes none
                written.pop("seed", None)
        review = self._ledger.do(
            reviews.judge, job_id, verdict=verdict, note=note, changes=written, by=by, seen=seen
        )
        self._read_judgements()
        edited = self._write_selection(row, before)
        return {
            "review": review_document(review),
            "edited": edited,
            "retake": self.retake_of(job_id),
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
        self._bought = self._read_bought()

    def _read_bought(self) -> frozenset[int]:
        """Return the jobs whose last ordered retake was bought, or is being made."""
        names = {
            row.job_id: take_name(row.shot, int(order["take"]))
            for row in self._rows
            if (order := _last_order(row))
        }
        found = self._ledger.do(queries.by_name, self._run.campaign, set(names.values()))
        bought = {name for name, job in found.items() if job.is_made or job.state not in RUN_AGAIN}
        return frozenset(job_id for job_id, name in names.items() if name in bought)

    def _completed(self, row: ResultRow, changes: Mapping[str, str | int] | None) -> dict[str, str | int]:
        """Add the number of the take, and a seed where none was chosen.

        What was ordered last and is not bought yet keeps its number and its seed, also where it was taken
        back in between.
        """
        last = _last_order(row)
        if changes is None:
            changes = {name: last[name] for name in ("prompt", "model") if name in last}
        number = int(last.get("take", 0))
        if not number or row.job_id in self._bought or number in self._ordered_by_others(row):
            return {"seed": new_seed(), **changes, "take": self._next_take(row)}
        return {"seed": last.get("seed", new_seed()), **changes, "take": number}

    def _of_shot(self, row: ResultRow) -> list[ResultRow]:
        """Return the clips of a shot, those of other runs as well."""
        return [each for each in (*self._rows, *self._others) if each.shot == row.shot]

    def _ordered_by_others(self, row: ResultRow) -> set[int]:
        """Return the numbers that the other clips of a shot have on order."""
        others = (each for each in self._of_shot(row) if each.job_id != row.job_id)
        orders = (each.review.changes for each in others if each.review and each.verdict == "retake")
        return {int(order.get("take", 1)) for order in orders}

    def _next_take(self, row: ResultRow) -> int:
        """Return the first number after those that the shot has, here, on order, and in the campaign."""
        here = {each.job.take for each in self._of_shot(row)}
        first = next_take({1} | here | self._ordered_by_others(row))
        names = {number: take_name(row.shot, number) for number in range(first, first + TRIES)}
        known = self._ledger.do(queries.by_name, self._run.campaign, set(names.values()))
        return next(number for number, name in names.items() if name not in known)

    def _write_selection(self, before: ResultRow, retake: Retake | None) -> str:
        """Write selection.csv after a clip was judged that was `before`, with this retake.

        Returns the name under which an edited one was kept, "" where there was none.
        """

        def known() -> Iterator[str]:
            if self._written is not None:
                yield self._written
            place = self._at[before.job_id]
            rows = [*self._rows[:place], before, *self._rows[place + 1 :]]
            yield self._text(rows, {**self._retakes, before.job_id: retake})

        text = self.selection()
        edited = write_selection(self._folder, text, known())
        self._written = text
        if edited is None:
            return ""
        self._warn(
            f"{SELECTION_FILE} was not as Callsheet had written it; what stood there is kept as {edited}"
        )
        return edited.name

    def finish(self) -> Path | None:
        """Write the run's results and page again. Returns selection.csv, None where nothing was judged."""
        write_report(self._ledger, self._run, self._warn)
        path = self._folder / SELECTION_FILE
        return path if path.is_file() else None


def _last_order(row: ResultRow) -> Mapping[str, Change]:
    """Return what the last retake of a clip was ordered with, whatever was said since; empty without one."""
    ordered = (review.changes for review in reversed(row.reviews) if review.verdict == "retake")
    return next((changes for changes in ordered if "take" in changes), {})
