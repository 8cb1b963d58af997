"""The shape of a campaign file: what each key may hold, as pydantic models at the border."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from manifests.campaign import NAME_MAX_CHARS, is_name
from manifests.columns import TAKES_MAX
from manifests.template import Template, parse_template
from pricing.money import MAX_USD, parse_usd

_WHOLE_MAX = 10**15


class Number(str):
    """A TOML float as it was written: nothing is converted before the rule that bounds it."""

    __slots__ = ()


def _cell(value: Any) -> str:
    """Take what a cell may be in TOML (text, a number, true or false) as the cell's text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < _WHOLE_MAX):
        return str(value)
    raise ValueError("must be text, a number or true/false")


def _cells(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of values")
    cells = [_cell(item) for item in value]
    if len(set(cells)) != len(cells):
        raise ValueError("a value stands twice in the list; for variants use takes")
    return cells


def _amount(value: Any) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) or (is_whole and abs(value) <= MAX_USD):
        return parse_usd(str(value).replace("_", ""))
    raise ValueError(f"must be an amount above 0 and at most {MAX_USD:,} USD")


def _text(value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, Number) or not value.strip():
        raise ValueError("must be text")
    return value.strip()


def _name(value: Any) -> str:
    name = _text(value)
    if not is_name(name):
        raise ValueError(f"must be 1 to {NAME_MAX_CHARS} printable characters, without / and \\")
    return name


def _takes(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= TAKES_MAX:
        raise ValueError(f"must be a whole number from 1 to {TAKES_MAX}")
    return value


def _template(value: Any) -> Template:
    return parse_template(_text(value))


Cell = Annotated[str, BeforeValidator(_cell)]
Cells = Annotated[list[str], BeforeValidator(_cells)]
Amount = Annotated[int, BeforeValidator(_amount)]
Text = Annotated[str, BeforeValidator(_text)]
Pattern = Annotated[Template, BeforeValidator(_template)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class CampaignSection(_Section):
    """[campaign]"""  # noqa: D415  # the section's own name

    name: Annotated[str, BeforeValidator(_name)]
    manifest: Text


class MatrixSection(_Section):
    """[matrix]: lists of values by column, and takes."""

    values_by_column: dict[str, Cells] = Field(default_factory=dict)
    takes: Annotated[int, BeforeValidator(_takes)] = 1

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        columns = {name: value for name, value in data.items() if name != "takes"}
        return {"values_by_column": columns, **{name: data[name] for name in data if name == "takes"}}


class BudgetSection(_Section):
    """[budget]: dollars, read as nano-dollars."""

    total_usd: Amount | None = None
    daily_usd: Amount | None = None
    monthly_usd: Amount | None = None
    client: dict[str, Amount] = Field(default_factory=dict)


class OutputSection(_Section):
    """[output]: where the run's folder is made, and what its videos are called."""

    dir: Text = ""
    name: Pattern | None = None


class CampaignFile(_Section):
    """The whole file."""

    campaign: CampaignSection
    defaults: dict[str, Cell] = Field(default_factory=dict)
    columns: dict[str, Text] = Field(default_factory=dict)
    template: dict[str, Pattern] = Field(default_factory=dict)
    matrix: MatrixSection = Field(default_factory=MatrixSection)
    budget: BudgetSection = Field(default_factory=BudgetSection)
    output: OutputSection = Field(default_factory=OutputSection)
