CREATE TABLE account (
  account_id INTEGER NOT NULL,
  scope TEXT NOT NULL,
  "key" TEXT NOT NULL,
  window TEXT NOT NULL,
  limit_nano INTEGER,
  held_nano INTEGER DEFAULT '0' NOT NULL,
  spent_nano INTEGER DEFAULT '0' NOT NULL,
  over_nano INTEGER DEFAULT '0' NOT NULL,
  frozen INTEGER DEFAULT '0' NOT NULL,
  PRIMARY KEY (account_id),
  CONSTRAINT account_once UNIQUE (scope, "key", window),
  CONSTRAINT account_not_negative CHECK (held_nano >= 0 AND spent_nano >= 0 AND over_nano >= 0),
  CONSTRAINT account_within_limit CHECK (limit_nano IS NULL OR held_nano + spent_nano <= limit_nano + over_nano),
  CONSTRAINT account_frozen_flag CHECK (frozen IN (0, 1))
)
 STRICT

CREATE TABLE cap (
  scope TEXT NOT NULL,
  "key" TEXT NOT NULL,
  window TEXT NOT NULL,
  limit_nano INTEGER NOT NULL,
  PRIMARY KEY (scope, "key", window),
  CONSTRAINT cap_not_negative CHECK (limit_nano >= 0)
)
 STRICT

CREATE TABLE gate (
  id INTEGER NOT NULL,
  ledger_id TEXT NOT NULL,
  entries INTEGER NOT NULL,
  head TEXT NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT gate_one_row CHECK (id = 1)
)
 STRICT

CREATE TABLE run (
  run_id TEXT NOT NULL,
  campaign TEXT NOT NULL,
  plan_hash TEXT NOT NULL,
  price_book TEXT NOT NULL,
  out TEXT NOT NULL,
  options TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  stopping_ms INTEGER,
  closed_ms INTEGER,
  PRIMARY KEY (run_id)
)
 STRICT

CREATE TABLE upload (
  sha256 TEXT NOT NULL,
  url TEXT NOT NULL,
  uploaded_ms INTEGER NOT NULL,
  PRIMARY KEY (sha256)
)
 STRICT

CREATE TABLE job (
  job_id INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  "row" INTEGER NOT NULL,
  custom_id TEXT NOT NULL,
  take INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  client TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT NOT NULL,
  output_name TEXT NOT NULL,
  cell TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  payload TEXT NOT NULL,
  expected_nano INTEGER NOT NULL,
  maximum_nano INTEGER NOT NULL,
  spent_nano INTEGER DEFAULT '0' NOT NULL,
  state TEXT DEFAULT 'pending' NOT NULL,
  attempts INTEGER DEFAULT '0' NOT NULL,
  purchases INTEGER DEFAULT '0' NOT NULL,
  submissions INTEGER DEFAULT '0' NOT NULL,
  output_id INTEGER,
  error_type TEXT DEFAULT '' NOT NULL,
  error TEXT DEFAULT '' NOT NULL,
  charged TEXT DEFAULT '' NOT NULL,
  PRIMARY KEY (job_id),
  CONSTRAINT job_once_per_position UNIQUE (run_id, position),
  CONSTRAINT job_state_known CHECK (state IN ('already_made', 'cancelled', 'failed', 'held', 'in_progress', 'in_queue', 'pending', 'rendered', 'skipped_budget', 'submitting', 'succeeded', 'unknown')),
  CONSTRAINT job_expected_not_negative CHECK (expected_nano >= 0),
  CONSTRAINT job_maximum_covers CHECK (maximum_nano > 0 AND maximum_nano >= expected_nano),
  CONSTRAINT job_charged_known CHECK (charged IN ('', 'no', 'unknown', 'yes')),
  FOREIGN KEY(run_id) REFERENCES run (run_id)
)
 STRICT

CREATE INDEX job_by_cell ON job (cell)

CREATE INDEX job_by_fingerprint ON job (fingerprint)

CREATE INDEX job_by_state ON job (run_id, state)

CREATE INDEX job_in_slot ON job (state) WHERE state IN ('held', 'in_progress', 'in_queue', 'submitting', 'unknown')

CREATE TABLE event (
  event_id INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  job_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  event TEXT NOT NULL,
  from_state TEXT NOT NULL,
  to_state TEXT NOT NULL,
  why TEXT NOT NULL,
  PRIMARY KEY (event_id),
  FOREIGN KEY(job_id) REFERENCES job (job_id)
)
 STRICT

CREATE INDEX event_by_job ON event (job_id)

CREATE TABLE submission (
  submission_id INTEGER NOT NULL,
  job_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  hold_nano INTEGER NOT NULL,
  cost_nano INTEGER,
  cost_basis TEXT,
  billable_units TEXT,
  seed INTEGER,
  seed_used INTEGER,
  arguments_sha256 TEXT,
  request_id TEXT,
  status_url TEXT,
  response_url TEXT,
  cancel_url TEXT,
  lead_request_id TEXT,
  result_json TEXT,
  admitted_ms INTEGER NOT NULL,
  sent_ms INTEGER,
  submitted_ms INTEGER,
  started_ms INTEGER,
  rendered_ms INTEGER,
  booked_ms INTEGER,
  closed_ms INTEGER,
  PRIMARY KEY (submission_id),
  CONSTRAINT submission_once_per_number UNIQUE (job_id, number),
  CONSTRAINT submission_hold_positive CHECK (hold_nano > 0),
  CONSTRAINT submission_cost_not_negative CHECK (cost_nano >= 0),
  CONSTRAINT submission_booked_with_cost CHECK ((booked_ms IS NULL) = (cost_nano IS NULL) AND (booked_ms IS NULL) = (cost_basis IS NULL)),
  CONSTRAINT submission_closed_when_booked CHECK (closed_ms IS NULL OR booked_ms IS NOT NULL),
  CONSTRAINT submission_basis_known CHECK (cost_basis IN ('bill_implausible', 'billable_units', 'billing_event', 'expected', 'hold', 'none')),
  FOREIGN KEY(job_id) REFERENCES job (job_id),
  UNIQUE (request_id)
)
 STRICT

CREATE UNIQUE INDEX submission_open ON submission (job_id) WHERE closed_ms IS NULL

CREATE TABLE entry (
  entry_id INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  submission_id INTEGER NOT NULL,
  kind TEXT NOT NULL,
  amount_nano INTEGER NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (entry_id),
  CONSTRAINT entry_signed_by_kind CHECK ((kind = 'hold' AND amount_nano > 0) OR (kind = 'release' AND amount_nano < 0) OR kind = 'settle'),
  FOREIGN KEY(submission_id) REFERENCES submission (submission_id)
)
 STRICT

CREATE INDEX entry_by_submission ON entry (submission_id)

CREATE TABLE output (
  output_id INTEGER NOT NULL,
  submission_id INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  path TEXT NOT NULL,
  url TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  width_px INTEGER NOT NULL,
  height_px INTEGER NOT NULL,
  fps REAL NOT NULL,
  duration_s REAL NOT NULL,
  has_audio INTEGER NOT NULL,
  PRIMARY KEY (output_id),
  UNIQUE (submission_id),
  FOREIGN KEY(submission_id) REFERENCES submission (submission_id),
  FOREIGN KEY(run_id) REFERENCES run (run_id)
)
 STRICT

CREATE TABLE submission_account (
  submission_id INTEGER NOT NULL,
  account_id INTEGER NOT NULL,
  PRIMARY KEY (submission_id, account_id),
  FOREIGN KEY(submission_id) REFERENCES submission (submission_id),
  FOREIGN KEY(account_id) REFERENCES account (account_id)
)
 STRICT

CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry
BEGIN
  SELECT RAISE(ABORT, 'entry is append-only');
END

CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry
BEGIN
  SELECT RAISE(ABORT, 'entry is append-only');
END

CREATE TRIGGER event_no_update BEFORE UPDATE ON event
BEGIN
  SELECT RAISE(ABORT, 'event is append-only');
END

CREATE TRIGGER event_no_delete BEFORE DELETE ON event
BEGIN
  SELECT RAISE(ABORT, 'event is append-only');
END

CREATE TRIGGER submission_account_no_update BEFORE UPDATE ON submission_account
BEGIN
  SELECT RAISE(ABORT, 'submission_account is append-only');
END

CREATE TRIGGER submission_account_no_delete BEFORE DELETE ON submission_account
BEGIN
  SELECT RAISE(ABORT, 'submission_account is append-only');
END
