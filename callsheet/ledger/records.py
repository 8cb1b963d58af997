"""What goes into the ledger and what comes out of it.

Money is whole nano-dollars, times are whole Unix milliseconds (UTC); None means "not yet" or "not known".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from callsheet.ledger.states import FINISHED, Charged, CostBasis, State
from callsheet.ticket import Ticket
from manifests.job import label
from manifests.look import Flag
from pricing.quotes import DRAFT_ID_MAX_CHARS, DRAFT_KEPT_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """One execution of a plan.

    `out` is the folder of its results; `options`, `prices` (the pinned rates) and `look` (what is
    flagged) are the engine's own texts.
    `priority` and `share` are the campaign's: who goes first where several campaigns wait for slots, and how
    many slots each gets beside the others (at least 1).
    """

    run_id: str
    campaign: str
    plan_hash: str
    price_book: str
    out: str
    options: str = ""
    prices: str = ""
    priority: int = 0
    share: int = 1
    look: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """One video to make.

    `row` is the manifest's row as errors count it, `take` starts at 1, `client` is empty where there is none,
    `payload` is the engine's own text. `maximum_nano`, above 0, is what is held. `render_kind` groups jobs
    that should take equally long to render, for `history.render_times`. `draft` says that what is bought is a
    draft, which `finishing.finish` may follow. `position` is the place in the plan;
    None counts from the job before. `retake` counts the retakes of that place which the run orders by itself,
    at most `retakes_max`; 0 is the plan's own job.
    """

    row: int
    custom_id: str
    endpoint: str
    model: str
    fingerprint: str
    payload: str
    expected_nano: int
    maximum_nano: int
    take: int = 1
    priority: int = 0
    client: str = ""
    output_name: str = ""
    render_kind: str = ""
    draft: bool = False
    position: int | None = None
    retake: int = 0
    retakes_max: int = 0

    @property
    def label(self) -> str:
        """The job's name with its row of the manifest, for messages."""
        return label(self.custom_id, self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFinish:
    """The full-size version of a draft, to be bought as the second purchase of the draft's job.

    Its endpoint, payload, name, kind and amounts take the place of the draft's.
    """

    job_id: int
    endpoint: str
    payload: str
    output_name: str
    render_kind: str
    expected_nano: int
    maximum_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(NewRun):
    """A run as the ledger has it."""

    created_ms: int
    opened_ms: int | None = None
    stopping_ms: int | None = None
    closed_ms: int | None = None

    @property
    def is_going_on(self) -> bool:
        """Whether it may still buy: it was neither closed nor asked to stop."""
        return self.stopping_ms is None and self.closed_ms is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One attempt at a job: at most one paid POST.

    `number` counts the job's submissions from 1; `endpoint` is the model that was ordered from. `cost_nano`
    is None until the cost is booked; `cost_basis` says where the figure comes from. `seed` is what was sent,
    `seed_used` what fal says it used.
    `lead_request_id` came in a header of a broken reply. `start_timeout_s` is the wait for a start, in
    seconds, that fal was told to allow; None before anything was sent. `unseen_ms` is when fal's
    records, read whole after the deadline, first did not show it, by fal's clock. `sent_ms` is when the POST
    was about to leave, `submitted_ms` when its request id was known, `closed_ms` when nothing was left to do
    for it. `account` (a hash of the key's id) and `queue_url` say where it was sent, empty where not known:
    a 404 of another account proves nothing.
    """

    submission_id: int
    job_id: int
    number: int
    hold_nano: int
    admitted_ms: int
    endpoint: str = ""
    cost_nano: int | None = None
    cost_basis: CostBasis | None = None
    billable_units: str | None = None
    seed: int | None = None
    seed_used: int | None = None
    arguments_sha256: str | None = None
    account: str = ""
    queue_url: str = ""
    ticket: Ticket | None = None
    lead_request_id: str | None = None
    start_timeout_s: int | None = None
    unseen_ms: int | None = None
    result_json: str | None = None
    sent_ms: int | None = None
    submitted_ms: int | None = None
    started_ms: int | None = None
    rendered_ms: int | None = None
    booked_ms: int | None = None
    closed_ms: int | None = None

    @property
    def booked(self) -> bool:
        """Whether the hold has been turned into a cost or given back."""
        return self.booked_ms is not None

    @property
    def draft_id(self) -> str:
        """The id by which fal finishes what was drafted; "" where its result names none that can be sent."""
        try:
            draft_id = json.loads(self.result_json or "{}")["draft_id"]
        except (ValueError, KeyError, TypeError):
            return ""
        return draft_id if isinstance(draft_id, str) and len(draft_id) <= DRAFT_ID_MAX_CHARS else ""

    @property
    def finish_until_ms(self) -> int:
        """Until when a draft can be finished, counted from when it was sent: never later than fal counts."""
        return (self.sent_ms or self.submitted_ms or self.admitted_ms) + DRAFT_KEPT_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that was kept. `path` is relative to the folder of the run whose job it is.

    `flags` are what the technical look found.
    """

    path: str
    url: str
    sha256: str
    bytes: int
    width_px: int
    height_px: int
    fps: float
    duration_s: float
    has_audio: bool
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(NewJob):
    """A job with everything that the results need.

    `attempts` counts POSTs that may have arrived, `purchases` those that fal accepted; where the job
    finishes a draft, those of the finish. `submission` is the latest one, `spent_nano` what all of them
    cost. Where the job finishes a draft, `draft_output_id` is the draft's file, `draft_nano` what the
    draft cost, and `draft_expected_nano` and `draft_maximum_nano` are its price. `output_run_id` is the
    run that made the file of `output`, another one for a job that is `already_made`, and
    `output_path_there` its path in that folder.
    """

    job_id: int
    run_id: str
    position: int
    spent_nano: int
    state: State
    attempts: int
    purchases: int
    error_type: str
    error: str
    charged: Charged | Literal[""]
    draft: bool = False
    draft_output_id: int | None = None
    draft_expected_nano: int = 0
    draft_maximum_nano: int = 0
    draft_nano: int = 0
    submission: Submission | None = None
    output: Output | None = None
    output_run_id: str | None = None
    output_path_there: str | None = None

    @property
    def ticket(self) -> Ticket | None:
        """Where the latest submission is at fal, if its request id is known."""
        return self.submission.ticket if self.submission else None

    @property
    def attempt(self) -> int:
        """The latest submission's number, 0 without one: what a verb names that acts on what was read."""
        return self.submission.number if self.submission else 0

    @property
    def booked(self) -> bool:
        """Whether the latest submission's cost is booked."""
        return self.submission is not None and self.submission.booked

    @property
    def is_finish(self) -> bool:
        """Whether the job finishes a draft, or has finished it."""
        return self.draft_output_id is not None

    @property
    def is_made(self) -> bool:
        """Whether it has a file that was ordered: its video, or the draft that it finishes."""
        return self.output is not None and (self.state is State.SUCCEEDED or self.is_finish)

    @property
    def finished_ms(self) -> int | None:
        """When the latest submission ended; None while one is open, and where there is none."""
        return self.submission.closed_ms if self.submission else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A run at a glance. States that no job is in are left out of `counts`.

    `frozen` means that a bill came out above its hold and that nothing more is admitted until a person has
    looked.
    """

    counts: Mapping[State, int]
    held_nano: int
    spent_nano: int
    frozen: bool = False

    @property
    def jobs(self) -> int:
        """How many jobs the run has."""
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        """How many of them are done, well or badly."""
        return sum(count for state, count in self.counts.items() if state in FINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a dead owner left behind: jobs whose outcome is unknown now, and jobs put back to `pending`."""

    unknown: int
    released: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that claimed a run, or a part of it, last: its host and number, and since when."""

    host: str
    pid: int
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """A run that has bought something, or is about to, and is not finished with it.

    `slots` of its jobs hold a slot; `open_jobs` have a submission that is not over (held, submitting,
    unknown, in_queue, in_progress, rendered). `alive` says whether a living process owns any part of the run.
    `owner` is None for a run that was never claimed.
    """

    run_id: str
    campaign: str
    slots: int
    open_jobs: int
    owner: Owner | None
    alive: bool


@dataclass(frozen=True, slots=True)
class Range:
    """Jobs of a run by their positions, both ends included."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """How the part is called: `0-999`."""
        return f"{self.first}-{self.last}"

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and self.first <= position <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWork:
    """What is left to do of a part, and whose it is. `range` is None for a whole run (`part` is "").

    `pending`, `active` (holds a slot and its outcome is not unknown) and `rendered` (its file is to come) say
    that there is at least one such job. `token` is its fencing token. `alive` says whether a living process
    owns it. A part that is `resting` is not to be taken up yet, because nothing could be done for it a moment
    ago; one that is `reserved` is not, because a process for it is being started.
    """

    run_id: str
    part: str
    range: Range | None
    pending: bool
    active: bool
    rendered: bool
    token: int = 0
    alive: bool = False
    resting: bool = False
    reserved: bool = False

    @property
    def has_work(self) -> bool:
        """Whether a process can do something for it. An unknown outcome waits to be reconciled."""
        return self.pending or self.active or self.rendered

    @property
    def is_taken(self) -> bool:
        """Whether a process works on it, or is being started for it."""
        return self.alive or self.reserved

    @property
    def is_due(self) -> bool:
        """Whether a process is to be started for it."""
        return self.has_work and not self.is_taken and not self.resting


@dataclass(frozen=True, slots=True)
class PaidOutcome:
    """How a paid job ended: `succeeded` or `failed`. `payload` is the engine's own text of the job."""

    job_id: int
    state: State
    payload: str
    error_type: str
    error: str


Change = str | int
"""What a retake has in a column instead of what the job had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a person said about a job: `verdict` is keep, retake, reject or "".

    `changes` are columns of a retake: `prompt`, `model`, `seed`, and its number `take`.
    """

    review_id: int
    at_ms: int
    job_id: int
    verdict: str
    note: str
    changes: Mapping[str, Change]
    by: str
