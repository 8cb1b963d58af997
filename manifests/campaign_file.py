"""The campaign file: TOML, read strictly. Every mistake names its line, its key, and what is allowed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from callsheet.errors import ManifestError, Problem, UsageError
from manifests.campaign import Campaign, Template, line_of
from manifests.campaign_sections import CampaignFile
from manifests.columns import COLUMN, canonical, likely_column
from manifests.look import RetakeRules
from manifests.names import leaves_folder
from manifests.table import WrittenNumber, shown
from pricing.budgets import Cap, Window, campaign_client_key

_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line, counted from 1, of every table and every key, by its path."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    depth = 0
    for number, line, bare in _lines(text):
        if depth == 0 and bare.lstrip().startswith("["):
            table = _path(line.lstrip().lstrip("["))[0]
            _note(lines, table, number)
        elif depth == 0 and "=" in bare:
            path, _ = _path(line)
            _note(lines, (*table, *path), number)
        if not (depth == 0 and bare.lstrip().startswith("[")):
            depth += sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
    return lines


def _note(lines: dict[tuple[str, ...], int], path: tuple[str, ...], number: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], number)


def _lines(text: str) -> list[tuple[int, str, str]]:
    """Return lines with their numbers, and each as well without strings and comments.

    Lines inside a string of several lines are empty in both.
    """
    kept, bare, end = [], [], 0
    for match in _STRING.finditer(text):
        between = text[end : match.start()]
        breaks = "\n" * match[0].count("\n")
        kept += [between, breaks or match[0]]
        bare += [between, breaks]
        end = match.end()
    rest = text[end:]
    pairs = zip("".join([*kept, rest]).split("\n"), "".join([*bare, rest]).split("\n"), strict=True)
    return [(number, line, plain) for number, (line, plain) in enumerate(pairs, 1)]


def _path(text: str) -> tuple[tuple[str, ...], int]:
    """Read a dotted key from the start of a text."""
    parts: list[str] = []
    at = 0
    while match := _PART.match(text, at):
        parts.append(next(each for each in match.groups() if each is not None))
        at = match.end()
        if not text.startswith(".", at):
            break
        at += 1
    return tuple(parts), at


FILE_LIMIT_BYTES = 1 << 20


def read_campaign(path: Path) -> Campaign:
    """Read a campaign file. Raises UsageError for a file that is not TOML, ManifestError for what it says."""
    text, data = _toml(path)
    lines = key_lines(text)
    # Messages name columns as we do, however the file spells them.
    lines = {(*path[:-1], canonical(path[-1])): line for path, line in lines.items()} | lines
    misspelt = _key_problems(str(path), data, lines)
    try:
        given = CampaignFile.model_validate(data)
    except ValidationError as error:
        wrong = [_problem(str(path), dict(each), lines) for each in error.errors()]
        raise ManifestError([*wrong, *misspelt]) from None
    campaign = _campaign(given, path, lines)
    if problems := [*misspelt, *_clash_problems(campaign)]:
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
        priority=given.campaign.priority,
        share=given.campaign.share,
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
        retakes=RetakeRules(given.retakes.max, given.retakes.on) if given.retakes else None,
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
    retakes = [Cap("retakes", "", "total", given.retakes.budget_usd)] if given.retakes else []
    return (*caps, *clients, *retakes)


def _key_problems(file: str, data: Mapping[str, Any], lines: dict[tuple[str, ...], int]) -> list[Problem]:
    """Name the columns that look like one of ours misspelt: setting them would change nothing."""
    tables = {name: table for name, table in data.items() if isinstance(table, dict)}
    named = [
        ((section, name), canonical(name))
        for section in ("defaults", "template", "matrix")
        for name in tables.get(section, ())
        if (section, name) != ("matrix", "takes")
    ]
    renamed = tables.get("columns", {}).items()
    named += [(("columns", theirs), canonical(ours)) for theirs, ours in renamed if isinstance(ours, str)]
    wrong = "not a Callsheet column"
    near = [(key, name, likely_column(name)) for key, name in named if name not in COLUMN]
    return [
        Problem(file, line_of(lines, key), ".".join(key), shown(name), f"{wrong}; did you mean {ours}?")
        for key, name, ours in near
        if ours
    ]


def _clash_problems(campaign: Campaign) -> list[Problem]:
    clash = []
    if "output_name" in campaign.templates:
        clash.append(campaign.problem(("template", "output_name"), "", "write it as name under [output]"))
    if campaign.naming and leaves_folder(campaign.naming):
        message = "this name leads out of the run's folder; write it without .., \\, and / at the beginning"
        clash.append(campaign.problem(("output", "name"), _written(campaign.naming), message))
    clash += _same_client_problems(campaign)
    unseen = set(campaign.retakes.on).intersection(campaign.look.ignore) if campaign.retakes else ()
    clash += [
        campaign.problem(("retakes", "on"), kind, "[look] ignores this kind") for kind in sorted(unseen)
    ]
    return clash + [
        campaign.problem(("matrix", name), name, f"template.{name} decides this column already")
        for name in campaign.matrix
        if name in campaign.templates
    ]


def _written(template: Template) -> str:
    """Write a template as it was typed, for a message."""
    return shown(template.fill({name: f"{{{name}}}" for name in template.columns}))


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
        column = canonical(path[-1])
        instead = f"; write the column {column} under [defaults]" if column in COLUMN else ""
        message = f"there is no such key; allowed are {_siblings(error['loc'])}{instead}"
        return Problem(file, line, key, "", message)
    is_shown = kind != "missing" and path[:1] != ["notify"]  # those addresses may hold secrets
    found = shown(str(error["input"])) if is_shown else ""
    if kind == "value_error":
        return Problem(file, line, key, found, str(error["ctx"]["error"]))
    return Problem(file, line, key, found, _WORDS.get(kind, str(error["msg"])))


def _siblings(location: tuple[str, ...]) -> str:
    model: Any = CampaignFile
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation
        model = next(iter(get_args(annotation)), annotation)  # X | None is X
    return ", ".join(model.model_fields)
