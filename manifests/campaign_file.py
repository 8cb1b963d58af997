"""The campaign file: TOML, read strictly. Every mistake names its key, what was found and what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from callsheet.errors import ManifestError, Problem, UsageError
from manifests.campaign import NAME_MAX_CHARS, Campaign, Template, is_name, line_of, parse_template
from manifests.columns import COLUMN, TAKES_MAX, canonical, likely_column
from manifests.look_section import LookSection
from manifests.names import leaves_folder
from manifests.notify_addresses import REFERENCE, is_address, is_reference, is_webhook
from manifests.table import WrittenNumber, shown, two_claim
from manifests.toml_lines import key_lines
from pricing.budgets import Cap, Window, campaign_client_key
from pricing.money import MAX_USD, parse_usd

_WHOLE_MAX = 10**15
_HEADER_ROW_MAX = 1000


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
    if not isinstance(value, str) or isinstance(value, WrittenNumber) or not value.strip():
        raise ValueError("must be text")
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
    name: Pattern | None = _key("the videos' names, from `{columns}` of the row; `/` makes folders", None)


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


FILE_LIMIT_BYTES = 1 << 20


def read_campaign(path: Path) -> Campaign:
    """Read a campaign file. Raises UsageError for a file that is not TOML, ManifestError for what it says."""
    text, data = _toml(path)
    lines = key_lines(text)
    # Messages name columns as we do, however the file spells them.
    lines = {(*path[:-1], canonical(path[-1])): line for path, line in lines.items()} | lines
    try:
        given = CampaignFile.model_validate(data)
    except ValidationError as error:
        raise ManifestError([_problem(str(path), dict(each), lines) for each in error.errors()]) from None
    campaign = _campaign(given, path, lines)
    problems = [*_key_problems(campaign), *_clash_problems(campaign)]
    if problems:
        raise ManifestError(problems)
    return campaign


def _toml(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > FILE_LIMIT_BYTES:
        raise UsageError(
            f"{path} is larger than 1 MiB; a campaign file names a manifest, it does not hold one"
        )
    try:
        text = content.decode("utf-8-sig")
        return text, tomllib.loads(text, parse_float=WrittenNumber)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError is a ValueError; so is int("9" * 5000)
        raise UsageError(f"{path} is not TOML: {shown(str(error))}") from None


def _campaign(given: CampaignFile, path: Path, lines: dict[tuple[str, ...], int]) -> Campaign:
    return Campaign(
        name=given.campaign.name,
        manifest=given.campaign.manifest,
        folder=path.parent,
        file=str(path),
        defaults=given.defaults,
        columns=given.columns,
        templates=given.template,
        matrix={name: tuple(values) for name, values in given.matrix.values_by_column.items()},
        takes=given.matrix.takes,
        caps=_caps(given),
        out=given.output.dir,
        naming=given.output.name,
        lines=lines,
        header_row=given.input.header_row,
        skip_hidden=given.input.skip_hidden,
        notify_urls=tuple(given.notify.urls),
        webhook=given.notify.webhook,
        look=given.look.rules,
    )


def _caps(given: CampaignFile) -> tuple[Cap, ...]:
    name, budget = given.campaign.name, given.budget
    amounts: tuple[tuple[Window, int | None], ...] = (
        ("total", budget.total_usd),
        ("day", budget.daily_usd),
        ("month", budget.monthly_usd),
    )
    caps = [Cap("campaign", name, window, limit) for window, limit in amounts if limit is not None]
    clients = [
        Cap("campaign_client", campaign_client_key(name, who), "total", limit, name=f"{name}/{who}")
        for who, limit in budget.client.items()
    ]
    return (*caps, *clients)


def _key_problems(campaign: Campaign) -> list[Problem]:
    """Name the columns that look like one of ours misspelt: setting them would change nothing."""
    named = [
        *((("defaults", name), name) for name in campaign.defaults),
        *((("template", name), name) for name in campaign.templates),
        *((("matrix", name), name) for name in campaign.matrix),
        *((("columns", theirs), ours) for theirs, ours in campaign.columns.items()),
    ]
    wrong = [(key, name, likely_column(name)) for key, name in named if name not in COLUMN]
    return [
        campaign.problem(key, shown(name), f"not a Callsheet column; did you mean {near}?")
        for key, name, near in wrong
        if near
    ]


def _clash_problems(campaign: Campaign) -> list[Problem]:
    clash = []
    if "output_name" in campaign.templates:
        clash.append(campaign.problem(("template", "output_name"), "", "write it as name under [output]"))
    if campaign.naming and leaves_folder(campaign.naming):
        message = "this name leads out of the run's folder; write it without .., \\, and / at the beginning"
        clash.append(campaign.problem(("output", "name"), _written(campaign.naming), message))
    clash += _same_client_problems(campaign)
    return clash + [
        campaign.problem(("matrix", name), name, f"template.{name} decides this column already")
        for name in campaign.matrix
        if name in campaign.templates
    ]


def _written(template: Template) -> str:
    """Write a template as it was typed, for a message."""
    parts = list(template.parts)
    parts[1::2] = [f"{{{name}}}" for name in parts[1::2]]
    return shown("".join(parts))


def _same_client_problems(campaign: Campaign) -> list[Problem]:
    """Name caps that are on one client, spelled in two ways."""
    first: dict[str, str] = {}
    found = []
    for cap in campaign.caps:
        if cap.scope != "campaign_client":
            continue
        client = cap.name.removeprefix(f"{campaign.name}/")
        other = first.setdefault(cap.key, client)
        if other != client:
            message = f"this is the same client as {shown(other)}; give each client one cap"
            found.append(campaign.problem(("budget", "client", client), shown(client), message))
    return found


_WORDS = {
    "missing": "this key is required",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}


def _problem(file: str, error: Mapping[str, Any], lines: dict[tuple[str, ...], int]) -> Problem:
    """Say one of pydantic's findings in our words."""
    path = [str(part) for part in error["loc"] if part != "values_by_column"]
    key, line = ".".join(path), line_of(lines, path)
    kind = error["type"]
    if kind == "extra_forbidden":
        return Problem(file, line, key, "", f"there is no such key; allowed are {_siblings(error['loc'])}")
    is_shown = kind != "missing" and path[:1] != ["notify"]  # those addresses may hold secrets
    found = shown(str(error["input"])) if is_shown else ""
    if kind == "value_error":
        return Problem(file, line, key, found, str(error["ctx"]["error"]))
    return Problem(file, line, key, found, _WORDS.get(kind, str(error["msg"])))


def _siblings(location: tuple[str, ...]) -> str:
    model: Any = CampaignFile
    for part in location[:-1]:
        model = model.model_fields[part].annotation
    return ", ".join(model.model_fields)
