"""What a run is asked to do: the flow's parameters, and so a form in Prefect's pages.

Prefect stores flow parameters in plain sight. Nothing secret may ever be a field here; the key is read from
the environment by the process that sends.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from callsheet.ledger import Run


class RunRequest(BaseModel):
    """One execution of a plan, or its continuation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(
        default=None, description="A manifest, a campaign file or a plan file; not needed with run_id"
    )
    run_id: str | None = Field(default=None, description="An opened run to go on with")
    budget_usd: str | None = Field(
        default=None, description="The most this run may cost, in dollars", pattern=r"^\d{1,7}(\.\d{1,9})?$"
    )
    concurrency: int | None = Field(default=None, ge=1, le=1000, description="Renders at the same time (10)")
    out: str | None = Field(default=None, description="The folder that run folders are made in (runs)")
    fit: bool = Field(default=False, description="Take what fits the budget, highest priority first")
    again: bool = Field(default=False, description="Buy also what was made and paid for already")
    sandbox: bool = Field(default=False, description="Run on the local sandbox: no key, no money")
    speed: float = Field(default=1.0, gt=0, le=10_000, description="How much faster the sandbox renders")

    approve_above_usd: str | None = Field(
        default=None,
        description="Wait for a person's approval in Prefect where it may cost more than so many dollars",
        pattern=r"^\d{1,7}(\.\d{1,9})?$",
    )
    approve_within_s: int = Field(
        default=3600, ge=1, le=30 * 86_400, description="Seconds that an approval is waited for"
    )
    canary: int | None = Field(
        default=None, ge=1, le=1000, description="First one job of each price cell, of so many cells at most"
    )
    accept_prices: bool = Field(
        default=False, description="Go on where fal's price list says something else than the plan"
    )

    @property
    def kept(self) -> str:
        """The request as a run keeps it: prices are accepted once, and not for every later resume."""
        return self.model_copy(update={"accept_prices": False}).model_dump_json()

    @classmethod
    def of(cls, run: Run) -> RunRequest:
        """Return the request that a run was opened with; an empty one for a run that keeps none."""
        return cls.model_validate_json(run.options) if run.options else cls()

    @property
    def label(self) -> str:
        """What the flow run is called in Prefect's pages."""
        return self.run_id or Path(self.source or "campaign").stem
