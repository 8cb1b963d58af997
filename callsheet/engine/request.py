"""What a run is asked to do: the flow's parameters, and so a form in Prefect's pages.

Prefect stores flow parameters in plain sight. Nothing secret may ever be a field here; the key is read from
the environment by the process that sends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from callsheet.errors import AccountError, UsageError
from callsheet.files import usable_data_folder
from callsheet.ledger import Ledger, Run, runs
from callsheet.reconciliation.webhook_address import refuse_private_webhook
from callsheet.sandbox.launcher import SandboxAddress, ensure_sandbox
from callsheet.settings import ApiKey, Settings, sandbox_ledger, settings_from
from manifests.plan import PlanOptions
from manifests.readers.parquet import value_text
from manifests.readers.remote import bare_address, is_remote
from manifests.row_filter import RowFilter
from pricing.money import AMOUNT, parse_usd, usd_text

NO_KEY = (
    "no key for fal: set FAL_KEY (make one at fal.ai/dashboard/keys), or add --sandbox to run without a key "
    "and without money"
)

_DOLLARS = rf"^\s*{AMOUNT}\s*$"


_ROWS = "use a number of rows, 1 or more"
_AMOUNT = "use an amount of dollars like 120 or 39.50"
_ALLOWED = {
    "budget_usd": _AMOUNT,
    "concurrency": "use 1 to 1000 renders",
    "speed": "use a number above 0, at most 10000",
    "approve_above_usd": f"{_AMOUNT}; 0 asks about every run",
    "approve_within_s": "use 1 to 2592000 seconds",
    "canary": "use 1 to 1000 price groups",
    "shard_jobs": "use 1 to 1000 jobs, or 0, which never splits a run",
    "header_row": "use a row from 1 to 1000",
    "first": _ROWS,
    "sample": _ROWS,
}
"""What may be asked, in words: the message where another value was given."""


class RunRequest(BaseModel):
    """One execution of a plan, or its continuation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(
        default=None, description="A manifest, a campaign file or a plan file; not needed with run_id"
    )
    run_id: str | None = Field(default=None, description="An opened run to go on with")
    budget_usd: str | None = Field(
        default=None, description="The most this run may cost, in dollars", pattern=_DOLLARS
    )
    concurrency: int | None = Field(default=None, ge=1, le=1000, description="Renders at the same time (10)")
    out: str | None = Field(default=None, description="The folder that run folders are made in (runs)")
    fit: bool = Field(default=False, description="Take what fits the budget, highest priority first")
    again: bool = Field(default=False, description="Buy again videos you already have")
    sandbox: bool = Field(default=False, description="Run on the local sandbox: no key, no money")
    speed: float = Field(default=1.0, gt=0, le=10_000, description="How much faster the sandbox renders")

    approve_above_usd: str | None = Field(
        default=None,
        description="Wait for a person's approval in Prefect where it may cost more than so many dollars",
        pattern=_DOLLARS,
    )
    approve_within_s: int = Field(
        default=3600, ge=1, le=30 * 86_400, description="Seconds to wait for an approval"
    )
    canary: int | None = Field(
        default=None, ge=1, le=1000, description="First render one job of each price group, at most so many"
    )
    shard_jobs: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Jobs of one shard on a work pool; by default about an hour of work, 0 never splits",
    )
    accept_prices: bool = Field(default=False, description="Continue if fal's prices differ from the plan")
    header_row: int | None = Field(
        default=None, ge=1, le=1000, description="Row of the header in a CSV or XLSX manifest"
    )
    skip_hidden: bool = Field(default=False, description="Leave out hidden and filtered rows of a workbook")
    first: int | None = Field(default=None, ge=1, description="Take the first so many rows")
    where: tuple[str, ...] = Field(
        default=(), description="COLUMN=VALUE: take only the rows that have this value"
    )
    sample: int | None = Field(
        default=None, ge=1, description="Take a sample of so many rows, the same rows each time"
    )

    @field_validator(*_ALLOWED, mode="wrap")
    @classmethod
    def _in_words(cls, value: Any, check: ValidatorFunctionWrapHandler, field: ValidationInfo) -> Any:
        try:
            return check(value)
        except ValidationError:
            raise ValueError(_ALLOWED[field.field_name or ""]) from None

    @property
    def kept(self) -> str:
        """The request as a run keeps it: prices are accepted once, and not for every later resume.

        A local source is whole, because who is told of the run is read from it again, from any folder.
        """
        public = self.public
        source = public.source
        if source is not None and not is_remote(source):
            source = str(Path(source).absolute())
        return public.model_copy(update={"accept_prices": False, "source": source}).model_dump_json()

    @property
    def public(self) -> RunRequest:
        """The request without the signature of an address: to be kept and shown where nothing is planned."""
        source = None if self.source is None else bare_address(self.source)
        return self.model_copy(update={"source": source})

    @classmethod
    def of(cls, run: Run) -> RunRequest:
        """Return the request that goes on with a run as it was opened, with defaults where it keeps none."""
        asked = cls.model_validate_json(run.options) if run.options else cls()
        return asked.model_copy(update={"run_id": run.run_id})

    def at_plans_concurrency(self, concurrency: int | None) -> RunRequest:
        """Return the request with a plan's concurrency where neither it nor the environment names one."""
        if self.concurrency is not None or "CALLSHEET_CONCURRENCY" in os.environ:
            return self
        return self.model_copy(update={"concurrency": concurrency})

    def plan_options(self, settings: Settings) -> PlanOptions:
        """Return what the request and the environment say about planning."""
        options = PlanOptions(
            budget_usd=self.budget_usd,
            concurrency=self.concurrency,
            out=self.out,
            header_row=self.header_row,
            skip_hidden=self.skip_hidden,
            rows=RowFilter.of(first=self.first, where=self.where, sample=self.sample),
        )
        return options.under(settings)

    @property
    def label(self) -> str:
        """What the flow run is called until its run is known."""
        return self.run_id or Path(self.source or "campaign").stem


def request_of(*, where: Mapping[str, Any] | None, out: str | Path | None, **options: Any) -> RunRequest:
    """Return the request with these options. Raises UsageError, which names the option, for a bad value."""
    if not isinstance(where, Mapping | None):
        raise UsageError(f"where: found {where!r}: give a dict of columns and values")
    refuse_other_kinds(str | os.PathLike, out=out)
    pairs = tuple(
        f"{column}={value_text(value)}"
        for column, wanted in (where or {}).items()
        for value in _either(column, wanted)
    )
    try:
        return RunRequest(where=pairs, out=None if out is None else str(out), **options)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{first['loc'][0]}: found {first['input']!r}: {said}") from None


def _either(column: str, wanted: Any) -> Collection[Any]:
    """Return the values of which a row must have one. Raises UsageError for none at all."""
    wanted = _of_python(wanted)
    if isinstance(wanted, str | bytes | Mapping) or not isinstance(wanted, Iterable):
        return (wanted,)
    if not (values := [_of_python(each) for each in wanted]):
        raise UsageError(f"where: {column} has an empty list; give one value or more")
    return values


def _of_python(value: Any) -> Any:
    """Return what NumPy and pandas hold, one value or several, as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def amount_text(dollars: str | Decimal | float | None) -> str | None:
    """Return an amount of dollars as plain digits. Raises UsageError for what is none."""
    if dollars is None:
        return None
    is_float = isinstance(dollars, float)  # sums of floats have digits beyond a nano-dollar
    text = f"{dollars:.9f}" if is_float else f"{dollars:f}" if isinstance(dollars, Decimal) else str(dollars)
    try:
        return usd_text(parse_usd(text))
    except ValueError as error:
        raise UsageError(f"budget_usd: {error}") from error


def refuse_other_kinds(kind: type | UnionType, **given: object) -> None:
    """Raise UsageError, which names the argument, for a value that is neither of a kind nor None.

    Python does not check the types of arguments, and a wrong one would fail far from where it was given.
    """
    for name, value in given.items():
        if not isinstance(value, kind | None):
            what = "a text" if kind is str else "a text or a path"
            raise UsageError(f"{name}: found {value!r}: give {what}")


def refuse_mixed_ledger(ledger: Ledger, *, sandbox: bool) -> None:
    """Raise UsageError where any run of a ledger is of the other kind: on the sandbox, or against fal.

    Otherwise the sandbox's clips would count as made, and its money under the caps of real money.
    """
    kinds = {json.loads(each or "{}").get("sandbox", False) for each in ledger.do(runs.all_options)}
    if kinds <= {sandbox}:
        return
    if sandbox:
        raise UsageError(
            f"the ledger {ledger.label} has runs against fal; a run on the sandbox would count in it. Unset "
            "CALLSHEET_LEDGER_URL, so that the sandbox has a ledger of its own, or name another one"
        )
    raise UsageError(
        f"the ledger {ledger.label} has runs on the sandbox, whose clips would count as made; name another "
        "one with CALLSHEET_LEDGER_URL"
    )


def results_address(run: Run) -> str | None:
    """Return the address of a run's results in an object store; None where its folder is all there is."""
    out = RunRequest.of(run).out
    return f"{out.rstrip('/')}/{run.run_id}" if out and is_remote(out) else None


def settings_for(request: RunRequest) -> Settings:
    """Return the settings of one run: the environment's, with the request's own on top.

    For a sandbox run the local sandbox is started where none runs. Such a run gets the sandbox's addresses
    and key, and keeps a ledger of its own unless the environment names one: sandbox money never mixes with
    real money. Raises AccountError without a key, UsageError where the data folder is needed and cannot be
    used.
    """
    settings = settings_from(os.environ)
    if request.sandbox or not settings.ledger_url:
        usable_data_folder(settings)
    if request.concurrency is not None:
        settings = replace(settings, concurrency=request.concurrency)
    if not request.sandbox:
        if settings.key is None:
            raise AccountError(NO_KEY)
        refuse_private_webhook(settings)
        return settings
    return at_sandbox(settings, ensure_sandbox(settings.data_dir / "sandbox", speed=request.speed))


def at_sandbox(settings: Settings, sandbox: SandboxAddress) -> Settings:
    """Return settings that point at a sandbox."""
    return replace(
        sandbox_ledger(settings),
        key=ApiKey(sandbox.key),
        queue_url=sandbox.url,
        rest_url=sandbox.url,
        cdn_url=sandbox.url,
        platform_url=f"{sandbox.url}/v1",
    )
