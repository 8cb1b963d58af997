"""The tables, for SQLite and PostgreSQL alike.

Types are those that SQLite's STRICT tables and PostgreSQL both keep exactly: 64-bit integers and text;
`double precision` for what is measured and is no money. The database keeps the invariants that it can: one
open submission per job, a request id once, no account above its limit unless an overrun explains it, and
journals that only grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import sqlalchemy as sa

from callsheet.ledger.states import COST_BASES, HOLDS_SLOT, State
from callsheet.ticket import ADDRESSES
from manifests.selection import VERDICTS

INT: Final[Any] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REAL: Final[Any] = sa.Double().with_variant(sa.REAL(), "sqlite")
TEXT: Final = sa.Text()

metadata = sa.MetaData()


def one_of(column: str, values: Iterable[str]) -> str:
    """Write the condition that a column holds one of these words, in alphabetical order."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in sorted(values))})"


MADE: Final = f"(state = '{State.SUCCEEDED.value}' OR draft_output_id IS NOT NULL) AND output_id IS NOT NULL"
"""Jobs that were made and whose file was kept, drafts that are being finished included. The index on them
answers a look-up by itself."""

IN_SLOT: Final = one_of("state", HOLDS_SLOT)
"""Written out, and never as parameters: only so can the index on exactly these rows answer it."""


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *parts, sqlite_strict=True)


def _col(
    name: str, kind: Any, *parts: Any, null: bool = False, default: str | None = None, unique: bool = False
) -> sa.Column[Any]:
    return sa.Column(name, kind, *parts, nullable=null, server_default=default, unique=unique or None)


def _cols(kind: Any, *names: str, null: bool = False, default: str | None = None) -> Iterator[sa.Column[Any]]:
    return (_col(name, kind, null=null, default=default) for name in names)


def _partial_index(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """An index of the rows that a condition holds for; a query must repeat its words to use it."""
    rows = sa.text(where)
    return sa.Index(name, *columns, unique=unique, sqlite_where=rows, postgresql_where=rows)


def _key(name: str, kind: Any, *parts: Any, auto: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, *parts, primary_key=True, autoincrement=auto)


VERSION: Final = 11
"""The version of these tables. A test compares their text with it: another schema needs another version."""

ledger_head = _table(
    "ledger_head",  # one row: PostgreSQL locks it at the start of each write, so only one transaction writes
    _key("id", INT),
    _col("schema_version", INT),
    _col("ledger_id", TEXT),
    _col("entries", INT),  # how many entries there are,
    _col("head", TEXT),  # and the hash of the last one
    sa.CheckConstraint("id = 1", name="ledger_head_one_row"),
)

run = _table(
    "run",
    _key("run_id", TEXT),
    *_cols(TEXT, "campaign", "plan_hash", "price_book", "out", "options"),
    _col("created_ms", INT),
    _col("opened_ms", INT, null=True),  # when all of its jobs were written; it admits nothing before
    *_cols(INT, "stopping_ms", "closed_ms", null=True),
    _col("prices", TEXT, default=""),
    _col("priority", INT, default="0"),  # the campaign's, which admission obeys between campaigns
    _col("share", INT, default="1"),
    sa.CheckConstraint("share > 0", name="run_share_positive"),
    _col("look", TEXT, default=""),  # JSON: what is flagged in its clips, where that is not the default
    sa.Index("run_by_campaign", "campaign", "created_ms"),
    sa.Index("run_by_time", "created_ms", "run_id"),
)

claim = _table(
    "claim",  # who may write about a run (part "") or a part of it; see callsheet.ledger.locks
    _key("run_id", TEXT),
    _key("part", TEXT),
    _col("fencing_token", INT),  # how often it was claimed
    _col("owner", TEXT),  # the open ledger that claimed it last,
    _col("host", TEXT),  # and its process, for messages
    _col("pid", INT),
    _col("process", TEXT),
    _col("claimed_ms", INT),
    _col("expires_ms", INT, null=True),  # the lease, by the database's clock; a file's lock has none
    _col("rest_until_ms", INT, null=True),  # until then nothing can be done for it
    _col("reserved_until_ms", INT, null=True),  # until then it is kept for a process that is being started
    _col("stopped_why", TEXT, default=""),  # why its last process stopped before its end; "" while it goes on
)

part = _table(
    "part",  # fixed ranges of a run's jobs, which several processes render side by side
    _key("run_id", TEXT, sa.ForeignKey("run.run_id")),
    _key("part", TEXT),
    *_cols(INT, "first_position", "last_position"),
    _col("priority", INT),  # the highest of its jobs
    sa.CheckConstraint("first_position <= last_position", name="part_is_a_range"),
)

waiting = _table(
    "waiting",  # runs that wait for a slot; a row is deleted with the slot that its run gets
    _key("run_id", TEXT, sa.ForeignKey("run.run_id")),
    _col("slots", INT),  # how many may be taken when this run takes one
    *_cols(INT, "since_ms", "seen_ms"),
)

job = _table(
    "job",
    _key("job_id", INT, auto=True),
    _col("run_id", TEXT, sa.ForeignKey("run.run_id")),
    *_cols(INT, "position", "row"),
    _col("custom_id", TEXT),
    *_cols(INT, "take", "priority"),
    *_cols(TEXT, "client", "endpoint", "model", "output_name", "render_kind", "fingerprint", "payload"),
    *_cols(INT, "expected_nano", "maximum_nano"),
    _col("spent_nano", INT, default="0"),
    _col("state", TEXT, default=State.PENDING.value),
    *_cols(INT, "attempts", "purchases", default="0"),
    _col("submissions", INT, default="0"),  # how many there are; the latest one's number
    _col("output_id", INT, null=True),
    _col("draft", INT, default="0"),  # whether its first purchase is a draft
    _col("draft_output_id", INT, null=True),  # the draft's file, from when the draft is to be finished,
    *_cols(INT, "draft_expected_nano", "draft_maximum_nano", default="0"),  # and what the draft was priced at
    *_cols(TEXT, "error_type", "error", "charged", default=""),
    _col(
        "retake", INT, default="0"
    ),  # the how manyth retake that the run itself ordered; 0 is the plan's job
    _col("retakes_max", INT, default="0"),
    sa.UniqueConstraint("run_id", "position", "retake", name="job_once_per_position"),
    sa.CheckConstraint("retake BETWEEN 0 AND retakes_max", name="job_retakes_within_allowance"),
    sa.CheckConstraint(one_of("state", State), name="job_state_known"),
    sa.CheckConstraint("expected_nano >= 0", name="job_expected_not_negative"),
    sa.CheckConstraint("maximum_nano > 0 AND maximum_nano >= expected_nano", name="job_maximum_covers"),
    sa.CheckConstraint(one_of("charged", ("", "no", "unknown", "yes")), name="job_charged_known"),
    sa.CheckConstraint("draft IN (0, 1)", name="job_draft_flag"),
    sa.CheckConstraint(
        "draft_output_id IS NULL OR (draft = 1 AND output_id IS NOT NULL)", name="job_keeps_draft"
    ),
    sa.Index("job_by_render_kind", "render_kind", "state", "job_id"),
    sa.Index("job_by_name", "custom_id"),
    _partial_index("job_made", "fingerprint", "run_id", "custom_id", "spent_nano", "job_id", where=MADE),
    _partial_index("job_by_error", "error_type", where="error_type <> ''"),
    _partial_index("job_draft", "model", "run_id", where="draft = 1"),
    sa.Index("job_by_fingerprint", "fingerprint"),
    sa.Index("job_by_state", "run_id", "state", "position"),
    _partial_index("job_in_slot", "state", where=IN_SLOT),
)

_BOOKED_WITH_COST = "(booked_ms IS NULL) = (cost_nano IS NULL) AND (booked_ms IS NULL) = (cost_basis IS NULL)"

_START_TIMEOUT = sa.CheckConstraint("start_timeout_s > 0", name="submission_start_timeout_positive")

spending = _table(
    "spending",  # what submissions hold and cost, added up as they do: a statement reads no history
    _key("spending_id", INT, auto=True),
    _col("run_id", TEXT, sa.ForeignKey("run.run_id")),
    *_cols(TEXT, "client", "model"),
    _col("day", TEXT),  # the UTC day of the hold
    _col("submissions", INT, default="0"),  # that were booked, and not given back before they were sent
    *_cols(INT, "held_nano", "spent_nano", default="0"),
    sa.UniqueConstraint("run_id", "client", "model", "day", name="spending_once"),
    sa.CheckConstraint("held_nano >= 0 AND spent_nano >= 0", name="spending_not_negative"),
)

TICKET: Final = ("request_id", *ADDRESSES)
"""The columns of a submission that fal's reply fills; with `endpoint` they are its ticket."""

submission = _table(
    "submission",
    _key("submission_id", INT, auto=True),
    _col("job_id", INT, sa.ForeignKey("job.job_id")),
    _col("spending_id", INT, sa.ForeignKey("spending.spending_id")),
    _col("endpoint", TEXT),
    *_cols(INT, "number", "hold_nano"),
    _col("cost_nano", INT, null=True),
    *_cols(TEXT, "cost_basis", "billable_units", null=True),
    *_cols(INT, "seed", "seed_used", null=True),
    _col("arguments_sha256", TEXT, null=True),
    *_cols(TEXT, "account", "queue_url", default=""),
    _col("request_id", TEXT, null=True, unique=True),
    *_cols(TEXT, "status_url", "response_url", "cancel_url", "lead_request_id", "result_json", null=True),
    _col("admitted_ms", INT),
    *_cols(INT, "sent_ms", "submitted_ms", "started_ms", "rendered_ms", "booked_ms", "closed_ms", null=True),
    _col("start_timeout_s", INT, _START_TIMEOUT, null=True),
    _col("unseen_ms", INT, null=True),
    sa.UniqueConstraint("job_id", "number", name="submission_once_per_number"),
    sa.CheckConstraint("hold_nano > 0", name="submission_hold_positive"),
    sa.CheckConstraint("cost_nano >= 0", name="submission_cost_not_negative"),
    sa.CheckConstraint(_BOOKED_WITH_COST, name="submission_booked_with_cost"),
    sa.CheckConstraint("closed_ms IS NULL OR booked_ms IS NOT NULL", name="submission_closed_when_booked"),
    sa.CheckConstraint(one_of("cost_basis", COST_BASES), name="submission_basis_known"),
    _partial_index("submission_open", "job_id", where="closed_ms IS NULL", unique=True),  # one per job
    _partial_index("submission_overrun", "booked_ms", where="cost_nano > hold_nano"),
    sa.Index("submission_by_time", "submitted_ms"),
    _partial_index("submission_unseen", "unseen_ms", where="unseen_ms IS NOT NULL"),
)

IS_LAST: Final = sa.and_(submission.c.job_id == job.c.job_id, submission.c.number == job.c.submissions)
"""Joins a job with its last submission."""

output = _table(
    "output",
    _key("output_id", INT, auto=True),
    _col("submission_id", INT, sa.ForeignKey("submission.submission_id"), unique=True),
    _col("run_id", TEXT, sa.ForeignKey("run.run_id")),
    *_cols(TEXT, "path", "url", "sha256"),
    *_cols(INT, "bytes", "width_px", "height_px"),
    *_cols(REAL, "fps", "duration_s"),
    _col("has_audio", INT),
    _col("flags", TEXT, default=""),  # JSON: what the technical look found
)

_WITHIN_LIMIT = "limit_nano IS NULL OR held_nano + spent_nano <= limit_nano + over_nano"

account = _table(
    "account",
    _key("account_id", INT, auto=True),
    *_cols(TEXT, "scope", "key", "window"),
    _col("limit_nano", INT, null=True),
    *_cols(INT, "held_nano", "spent_nano", "over_nano", "frozen", default="0"),
    sa.UniqueConstraint("scope", "key", "window", name="account_once"),
    sa.CheckConstraint("held_nano >= 0 AND spent_nano >= 0 AND over_nano >= 0", name="account_not_negative"),
    sa.CheckConstraint(_WITHIN_LIMIT, name="account_within_limit"),
    sa.CheckConstraint("frozen IN (0, 1)", name="account_frozen_flag"),
)

cap = _table(
    "cap",
    _key("scope", TEXT),
    _key("key", TEXT),
    _key("window", TEXT),
    _col("limit_nano", INT),
    sa.CheckConstraint("limit_nano >= 0", name="cap_not_negative"),
)

submission_account = _table(
    "submission_account",
    _key("submission_id", INT, sa.ForeignKey("submission.submission_id")),
    _key("account_id", INT, sa.ForeignKey("account.account_id")),
)

_SIGNED_BY_KIND = (
    "(kind = 'hold' AND amount_nano > 0) OR (kind = 'release' AND amount_nano < 0) OR kind = 'settle'"
)

orphan = _table(
    "orphan",  # requests that fal named for an attempt that does not have them: no submission has
    _key("request_id", TEXT),
    _col("job_id", INT, sa.ForeignKey("job.job_id")),
    _col("number", INT),  # of the job's submission
    _col("at_ms", INT),
)

entry = _table(
    "entry",
    _key("entry_id", INT),
    _col("at_ms", INT),
    _col("submission_id", INT, sa.ForeignKey("submission.submission_id")),
    _col("kind", TEXT),
    _col("amount_nano", INT),
    _col("hash", TEXT),
    sa.CheckConstraint(_SIGNED_BY_KIND, name="entry_signed_by_kind"),
    sa.Index("entry_by_submission", "submission_id"),
)

event = _table(
    "event",
    _key("event_id", INT, auto=True),
    _col("at_ms", INT),
    _col("job_id", INT, sa.ForeignKey("job.job_id")),
    _col("number", INT),  # of the job's submission, 0 without one
    *_cols(TEXT, "event", "from_state", "to_state", "why"),
    sa.Index("event_by_job", "job_id"),
)

upload = _table(
    "upload",
    _key("sha256", TEXT),
    _col("url", TEXT),
    _col("uploaded_ms", INT),
)

review = _table(
    "review",  # what people said about finished jobs; the newest row of a job counts
    _key("review_id", INT, auto=True),
    _col("at_ms", INT),
    _col("job_id", INT, sa.ForeignKey("job.job_id")),
    *_cols(TEXT, "verdict", "note"),
    _col("changes", TEXT),  # JSON: what a retake is made with
    _col("by", TEXT),
    sa.CheckConstraint(one_of("verdict", ("", *VERDICTS)), name="review_verdict_known"),
    sa.Index("review_by_job", "job_id", "review_id"),
)

announcement = _table(
    "announcement",  # what people and programs were told about runs, each thing once; releases of a freeze
    _key("key", TEXT),
    _col("at_ms", INT),
)

APPEND_ONLY: Final = ("entry", "event", "review", "submission_account")
"""Tables whose rows are never changed and never deleted; triggers refuse it."""


_DDL: Any = sa.DDL


def _refuse_changes(table: sa.Table) -> None:
    for change in ("UPDATE", "DELETE"):
        trigger = _DDL(
            f"CREATE TRIGGER {table.name}_no_{change.lower()} BEFORE {change} ON {table.name}\n"
            f"BEGIN\n  SELECT RAISE(ABORT, '{table.name} is append-only');\nEND"
        )
        sa.event.listen(table, "after_create", trigger.execute_if(dialect="sqlite"))
    trigger = _DDL(
        f"CREATE TRIGGER {table.name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table.name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION callsheet_append_only()"
    )
    sa.event.listen(table, "after_create", trigger.execute_if(dialect="postgresql"))


for _name in APPEND_ONLY:
    _refuse_changes(metadata.tables[_name])
_refusal = _DDL(
    "CREATE FUNCTION callsheet_append_only() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    "BEGIN\n  RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME;\nEND\n$$"
)
sa.event.listen(metadata, "before_create", _refusal.execute_if(dialect="postgresql"))
