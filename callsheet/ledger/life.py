"""One submission's life as verbs: each is one transaction, guarded by the table of transitions.

`attempt`, wherever a verb takes it, is the number of the submission that the caller speaks of. Where the job
is at another one by now, IllegalTransition is raised and nothing changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from callsheet import failpoints
from callsheet.ledger import admission, lifecycle, settlement, turned_up
from callsheet.ledger.database import Database
from callsheet.ledger.records import Booking, Output, Settlement, Submission, Ticket
from callsheet.ledger.states import Charged, CostBasis, Event

Clock = Callable[[], int]
"""Gives the time in whole milliseconds since 1970, UTC."""


def wall_clock_ms() -> int:
    """Return the machine's own time."""
    return time.time_ns() // 1_000_000


class SubmissionVerbs:
    """What can happen to one job. See `callsheet.ledger.states` for what may follow what."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def admit(self, job_id: int, *, slots: int) -> Submission:
        """Hold the job's maximum in every account it counts in, take one of `slots`, write the intent.

        Raises NoSlot, CapReached, RunStopping; ClaimLost where the lock on a claimed run is gone.
        """
        with self._database.buy() as connection:
            return admission.admit(connection, job_id, slots=slots, at_ms=self._clock())

    def send(
        self,
        job_id: int,
        *,
        arguments_sha256: str,
        seed: int | None = None,
        start_timeout_s: int | None = None,
        attempt: int | None = None,
    ) -> None:
        """Write down that the POST is about to leave. When this has returned, and only then, send it.

        `start_timeout_s`, above 0, is the wait for a start that goes with it. Raises RunStopping, and
        ClaimLost where the lock on a claimed run is gone.
        """
        with self._database.buy() as connection:
            lifecycle.send(
                connection,
                job_id,
                self._clock(),
                seed=seed,
                arguments_sha256=arguments_sha256,
                start_timeout_s=start_timeout_s,
                attempt=attempt,
            )

    def accept(self, job_id: int, ticket: Ticket, *, attempt: int | None = None) -> None:
        """Store where fal keeps the request. Raises LedgerError when another job has this request id.

        A reply tells the truth about its attempt whoever owns the run by now: it is also taken from a process
        that was taken for dead meanwhile, whose attempt is `unknown` until then.
        """
        with self._database.write(fenced=False) as connection:
            lifecycle.take_ticket(connection, job_id, Event.ACCEPT, ticket, self._clock(), attempt=attempt)
            failpoints.passing("in_record_tx")

    def not_sent(self, job_id: int, *, why: str = "", attempt: int | None = None) -> None:
        """The POST provably did nothing: back to `held`, to be sent again; hold and slot stay."""
        with self._database.write() as connection:
            lifecycle.not_sent(connection, job_id, self._clock(), why=why, attempt=attempt)

    def release(self, job_id: int, *, why: str = "", attempt: int | None = None) -> None:
        """Give hold and slot back before anything was sent: `held` -> `pending`."""
        with self._database.write() as connection:
            settlement.give_back(connection, job_id, Event.RELEASE, self._clock(), why=why, attempt=attempt)

    def refuse(
        self,
        job_id: int,
        *,
        charged: Charged,
        error_type: str = "",
        error: str = "",
        attempt: int | None = None,
    ) -> Booking:
        """Fal said no. Released when `charged` is "no"; otherwise the hold is booked as spent."""
        with self._database.write() as connection:
            return settlement.fail(
                connection,
                job_id,
                Event.REFUSE,
                self._clock(),
                charged=charged,
                error_type=error_type,
                error=error,
                attempt=attempt,
            )

    def fail_inputs(
        self, job_id: int, *, error_type: str = "", error: str = "", attempt: int | None = None
    ) -> None:
        """What the job needs (a picture) cannot be had; nothing was sent and nothing is charged."""
        with self._database.write() as connection:
            settlement.fail(
                connection,
                job_id,
                Event.FAIL_INPUTS,
                self._clock(),
                charged="no",
                error_type=error_type,
                error=error,
                attempt=attempt,
            )

    def lose(
        self,
        job_id: int,
        *,
        why: str = "",
        lead_request_id: str | None = None,
        attempt: int | None = None,
    ) -> None:
        """Nobody knows whether the POST arrived: `unknown`, hold and slot stay."""
        with self._database.write() as connection:
            lifecycle.lose(
                connection,
                job_id,
                self._clock(),
                why=why,
                lead_request_id=lead_request_id,
                attempt=attempt,
            )

    def find(self, job_id: int, ticket: Ticket, *, why: str = "", attempt: int | None = None) -> None:
        """The unknown request turned up: adopt its id."""
        with self._database.write() as connection:
            lifecycle.take_ticket(
                connection, job_id, Event.FIND, ticket, self._clock(), why=why, attempt=attempt
            )

    def note_unseen(self, job_id: int, *, at_ms: int | None, attempt: int | None = None) -> None:
        """Write down when fal's whole records first did not show an open request; None takes it back."""
        with self._database.write() as connection:
            lifecycle.note_unseen(connection, job_id, at_ms, attempt=attempt)

    def declare_absent(self, job_id: int, *, why: str, attempt: int | None = None) -> None:
        """The unknown request provably never arrived, and cannot any more: release it, back to `pending`."""
        with self._database.write() as connection:
            settlement.give_back(
                connection, job_id, Event.DECLARE_ABSENT, self._clock(), why=why, attempt=attempt
            )

    def write_off(self, job_id: int, *, why: str, attempt: int | None = None) -> Booking:
        """Stop looking for an unknown request and book its hold as spent. `why` says who decided."""
        with self._database.write() as connection:
            return settlement.fail(
                connection,
                job_id,
                Event.WRITE_OFF,
                self._clock(),
                charged="unknown",
                error_type="written_off",
                error=why,
                attempt=attempt,
            )

    def start(self, job_id: int, *, attempt: int | None = None) -> None:
        """Fal began to render."""
        with self._database.write() as connection:
            lifecycle.start(connection, job_id, self._clock(), attempt=attempt)

    def render(self, job_id: int, *, started_ms: int | None = None, attempt: int | None = None) -> None:
        """The render ended at fal: the slot is free now, the hold stays until `settle`.

        `started_ms` is when it started, where that was not seen as it happened.
        """
        with self._database.write() as connection:
            lifecycle.render(connection, job_id, self._clock(), started_ms=started_ms, attempt=attempt)

    def settle(self, job_id: int, result: Settlement, *, attempt: int | None = None) -> Booking:
        """Turn the hold into the real cost and keep the result. Calling it again changes nothing.

        A cost above the hold is booked in full, freezes the accounts, and is returned as `overrun_nano`.
        """
        with self._database.write() as connection:
            return settlement.settle(connection, job_id, self._clock(), result, attempt=attempt)

    def correct(self, request_id: str, *, cost_nano: int, cost_basis: CostBasis) -> Booking:
        """Book the difference to what a settled request cost in the end (fal's billing events)."""
        with self._database.write() as connection:
            return settlement.correct(
                connection, request_id, self._clock(), cost_nano=cost_nano, cost_basis=cost_basis
            )

    def fail_render(
        self,
        job_id: int,
        *,
        charged: Charged,
        error_type: str = "",
        error: str = "",
        cost_nano: int | None = None,
        cost_basis: CostBasis | None = None,
        billable_units: str | None = None,
        result_json: str | None = None,
        attempt: int | None = None,
    ) -> Booking:
        """Fal took the job and brought no video.

        "no" releases the hold, "yes" books `cost_nano`, "unknown" (or a cost not given) books the hold.
        """
        with self._database.write() as connection:
            return settlement.fail(
                connection,
                job_id,
                Event.FAIL_RENDER,
                self._clock(),
                charged=charged,
                error_type=error_type,
                error=error,
                cost_nano=cost_nano,
                cost_basis=cost_basis,
                submission={"billable_units": billable_units, "result_json": result_json},
                attempt=attempt,
            )

    def collect(self, job_id: int, output: Output, *, attempt: int | None = None) -> None:
        """The verified file stands under its final name: `succeeded`."""
        with self._database.write() as connection:
            lifecycle.collect(connection, job_id, self._clock(), output, attempt=attempt)

    def fail_media(
        self,
        job_id: int,
        *,
        error_type: str,
        error: str,
        output: Output | None = None,
        attempt: int | None = None,
    ) -> None:
        """The settled video is not what was asked for; `output` names the file that was kept."""
        with self._database.write() as connection:
            lifecycle.fail_media(
                connection,
                job_id,
                self._clock(),
                error_type=error_type,
                error=error,
                output=output,
                attempt=attempt,
            )

    def note_waiting(self, job_id: int, *, why: str, attempt: int | None = None) -> None:
        """Write down what a rendered job waits for, for `status`; its file or its failure takes it away."""
        with self._database.write() as connection:
            turned_up.note_waiting(connection, job_id, why, attempt=attempt)

    def take_up(self, job_id: int, *, why: str, attempt: int | None = None) -> None:
        """What a failed job bought turned up at fal: `rendered` again, with what was booked for it.

        Raises IllegalTransition for a job whose last submission fal never took, or that brought a file.
        """
        with self._database.write() as connection:
            turned_up.take_up(connection, job_id, self._clock(), why=why, attempt=attempt)

    def settle_found(self, job_id: int, result: Settlement, *, attempt: int | None = None) -> Booking:
        """Book what a render cost whose hold was written off as spent, and keep its result."""
        with self._database.write() as connection:
            return turned_up.settle_found(connection, job_id, self._clock(), result, attempt=attempt)

    def cancel(
        self, job_id: int, *, charged: Charged = "no", why: str = "", attempt: int | None = None
    ) -> Booking:
        """A job shall not be made: before it was sent, or after fal confirmed that it ended as cancelled."""
        with self._database.write() as connection:
            return settlement.cancel(
                connection, job_id, self._clock(), charged=charged, why=why, attempt=attempt
            )
