"""The sections of a campaign file, key by key: what each may be, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from manifests.addresses import REFERENCE, is_address, is_reference, is_webhook
from manifests.campaign import NAME_MAX_CHARS, Template, is_name, parse_template
from manifests.columns import TAKES_MAX, canonical
from manifests.look import FLAG_KINDS, THRESHOLDS, LookRules
from manifests.names import parse_naming
from manifests.table import WrittenNumber, two_claim
from pricing.money import MAX_USD, parse_usd


def flag_kinds(value: Any) -> tuple[str, ...]:
    """Read a list of kinds of flags. Raises ValueError, naming those that there are."""
    if not isinstance(value, list) or not all(isinstance(each, str) and each in FLAG_KINDS for each in value):
        raise ValueError(f"must be a list of {', '.join(FLAG_KINDS)}")
    if len(set(value)) != len(value):
        raise ValueError("a kind stands twice in the list")
    return tuple(value)


FlagKinds = Annotated[
    tuple[str, ...],
    BeforeValidator(flag_kinds),
    WithJsonSchema({"type": "array", "items": {"enum": list(FLAG_KINDS)}, "uniqueItems": True}),
]


def _threshold(name: str) -> Any:
    limit = THRESHOLDS[name]
    bounds: dict[str, Any] = {"minimum": limit.low, "maximum": limit.high}
    return Field(limit.default, description=limit.what, json_schema_extra=bounds)


def _some_kinds(value: Any) -> tuple[str, ...]:
    kinds = flag_kinds(value)
    if not kinds:
        raise ValueError(f"must name at least one of {', '.join(FLAG_KINDS)}")
    return kinds


SomeKinds = Annotated[
    tuple[str, ...],
    BeforeValidator(_some_kinds),
    WithJsonSchema(
        {"type": "array", "items": {"enum": list(FLAG_KINDS)}, "uniqueItems": True, "minItems": 1}
    ),
]


class LookSection(BaseModel):
    """[look]: a key for each of `THRESHOLDS`, and the kinds that are not looked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    black_s: float = _threshold("black_s")
    black_level: float = _threshold("black_level")
    frozen_s: float = _threshold("frozen_s")
    frozen_percent: float = _threshold("frozen_percent")
    blurred_s: float = _threshold("blurred_s")
    blurred_px: float = _threshold("blurred_px")
    cut_percent: float = _threshold("cut_percent")
    silent_s: float = _threshold("silent_s")
    silent_db: float = _threshold("silent_db")
    clipped_share: float = _threshold("clipped_share")
    alike: float = _threshold("alike")
    ignore: FlagKinds = Field(default=(), description="what is not looked for")

    @field_validator(*THRESHOLDS, mode="before")
    @classmethod
    def _bounded(cls, value: Any, info: ValidationInfo) -> float:
        limit = THRESHOLDS[info.field_name or ""]
        is_number = isinstance(value, int | WrittenNumber) and not isinstance(value, bool)
        try:
            number = float(value) if is_number else limit.low - 1
        except (ValueError, OverflowError):
            number = limit.low - 1
        if not limit.low <= number <= limit.high:
            raise ValueError(f"must be a number from {limit.low:g} to {limit.high:g}")
        return number

    @property
    def rules(self) -> LookRules:
        """What it says, for the look itself."""
        return LookRules({name: float(getattr(self, name)) for name in THRESHOLDS}, self.ignore)


_WHOLE_MAX = 10**15
PRIORITY_MAX = 1000
SHARE_MAX = 1000
_HEADER_ROW_MAX = 1000
RETAKES_MAX = 10


def _cell(value: Any) -> str:
    """Take what a cell may be in TOML (text, a number, true or false) as the cell's text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < _WHOLE_MAX):
        return str(value)
    raise ValueError("must be text, a number or true/false")


def _cells(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of one value or more")
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
    if not isinstance(value, str) or isinstance(value, WrittenNumber) or not value.strip():
        raise ValueError("must be text" if str(value).strip() else "must not be empty")
    return value.strip()


def _name(value: Any) -> str:
    name = _text(value)
    if not is_name(name):
        raise ValueError(f"must be 1 to {NAME_MAX_CHARS} printable characters, without / and \\")
    return name


def _whole(low: int, high: int, what: str = "a whole number") -> BeforeValidator:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be {what} from {low} to {high}")
        return value

    return BeforeValidator(check)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # pydantic reports ValueErrors
    return value


def _by_column(values: Any) -> Any:
    """Name the columns of a table as we do. Two keys must not be one column."""
    if not isinstance(values, dict):
        return values
    keys: dict[str, str] = {}
    for key in values:
        first = keys.setdefault(canonical(key), key)
        if first != key:
            raise ValueError(two_claim(first, key))
    return dict(zip(keys, values.values(), strict=True))


def _address(value: Any) -> str:
    address = _text(value)
    if not (is_reference(address) or is_address(address)):
        raise ValueError(f"must be an address with :// in it, or {REFERENCE}NAME for one in the environment")
    return address


def _webhook(value: Any) -> str:
    address = _address(value)
    if not (is_reference(address) or is_webhook(address)):
        raise ValueError(f"must be an https:// address, or {REFERENCE}NAME for one in the environment")
    return address


def _template(value: Any) -> Template:
    return parse_template(_text(value))


def _naming(value: Any) -> Template:
    return parse_naming(_text(value))


_CELL_SCHEMA = {"type": ["string", "integer", "number", "boolean"]}
Cell = Annotated[str, BeforeValidator(_cell), WithJsonSchema(_CELL_SCHEMA)]
Cells = Annotated[
    list[str],
    BeforeValidator(_cells),
    WithJsonSchema({"type": "array", "items": _CELL_SCHEMA, "minItems": 1, "uniqueItems": True}),
]
Amount = Annotated[
    int,
    BeforeValidator(_amount),
    WithJsonSchema({"type": ["number", "string"], "exclusiveMinimum": 0, "maximum": MAX_USD}),
]
Text = Annotated[str, BeforeValidator(_text)]
Header = Annotated[str, BeforeValidator(_text), AfterValidator(canonical)]
Address = Annotated[str, BeforeValidator(_address)]
Webhook = Annotated[str, BeforeValidator(_webhook)]
Pattern = Annotated[Template, BeforeValidator(_template), WithJsonSchema({"type": "string"})]
Naming = Annotated[Template, BeforeValidator(_naming), WithJsonSchema({"type": "string"})]


def _bounds(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


def _key(meaning: str, default: Any = ..., **more: Any) -> Any:
    """Describe a key for docs/campaign.md and for editors."""
    return Field(default, description=meaning, **more)


def _table(meaning: str, of: Callable[[], Any] = dict) -> Any:
    return Field(default_factory=of, description=meaning)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class CampaignSection(_Section):
    """[campaign]"""  # noqa: D415  # the section's own name

    name: Annotated[
        str,
        BeforeValidator(_name),
        WithJsonSchema({"type": "string", "maxLength": NAME_MAX_CHARS, "pattern": r"^[^/\\]+$"}),
    ] = _key("money is capped and results are gathered under this name")
    manifest: Text = _key(
        "a path relative to the campaign file, a glob pattern or an address; `book.xlsx#Sheet` names a sheet"
    )
    priority: Annotated[int, _whole(-PRIORITY_MAX, PRIORITY_MAX), _bounds(-PRIORITY_MAX, PRIORITY_MAX)] = (
        _key("where several campaigns wait for slots, the higher one gets the next", 0)
    )
    share: Annotated[int, _whole(1, SHARE_MAX), _bounds(1, SHARE_MAX)] = _key(
        "among equals: a campaign of share 2 gets twice the slots of one of share 1", 1
    )


class MatrixSection(_Section):
    """[matrix]: lists of values by column, and takes."""

    values_by_column: Annotated[dict[str, Cells], BeforeValidator(_by_column)] = _table(
        "every row is made with every value; several lists are combined"
    )
    takes: Annotated[int, _whole(1, TAKES_MAX), _bounds(1, TAKES_MAX)] = _key(
        "variants of every row, each with another seed", 1
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        columns = {name: value for name, value in data.items() if name != "takes"}
        return {"values_by_column": columns, **{name: data[name] for name in data if name == "takes"}}


class BudgetSection(_Section):
    """[budget]: dollars, read as nano-dollars."""

    total_usd: Amount | None = _key("over all runs of the campaign", None)
    daily_usd: Amount | None = _key("per day (UTC), by the day of the hold", None)
    monthly_usd: Amount | None = _key("per month (UTC), by the day of the hold", None)
    client: dict[str, Amount] = _table("for one client within the campaign")


class OutputSection(_Section):
    """[output]: where the run's folder is made, and what its videos are called."""

    dir: Text = _key("a folder or `s3://bucket/prefix`, where run folders are made", "")
    name: Naming | None = _key("the videos' names, from `{columns}` of the row; `/` makes folders", None)


class NotifySection(_Section):
    """[notify]: who is told about runs."""

    urls: list[Address] = _table(
        "[Apprise](https://github.com/caronc/apprise/wiki) addresses of those who are told about runs; "
        "`env:NAME` is the value of that environment variable, so that no password is in the file",
        list,
    )
    webhook: Webhook = _key(
        "an `https://` address, or `env:NAME`, that gets every message as a signed document: "
        "[operations.md](operations.md#notifications)",
        "",
    )


class RetakesSection(_Section):
    """[retakes]: which flagged clips are bought again without a person, and for how much."""

    max: Annotated[int, _whole(1, RETAKES_MAX), _bounds(1, RETAKES_MAX)] = _key(
        "how often a clip that is flagged is bought again, without a person"
    )
    budget_usd: Amount = _key("what all retakes of one run may cost; it widens no other cap")
    on: SomeKinds = _key("which flags are a reason to buy a clip again")


class InputSection(_Section):
    """[input]: how the manifest is read."""

    header_row: Annotated[
        int | None,
        _whole(1, _HEADER_ROW_MAX, "the header's row, a whole number"),
        _bounds(1, _HEADER_ROW_MAX),
    ] = _key("the row of the header, if there is a title above it", None)
    skip_hidden: Annotated[bool, BeforeValidator(_truth)] = _key(
        "leave out hidden and filtered rows of a workbook", default=False
    )


class CampaignFile(_Section):
    """The whole file."""

    campaign: CampaignSection
    input: InputSection = Field(default_factory=InputSection)
    defaults: Annotated[dict[str, Cell], BeforeValidator(_by_column)] = _table(
        "used where the column is absent or the cell is empty"
    )
    columns: dict[str, Header] = _table(
        "reads their header as our column; several may name the same one, and each manifest has one of them"
    )
    template: Annotated[dict[str, Pattern], BeforeValidator(_by_column)] = _table(
        "makes the column from `{columns}` of the row; `{{` is a brace"
    )
    matrix: MatrixSection = Field(default_factory=MatrixSection)
    budget: BudgetSection = Field(default_factory=BudgetSection)
    output: OutputSection = Field(default_factory=OutputSection)
    notify: NotifySection = Field(default_factory=NotifySection)
    look: LookSection = Field(default_factory=LookSection)
    retakes: RetakesSection | None = None
