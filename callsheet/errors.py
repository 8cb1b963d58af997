"""Every error Callsheet raises on purpose, as one tree.

    CallsheetError                      exit code 1 unless a branch says otherwise
    ├── InputError                  2   the person can mend it: nothing was sent, nothing was spent
    │   ├── ManifestError               rows that cannot be made as written; carries every Problem
    │   ├── UsageError                  an option or a file name that makes no sense
    │   │   ├── InFlight                another run of the campaign is about to make some of it
    │   │   └── JudgedMeanwhile         somebody else has judged the clip since it was looked at
    │   └── PlanChanged                 the plan file no longer describes what would be bought
    ├── BudgetError                     money: a cap would be passed
    │   ├── OverBudget              3   before anything was sent
    │   └── CapReached              5   part-way through a run
    │       ├── AccountFrozen           an account is frozen since a bill above its hold
    │       └── Overbilled              a bill above what was held for it: its accounts are frozen
    ├── AccountError                6   the key is missing or refused, or the account is locked
    ├── QueueError                      a call to fal's queue did not do what it was for
    │   ├── NotSent                     the request provably never left this machine
    │   ├── Throttled                   429: refused for now, nothing was enqueued
    │   ├── Refused                     they said no: nothing was enqueued
    │   ├── OutcomeUnknown              a paid POST that may have arrived: it is never sent again
    │   ├── Unavailable                 a free read (status, result, file) failed; it may be tried again
    │   ├── RenderFailed                fal took the job and reports that it failed
    │   └── UntrustedHost               a reply named a host that is not ours to talk to
    ├── MediaError                      the file is not the video that was asked for
    ├── PricesChanged               5   fal's price list is not what was planned: nothing more is bought
    ├── CanaryError                     a job that went first did not end as planned: the rest waits
    │   ├── CanaryFailed            4   it brought no video
    │   ├── CanaryDisagrees         5   its bill or its reply is not what was planned
    │   └── CanaryUnknown           7   it is not known yet how it ended
    ├── SlotsUnknown                7   unknown requests hold every slot, and no look decides about them
    ├── NoPrefect                       Prefect's server did not start: its pages are missing, nothing else
    ├── DiskFull                        no room for outputs: nothing is lost, and nothing new is sent
    ├── LedgerError                     the ledger refused
    │   ├── IllegalTransition           that event does not exist in that state; nothing was changed
    │   ├── NoSlot                      all places are taken
    │   ├── TurnedUp                    fal has a request of the job's attempt that was given up
    │   ├── Busy                        a living process works on that run
    │   ├── ClaimLost             130   the run is not this process's any more, or may not be
    │   ├── RunStopping           130   the run was asked to stop: it admits nothing more
    │   └── LedgerUnsafe                the database does not keep what it acknowledges
    └── Interrupted               130   stopped by a person or by the machine; the ledger has everything

"They refused" (`Refused`) and "we do not know" (`OutcomeUnknown`) are different classes on purpose: the
first gives the money back, the second keeps it until the outcome is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

_LOGIN = re.compile(r"(?<=//)[^/]*@")


def without_login(text: str, instead: str = "[hidden]@") -> str:
    """Return text without the name and the password of each address in it: messages are printed and kept.

    Too much is hidden rather than too little: a password may hold any character but a slash.
    """
    return _LOGIN.sub(instead, text)


Charged = Literal["no", "yes", "unknown"]
"""Whether fal charges for an attempt that brought no video."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with one cell, said so that a person can mend it.

    `row` counts as the file's own reader shows it: in CSV and XLSX the header is row 1 and the first data
    row is row 2; in JSONL and Parquet the first record is row 1. In a campaign file (TOML) it is the line.
    0 means the file as a whole.
    """

    file: str
    row: int
    column: str
    found: str
    message: str

    def __str__(self) -> str:
        unit = "line" if self.file.lower().endswith(".toml") else "row"
        where = f"{self.file}, {unit} {self.row}" if self.row else self.file
        column = f", column {self.column}" if self.column else ""
        found = f": found {self.found}" if self.found else ""
        return f"{where}{column}{found}: {self.message}"


class CallsheetError(Exception):
    """Something that Callsheet knows how to name."""

    exit_code: ClassVar[int] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Let copies and other processes have the error as it is: not every one is made of its message."""
        return _as_it_was, (type(self), self.args), self.__dict__


def _as_it_was(kind: type[CallsheetError], args: tuple[Any, ...]) -> CallsheetError:
    return kind.__new__(kind, *args)


class InputError(CallsheetError):
    """What was given cannot be used; nothing was sent and nothing was spent."""

    exit_code = 2


class ManifestError(InputError):
    """Rows that cannot be made as written.

    `problems` holds every mistake of every row, in row order; it is never empty. A traceback shows ten.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        count = len(problems)
        super().__init__(f"{count:,} error{'s' if count != 1 else ''}; nothing was sent")
        more = [f"and {count - 10:,} more: see `problems`"] if count > 10 else []
        self.add_note("\n".join([*map(str, problems[:10]), *more]))


class UsageError(InputError):
    """An option, a name or a file that makes no sense here."""


class FolderElsewhere(UsageError):
    """The folder of a run is not on this machine, so nothing of the run can be done here."""


class InFlight(UsageError):
    """Another run of the campaign, `run_id`, is about to make some of these, or is making them."""

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class JudgedMeanwhile(UsageError):
    """Somebody else has judged a clip since the person looked at it; nothing was written."""


class PlanChanged(InputError):
    """What would be bought now is not what was planned; `differences` says in which ways."""

    def __init__(self, differences: list[str]) -> None:
        self.differences = differences
        super().__init__(f"the plan no longer holds: {'; '.join(differences)}. Plan again")


class BudgetError(CallsheetError):
    """A cap would be passed. Amounts are in nano-dollars (1e-9 USD)."""

    def __init__(
        self, message: str, *, scope: str, limit_nano: int, taken_nano: int, needed_nano: int
    ) -> None:
        self.scope = scope
        self.limit_nano = limit_nano
        self.taken_nano = taken_nano
        self.needed_nano = needed_nano
        super().__init__(message)


class OverBudget(BudgetError):
    """It does not fit, and so nothing was sent."""

    exit_code = 3


class CapReached(BudgetError):
    """A cap was reached part-way: nothing new is submitted, what renders is finished."""

    exit_code = 5


class AccountFrozen(CapReached):
    """An account is frozen since a bill above its hold, and lets nothing in."""


class Overbilled(CapReached):
    """A bill came out above what was held for it: it is booked in full, and its accounts are frozen."""


class AccountError(CallsheetError):
    """The key is missing or refused, or the account is locked: every further call would fail too."""

    exit_code = 6


class QueueError(CallsheetError):
    """A call to fal's queue did not do what it was for.

    `error_type` is fal's own word where it gave one (for example `content_policy_violation`).
    """

    def __init__(self, message: str, *, error_type: str = "") -> None:
        self.error_type = error_type
        super().__init__(message)


class NotSent(QueueError):
    """The request provably never left this machine (name, connection, TLS, pool): it may be sent again."""


class Throttled(QueueError):
    """429: nothing was enqueued. `retry_after_s` is the server's own advice in seconds, or None."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, error_type: str = "") -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, error_type=error_type)


class Refused(QueueError):
    """They said no and nothing was enqueued.

    `charged` is "no", or "unknown" for a 422, which fal says may be charged (facts: fal.ai/docs FAQ).
    """

    def __init__(self, message: str, *, error_type: str = "", charged: Charged = "no") -> None:
        self.charged = charged
        super().__init__(message, error_type=error_type)


class OutcomeUnknown(QueueError):
    """The POST may have arrived and may be charged. It is never repeated; the hold and the slot stay.

    `lead_request_id` is the id of a header of the broken reply, where there was one.
    """

    def __init__(self, message: str, *, lead_request_id: str | None = None, error_type: str = "") -> None:
        self.lead_request_id = lead_request_id
        super().__init__(message, error_type=error_type)


class Unavailable(QueueError):
    """A free read failed (network, 5xx, 429, still in progress). It may be tried again and changes nothing.

    `retry_after_s` is the server's own advice in seconds, or None. `gone` is True where the queue says that
    it no longer holds the request (404), so that asking again there is no use.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, gone: bool = False, error_type: str = ""
    ) -> None:
        self.retry_after_s = retry_after_s
        self.gone = gone
        super().__init__(message, error_type=error_type)


class RenderFailed(QueueError):
    """fal took the job and reports that it failed.

    `charged` is "no" (5xx, or billable units of 0), "yes" (units above 0) or "unknown" (4xx without units).
    `billable_units` is the reply's header as decimal text, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        error_type: str = "",
        charged: Charged = "unknown",
        billable_units: str | None = None,
    ) -> None:
        self.charged = charged
        self.billable_units = billable_units
        super().__init__(message, error_type=error_type)


class UntrustedHost(QueueError):
    """A reply named a host outside the configured ones; nothing was sent there."""


class MediaError(CallsheetError):
    """The file is not the video that was asked for. `reason` is a short stable word, e.g. `truncated`."""

    def __init__(self, message: str, *, reason: str) -> None:
        self.reason = reason
        super().__init__(message)


class PricesChanged(CallsheetError):
    """fal's price list says something else than the plan; `changes` says what, an endpoint at a time."""

    exit_code = 5
    says: ClassVar[str] = "fal's prices are not those of the plan"

    def __init__(self, changes: list[str], *, again: str) -> None:
        self.changes = changes
        super().__init__(
            f"{self.says}: {'; '.join(changes)}. Nothing more is bought, and "
            f"nothing is lost. To go on at these prices: `{again} --accept-prices`"
        )


class CanaryError(CallsheetError):
    """A job that went first did not end as planned: the rest waits for a person."""


class CanaryFailed(CanaryError):
    """A canary brought no video."""

    exit_code = 4


class CanaryDisagrees(CanaryError):
    """A canary's bill or reply is not what was planned."""

    exit_code = 5


class CanaryUnknown(CanaryError):
    """It is not known yet how a canary ended."""

    exit_code = 7


class SlotsUnknown(CallsheetError):
    """Unknown requests hold every slot, and fal's records do not decide about them."""

    exit_code = 7


class NoPrefect(CallsheetError):
    """The Prefect server that a run brings with it did not start."""


class DiskFull(CallsheetError):
    """There is no room where the outputs go; what is rendered is still at fal and in the ledger."""


class LedgerError(CallsheetError):
    """The ledger refused, and changed nothing."""


class LedgerUnavailable(LedgerError):
    """The ledger's server cannot be reached, or ended the connection; wait and ask again.

    Where the connection broke while a change was being committed, it is not known whether it was: read it
    back before doing it again.
    """


class IllegalTransition(LedgerError):
    """That event does not exist in that state; nothing was changed."""


class Busy(LedgerError):
    """A living process works on that run, or on what a dead one left of it."""

    exit_code = 2


class ClaimLost(LedgerError):
    """The run was taken over by another process, or the lock on it is gone: nothing more is bought here."""

    exit_code = 130


class NoSlot(LedgerError):
    """Every place is taken, or the next one is another campaign's. `limit` is how many there are."""

    def __init__(self, limit: int, *, turn_of: str = "") -> None:
        self.limit = limit
        self.turn_of = turn_of
        free = f"the next of the {limit} slots is for the campaign {turn_of}"
        super().__init__(free if turn_of else f"all {limit} slots are taken")


class TurnedUp(LedgerError):
    """Fal named a request of the job that none of its attempts has: a person decides about it."""

    def __init__(self, job_id: int, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(
            f"fal named request {request_id} of job {job_id}, which none of its attempts has, and may have "
            "billed it"
        )


class RunStopping(LedgerError):
    """The run was asked to stop, or is closed: it admits nothing more until it is resumed."""

    exit_code = 130


class LedgerUnsafe(LedgerError):
    """The database would not keep what it acknowledges, or is not the one this output belongs to."""


class Interrupted(CallsheetError):
    """Stopped by a person or by the machine; the ledger has everything needed to go on."""

    exit_code = 130


class InterruptedByPerson(Interrupted):
    """Stopped with Ctrl-C: only a person's command goes on with the run."""
