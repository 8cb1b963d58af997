"""From a SOURCE (a manifest, a campaign file or a plan file) to the plan. Reads files, spends nothing."""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from callsheet.errors import ManifestError, PlanChanged, Problem, UsageError
from manifests.campaign import Campaign, is_name
from manifests.images import PictureFinder
from manifests.names import safe_part
from manifests.parse_cells import Context
from manifests.plan import Plan, PlanOptions
from manifests.plan_file import differences, read_plan
from manifests.planning_rows import planned_rows
from manifests.problems import Problems
from manifests.readers.remote import is_remote
from manifests.table import shown
from pricing.budgets import Cap, client_key
from pricing.catalog import load_catalog
from pricing.money import parse_usd


def make_plan(source: Path | str, *, overrides: PlanOptions | None = None) -> Plan:
    """Check and price everything that SOURCE describes.

    `.toml` is a campaign file, `.json` a plan file, everything else a manifest. A plan file is planned anew
    from its own source and options. Raises ManifestError with every mistake of every row, PlanChanged where
    a plan file no longer holds, and UsageError where a file or an option cannot be used at all.
    """
    options = overrides or PlanOptions()
    if is_remote(str(source)):
        return _plan(str(source), _far(str(source)), options)
    path = Path(source)
    if path.suffix.lower() == ".json":
        return _planned_again(path, options)
    if path.suffix.lower() == ".toml":
        from manifests.campaign_file import read_campaign  # noqa: PLC0415  # a bare manifest needs no pydantic

        return _plan(path, read_campaign(path), options)
    return _plan(path, _bare(path), options)


def campaign_name(source: Path | str) -> str:
    """Return the name of the campaign that SOURCE describes, without reading its rows.

    Raises UsageError or ManifestError where a campaign file or a plan file cannot be read.
    """
    if is_remote(str(source)):
        return _far(str(source)).name
    path = Path(source)
    if path.suffix.lower() == ".json":
        return campaign_name(read_plan(path).source)
    if path.suffix.lower() == ".toml":
        from manifests.campaign_file import read_campaign  # noqa: PLC0415  # a bare manifest needs no pydantic

        return read_campaign(path).name
    return _bare(path).name


def _planned_again(path: Path, options: PlanOptions) -> Plan:
    planned = read_plan(path)
    if str(planned.source).lower().endswith(".json"):
        raise UsageError(f"{path} was made from {planned.source}, which is a plan file itself; plan again")
    given = planned.options
    merged = PlanOptions(
        budget_usd=options.budget_usd or given.budget_usd,
        concurrency=options.concurrency or given.concurrency,
        out=options.out or given.out,
        defaults={**given.defaults, **options.defaults},
        input_root=options.input_root or given.input_root,
        allow_private_hosts=options.allow_private_hosts,
    )
    plan = make_plan(planned.source, overrides=merged)
    changes = differences(planned, plan)
    if changes:
        raise PlanChanged(changes)
    return plan


def _far(address: str) -> Campaign:
    """Return a campaign of one manifest on another machine."""
    try:
        place = PurePosixPath(urlsplit(address).path)
    except ValueError as error:
        raise UsageError(f"{address} is no address: {error}") from None
    name = place.stem if is_name(place.stem) else safe_part(place.stem)
    return Campaign(name=name, manifest=address, folder=Path())


def _bare(path: Path) -> Campaign:
    """Return a campaign of one manifest that says nothing more."""
    name = path.stem if is_name(path.stem) else safe_part(path.stem)
    return Campaign(name=name, manifest=path.name, folder=path.parent)


def _plan(source: Path | str, written: Campaign, options: PlanOptions) -> Plan:
    caps = (*written.caps, *_run_caps(options))
    campaign = replace(written, defaults=_cells({**written.defaults, **options.defaults}))
    catalog = load_catalog()
    notes = Problems()
    pictures = PictureFinder.of(Path.cwd(), options.input_root)
    jobs, counted = planned_rows(
        campaign,
        Context(catalog, pictures, campaign.naming),
        notes,
        allow_private=options.allow_private_hosts,
    )
    if notes.count:
        raise ManifestError(notes.problems())
    plan = Plan(
        campaign=campaign.name,
        source=source,
        jobs=jobs,
        caps=caps,
        price_book=catalog.price_book,
        warnings=tuple(notes.warnings()),
        out=options.out or campaign.out or None,
        concurrency=options.concurrency,
        options=options,
        counted=counted,
    )
    clients = [client for _, client in plan.summary.groups if client]
    return replace(plan, warnings=(*plan.warnings, *client_warnings(campaign, clients)))


def _run_caps(options: PlanOptions) -> tuple[Cap, ...]:
    if options.budget_usd is None:
        return ()
    try:
        return (Cap("run", "", "total", parse_usd(options.budget_usd)),)
    except ValueError as error:
        raise UsageError(f"the budget: {error}") from None


_CLIENTS_COMPARED = 500
"""Up to this many clients, names are compared with each other: half a second at worst."""
_NEAR = 0.85
"""How alike two clients' names must be (difflib's ratio) to be pointed out."""


def client_warnings(campaign: Campaign, clients: Iterable[str]) -> Iterator[Problem]:
    """Warn of caps on clients that no row has, and of clients whose names are nearly equal."""
    spelled: dict[str, str] = {}
    for client in clients:
        spelled.setdefault(client_key(client), client)
    capped = {
        client_key(cap.name.removeprefix(f"{campaign.name}/")): cap.name.removeprefix(f"{campaign.name}/")
        for cap in campaign.caps
        if cap.scope == "campaign_client"
    }
    for key, name in capped.items():
        if key not in spelled:
            near = next((theirs for other, theirs in spelled.items() if _nearly_equal(key, other)), "")
            hint = f"; did you mean {shown(near)}?" if near else ""
            yield campaign.problem(
                ("budget", "client", name),
                "",
                f"no row has the client {shown(name)}, so this cap limits nothing{hint}",
            )
    if len(spelled) > _CLIENTS_COMPARED:
        return
    for (first, one), (second, other) in itertools.combinations(spelled.items(), 2):
        if _nearly_equal(first, second):
            message = f"{shown(one)} and {shown(other)} are counted as two clients; is that meant?"
            yield Problem(campaign.file or campaign.manifest, 0, "client", "", message)


def _nearly_equal(first: str, second: str) -> bool:
    """Say whether two clients' keys differ by a slip of the finger, and not by a number only."""
    if unicodedata.normalize("NFKC", first) == unicodedata.normalize("NFKC", second):
        return True
    if re.sub(r"\d+", "", first) == re.sub(r"\d+", "", second):
        return False
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    return matcher.quick_ratio() >= _NEAR and matcher.ratio() >= _NEAR


def _cells(defaults: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in defaults.items() if value.strip()}
