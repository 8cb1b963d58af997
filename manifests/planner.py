"""Make a plan from a SOURCE: a manifest, a campaign file or a plan file. Reads files, spends nothing."""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from callsheet.errors import ManifestError, PlanChanged, Problem, UsageError
from manifests.campaign import Campaign, is_name
from manifests.columns import canonical
from manifests.error_file import RESULTS_ONLY
from manifests.expand import expanded, expansion_problems, factor_of
from manifests.images import PictureFinder
from manifests.job import Job
from manifests.names import safe_part
from manifests.parse_cells import Context
from manifests.part import filtered
from manifests.plan import Plan, PlannedJob, PlanOptions, Summary
from manifests.plan_file import differences, read_plan
from manifests.problems import Problems
from manifests.readers import as_table, open_manifests, refuse_bytes
from manifests.readers.parquet import Manifest
from manifests.readers.remote import is_remote
from manifests.selection import campaign_of, retakes_of, run_of
from manifests.table import ReadOptions, Row, Table, shown
from manifests.validate import check_rows, not_priced
from pricing.budgets import Cap, client_key
from pricing.catalog import Catalog, load_catalog
from pricing.money import parse_usd
from pricing.quotes import quote


def make_plan(source: Path | str, *, overrides: PlanOptions | None = None) -> Plan:
    """Check and price everything that SOURCE describes.

    `.toml` is a campaign file, `.json` a plan file, everything else a manifest. A plan file is planned anew
    from its own source and options. Raises ManifestError with every mistake of every row, PlanChanged where
    a plan file no longer holds, and UsageError where a file or an option cannot be used at all.
    """
    options = overrides or PlanOptions()
    if source == "":  # as a variable of the shell that is not set; it would be the whole folder
        raise UsageError("the manifest has no name; for the Parquet files of this folder write `.`")
    refuse_bytes(str(source))
    if _is_plan_file(source):
        return _planned_again(Path(source), options)
    campaign = _campaign_of(source)
    if options.campaign is not None:
        campaign = replace(campaign, name=options.campaign)
    return _plan(source if is_remote(str(source)) else Path(source), campaign, options)


def written_campaign(source: Path | str) -> Campaign:
    """Return the campaign that SOURCE describes as it was written, without reading its rows.

    Raises UsageError or ManifestError where a campaign file or a plan file cannot be read.
    """
    return _campaign_of(read_plan(Path(source)).source if _is_plan_file(source) else source)


def _is_plan_file(source: Path | str) -> bool:
    return not is_remote(str(source)) and Path(source).suffix.lower() == ".json"


def _campaign_of(source: Path | str) -> Campaign:
    """Read a campaign file; a manifest, a folder or a pattern is a campaign of that alone."""
    if is_remote(str(source)):
        return _far(str(source))
    path = Path(source)
    if path.suffix.lower() == ".toml":
        from manifests.campaign_file import read_campaign  # a bare manifest needs no pydantic

        return read_campaign(path)
    # An errors.csv belongs to its run's campaign.
    of_errors = campaign_of(path)
    name = of_errors if is_name(of_errors) else _name_of(str(path))
    return Campaign(name=name, manifest=path.name, folder=path.parent)


def _planned_again(path: Path, options: PlanOptions) -> Plan:
    planned = read_plan(path)
    if str(planned.source).lower().endswith(".json"):
        raise UsageError(f"{path} was made from {planned.source}, which is a plan file itself; plan again")
    given = planned.options
    if options.rows:
        raise UsageError(
            f"{path} lists its rows already, so it takes no {options.rows}; plan {planned.source} with it"
        )
    merged = replace(
        options,
        rows=given.rows,
        budget_usd=options.budget_usd or given.budget_usd,
        concurrency=options.concurrency or given.concurrency,
        out=options.out or given.out,
        defaults={**given.defaults, **options.defaults},
        input_root=options.input_root or given.input_root,
        header_row=options.header_row or given.header_row,
        skip_hidden=options.skip_hidden or given.skip_hidden,
    )
    try:
        plan = make_plan(planned.source, overrides=merged)
    except UsageError as error:
        if not planned.signed:
            raise
        raise UsageError(f"{error}; {path} keeps no signature, so run the signed address itself") from error
    changes = differences(planned, plan)
    if changes:
        raise PlanChanged(changes)
    return replace(plan, shown_with=planned.shown_with)


def _far(address: str) -> Campaign:
    """Return a campaign of one manifest on another machine."""
    try:
        place = urlsplit(address)
    except ValueError as error:
        raise UsageError(f"{address} is no address: {error}") from None
    return Campaign(name=_name_of(f"{place.netloc}{place.path}"), manifest=address, folder=Path())


def _name_of(source: str) -> str:
    """Return a readable campaign name for a path, a folder or a pattern: `night/*.csv` is `night`."""
    for part in reversed(PurePosixPath(source).parts):
        stem = PurePosixPath(part).stem
        if _WILDCARDS.search(stem):
            stem = _WILDCARDS.sub("", stem).strip(" .-_")
        is_partition = "=" in part and not PurePosixPath(part).suffix
        if stem.strip("./~ ") and not is_partition:
            return stem if is_name(stem) else safe_part(stem)
    return safe_part(Path.cwd().name) or "campaign"


_WILDCARDS = re.compile(r"[*?]+|\[[^]]*\]")


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
        options=ReadOptions(
            renamed=campaign.columns,
            header_row=options.header_row or campaign.header_row,
            skip_hidden=options.skip_hidden or campaign.skip_hidden,
            allow_private=options.allow_private_hosts,
            max_bytes=options.manifest_max_mb << 20,
            pictures_from=options.pictures_from,
        ),
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
        priority=campaign.priority,
        share=campaign.share,
        options=options,
        counted=counted,
        look=campaign.look,
        retakes=campaign.retakes,
    )
    clients = [client for _, client in plan.summary.groups if client]
    plan = replace(plan, warnings=(*plan.warnings, *client_warnings(campaign, clients)))
    return filtered(plan, options.rows, campaign.columns)


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
    return {canonical(name): value for name, value in defaults.items() if value.strip()}


FEW_JOBS = 2_000
"""Up to this many, one by one is quicker (about 60 microseconds a row)."""


def planned_rows(
    campaign: Campaign,
    context: Context,
    notes: Problems,
    *,
    few: int | None = None,
    options: ReadOptions | None = None,
) -> tuple[Sequence[PlannedJob], Summary | None]:
    """Read, check and price every row; mistakes and warnings go into `notes`.

    Where there are any mistakes, what is returned is only part of the plan. The summary is None where the
    jobs are in memory and can be counted there; `few` says up to how many that is. Raises UsageError where
    a file cannot be read at all.
    """
    manifests = open_manifests(
        campaign.manifest, campaign.folder, options or ReadOptions(renamed=campaign.columns)
    )
    _refuse_others(campaign, manifests)
    selections = [each for each in manifests if isinstance(each, Table) and run_of(each)]
    manifests = [retakes_of(each) if isinstance(each, Table) else each for each in manifests]
    jobs = sum(manifest.count for manifest in manifests) * factor_of(campaign)
    is_few = jobs <= (FEW_JOBS if few is None else few)
    if is_few:
        manifests = [as_table(manifest) for manifest in manifests]
    for manifest in manifests:
        if isinstance(manifest, Table):
            notes.add_all(manifest.problems)
            for warning in manifest.warnings:
                notes.add_warning(warning)
    in_the_way = expansion_problems(campaign, manifests)
    notes.add_all(in_the_way)
    if in_the_way:
        # Rows of a campaign that cannot be filled would only repeat its mistake, once a row.
        return (), None
    if not jobs and not notes.count:
        nothing = "no row says retake" if selections else "the manifest has no rows"
        message = f"{nothing}, so there is nothing to make"
        notes.add_warning(Problem(campaign.manifest, 0, "", "", message))
    planned: tuple[Sequence[PlannedJob], Summary | None]
    if is_few:
        planned = _one_by_one(campaign, manifests, context, notes), None
    else:
        # NumPy and Arrow take a third of a second, which a few rows need not pay.
        from manifests.columnar.pipeline import BulkPlanner

        planned = BulkPlanner(campaign, manifests, context, notes).plan()
    notes.blame(campaign.blamed)
    return planned


def _refuse_others(campaign: Campaign, manifests: Iterable[Manifest]) -> None:
    """Raise UsageError for the results of a run, and for a file whose campaign this plan would not be."""
    for each in manifests:
        if RESULTS_ONLY.issubset(each.header):
            raise UsageError(
                f"{each.file} has the results of a run, so its videos would be bought again. Run the "
                "manifest itself: it buys what is missing. Failed rows are in errors.csv, retakes in "
                "selection.csv. To buy these rows all the same, delete the column request_id"
            )
        theirs = each.campaign if isinstance(each, Table) else ""
        if not campaign.file and theirs != campaign.name and is_name(theirs):
            raise UsageError(f"{each.file} belongs to the campaign {theirs}; plan it as a file by itself")


def _one_by_one(
    campaign: Campaign, manifests: Sequence[Manifest], context: Context, notes: Problems
) -> tuple[PlannedJob, ...]:
    tables = [as_table(manifest) for manifest in manifests]
    checked = check_rows(expanded(campaign, tables, notes), context, notes)
    priced = (_priced(row, job, context.catalog, notes) for row, job in checked)
    return tuple(job for job in priced if job is not None)


def _priced(row: Row, job: Job, catalog: Catalog, notes: Problems) -> PlannedJob | None:
    try:
        price = quote(catalog, job.shot)
    except LookupError as error:
        notes.wrong(row, "model", not_priced(error))
        return None
    return PlannedJob(job, price, job.fingerprint, row.cells, row.file)
