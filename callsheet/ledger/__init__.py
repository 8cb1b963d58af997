"""The ledger: the truth about money, slots and outcomes.

`Ledger` is opened on SQLite or PostgreSQL. Everything that can happen is one verb, a function on a
transaction, in the module of its subject: `ledger.do(admission.admit, job_id, slots=10)`.
"""

from callsheet.ledger.accounts import (
    Account,
    AccountRef,
    Booking,
    Entry,
    EntryFilter,
    Overrun,
    Purchase,
    Settled,
    Settlement,
    account_refs,
    refs_of_owners,
)
from callsheet.ledger.database import wall_clock_ms
from callsheet.ledger.open_ledger import Ledger
from callsheet.ledger.records import (
    JobRow,
    NewFinish,
    NewJob,
    NewRun,
    OpenWork,
    Output,
    Owner,
    PaidOutcome,
    PartWork,
    Range,
    Recovered,
    Review,
    Run,
    Submission,
    Tally,
)
from callsheet.ledger.states import AT_FAL, FINISHED, HOLDS_SLOT, Charged, CostBasis, Event, State

__all__ = [
    "AT_FAL",
    "FINISHED",
    "HOLDS_SLOT",
    "Account",
    "AccountRef",
    "Booking",
    "Charged",
    "CostBasis",
    "Entry",
    "EntryFilter",
    "Event",
    "JobRow",
    "Ledger",
    "NewFinish",
    "NewJob",
    "NewRun",
    "OpenWork",
    "Output",
    "Overrun",
    "Owner",
    "PaidOutcome",
    "PartWork",
    "Purchase",
    "Range",
    "Recovered",
    "Review",
    "Run",
    "Settled",
    "Settlement",
    "State",
    "Submission",
    "Tally",
    "account_refs",
    "refs_of_owners",
    "wall_clock_ms",
]
