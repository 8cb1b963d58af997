"""Hand over what was kept of a run: choose, fetch what is missing, copy and label, and tell of each clip.

`callsheet.deliver` is the function of this module.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from callsheet.delivery import contact_sheet, documents
from callsheet.delivery.documents import Delivered, TimelineClip, timeline_text
from callsheet.delivery.kept_clips import DEFAULT_NAME, KeptClip, kept_clips
from callsheet.delivery.package import CONTENTS, Package, Written, open_package
from callsheet.delivery.xmp import why_untouched, xmp_box, xmp_packet
from callsheet.engine.context import open_account
from callsheet.engine.made_files import copied_back, refetch_gone
from callsheet.engine.request import RunRequest, refuse_other_kinds, settings_for
from callsheet.engine.run import find_run
from callsheet.errors import AccountError, UsageError
from callsheet.files import naming_full_disk, require_space
from callsheet.guard import check_packages_are_ours
from callsheet.ledger import Ledger, Run
from callsheet.media.mp4 import check_boxes
from callsheet.report.rows import iso_utc
from callsheet.sandbox.text import OWN_FONT, font_for, packages_for, system_fonts
from callsheet.settings import Settings, refuse_unclear, settings_from
from manifests.readers.remote import bare_address, is_remote
from manifests.selection import Kept, read_kept
from manifests.table import shown

VIDEOS = "videos"
"""The folder of a delivery that holds the videos, each with its JSON and, where needed, its XMP."""

_NO_MONEY = frozenset({"bill_usd", "cost_basis"})
"""Facts that are left out of the timeline: it goes on to editors."""

_LABEL_BYTES = 64 * 1024
_OTHER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was delivered. `refetched` names clips that were downloaded again, `missing` those without a file.

    `not_embedded` names the clips whose AI label is in an `.xmp` file beside them, with the reason;
    `without_font` those with letters that no font of this machine has, for the contact sheet, and
    `font_packages` Debian's packages with these letters. `labels` are the clips' names with their rows, for
    messages.
    """

    path: Path
    clips: tuple[str, ...]
    files: int
    bytes: int
    refetched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    not_embedded: tuple[tuple[str, str], ...] = ()
    without_font: tuple[str, ...] = ()
    font_packages: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)


async def deliver_run(
    settings: Settings,
    run: Run,
    keep: Sequence[Kept] | None,
    *,
    to: str | Path | None,
    name: str,
    everything: bool = False,
    client: str | None = None,
) -> Delivery:
    """Write the kept clips of a run into `to`, a folder or a ZIP, whole or not at all.

    By default that is `<run_id>-delivery` in the current folder. Originals are never changed. A file that is
    not on this disk is copied from the store that has the run's results, or downloaded again, for free, where
    there is a key and fal still has it; else the clip is left out and named. Raises ManifestError and
    UsageError as `kept_clips` and `open_package` do, UsageError for an address and where a file is not the
    one that was paid for, and DiskFull.
    """
    target = _target(run, to)
    clips = await asyncio.to_thread(_chosen, settings, run, keep, name, everything=everything, client=client)
    gone = [clip for clip in clips if not clip.is_there]
    for clip in gone:  # from the stores that the results of their runs are in; no key for fal is needed
        await asyncio.to_thread(copied_back, clip.file, clip.sha256)
    if lost := [clip for clip in gone if not clip.is_there]:
        await _refetch(run, lost)
    there = [clip for clip in clips if clip.is_there]
    if not there:
        raise UsageError(
            f"no file of the {len(clips)} kept clips is on this disk, and none could be downloaded again"
        )
    missing = [clip for clip in clips if not clip.is_there]
    delivered, files = await asyncio.to_thread(_write, run, there, missing, target)
    back = [clip.row.custom_id for clip in gone if clip.is_there]
    without_font = [clip for clip in there if not _has_font(clip)]
    return Delivery(
        path=target,
        clips=tuple(each.clip.row.custom_id for each in delivered),
        files=len(files),
        bytes=sum(each.bytes for each in files),
        refetched=tuple(back),
        missing=tuple(clip.row.custom_id for clip in missing),
        not_embedded=tuple(
            (each.clip.row.custom_id, each.why_sidecar) for each in delivered if each.why_sidecar
        ),
        without_font=tuple(clip.row.custom_id for clip in without_font),
        font_packages=tuple(packages_for("".join(map(_words, without_font)), [OWN_FONT, *system_fonts()])),
        labels={clip.row.custom_id: clip.row.job.label for clip in clips},
    )


async def deliver_async(
    run_id: str,
    *,
    keep: str | Path | Iterable[str | Path] | None = None,
    to: str | Path | None = None,
    name: str = DEFAULT_NAME,
    everything: bool = False,
    client: str | None = None,
    sandbox: bool = False,
) -> Delivery:
    """Hand over the kept clips of a run: labelled videos, sidecars, shot list, contact sheet, timeline.

    `keep` names an id or a file with the column custom_id, or several; without it those are kept that were
    judged "keep", or all that are finished (`everything`). `client` leaves only those of one client. `to` is
    a folder, or a ZIP where it ends in `.zip`; by default `<run_id>-delivery` in the current folder. `name`
    is the template of the videos' names. Nothing is bought, and nothing is re-encoded. Raises ManifestError
    for kept rows that have no video, UsageError.
    """
    check_packages_are_ours()
    refuse_other_kinds(str, name=name, client=client)
    refuse_other_kinds(str | os.PathLike, to=to)
    refuse_unclear(everything=everything)
    if keep is not None and everything:
        raise UsageError("give keep or everything")
    kept = None if keep is None else read_kept(keep, option="keep")
    settings = settings_from(os.environ, sandbox=sandbox)
    run = find_run(settings, run_id)
    return await deliver_run(
        settings,
        run,
        kept,
        to=to,
        name=name,
        everything=everything,
        client=client,
    )


def _target(run: Run, to: str | Path | None) -> Path:
    # A Path of s3://bucket/name is s3:/bucket/name.
    if to is not None and is_remote(str(to).replace(":/", "://", 1)):
        raise UsageError(
            f"a delivery is a folder or a ZIP on this machine, and {shown(bare_address(str(to)))} is an "
            "address: name a path with --to, and copy it from there"
        )
    return Path(f"{run.run_id}-delivery" if to is None else to)


def _chosen(
    settings: Settings,
    run: Run,
    keep: Sequence[Kept] | None,
    name: str,
    *,
    everything: bool,
    client: str | None,
) -> list[KeptClip]:
    with Ledger.open(settings.ledger) as ledger:
        return kept_clips(ledger, run, keep, everything=everything, client=client, name=name)


async def _refetch(run: Run, gone: Sequence[KeptClip]) -> None:
    """Download files again where there is a key for fal."""
    with suppress(AccountError):
        settings = settings_for(RunRequest.of(run))
        async with open_account(settings) as account:
            await refetch_gone(account, [clip.maker for clip in gone], is_needed_here=True)


def _write(
    run: Run, clips: Sequence[KeptClip], missing: Sequence[KeptClip], target: Path
) -> tuple[list[Delivered], list[Written]]:
    needed = sum(clip.source.stat().st_size + _LABEL_BYTES for clip in clips) + _OTHER_BYTES
    folder = target.absolute().parent
    require_space(folder, needed, instead="name another place with --to")
    is_sandbox = RunRequest.of(run).sandbox
    with (
        _naming(target),
        naming_full_disk(folder, "make room and run the same command again"),
        open_package(target) as package,
    ):
        files: list[Written] = []
        delivered = [_deliver_clip(package, clip, run, files) for clip in clips]
        files.append(package.write("shotlist.csv", documents.shot_list(delivered, run)))
        files.append(package.write("timeline.otio", _timeline(delivered, run)))
        _write_sheets(package, delivered, run, files)
        files.sort(key=lambda each: each.path)
        listed = documents.contents(delivered, missing, files, run, is_sandbox=is_sandbox)
        files.append(package.write(CONTENTS, listed))
    return delivered, files


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or target
        raise UsageError(f"cannot write {where}: {error.strerror}; name another place with --to") from error


def _deliver_clip(package: Package, clip: KeptClip, run: Run, files: list[Written]) -> Delivered:
    """Copy a video with its label, and write what is known of it beside it."""
    label = _label(clip)
    with clip.source.open("rb") as file:
        read = partial(os.pread, file.fileno())
        why = why_untouched(read, check_boxes(read, clip.source.stat().st_size))
    path = f"{VIDEOS}/{clip.name}"
    video = package.copy(f"{path}.mp4", clip.source, b"" if why else xmp_box(label))
    if video.source_sha256 != clip.sha256:
        raise UsageError(
            f"{clip.source} is not the file that was paid for: its SHA-256 is not the ledger's. Nothing was "
            "written. Move it away and run the same command again: it is downloaded again while fal has it"
        )
    files.append(video)
    if why:
        files.append(package.write(f"{path}.xmp", label))
    delivered = Delivered(clip, video, "sidecar" if why else "embedded", why)
    files.append(package.write(f"{path}.json", documents.sidecar(delivered, run)))
    return delivered


def _label(clip: KeptClip) -> bytes:
    row = clip.row
    return xmp_packet(
        title=row.custom_id,
        prompt=row.job.prompt,
        model=row.model,
        endpoint=row.job.endpoint.id,
        request_id=row.request_id,
        created=iso_utc(row.finished_ms),
        tool="Callsheet",
    )


def _timeline(delivered: Sequence[Delivered], run: Run) -> bytes:
    clips = []
    for each in delivered:
        frames, rate = contact_sheet.length_of(each.clip.source)
        row = each.clip.row
        facts = documents.facts_of(each, run)
        facts = {name: value for name, value in facts.items() if name not in _NO_MONEY}
        clips.append(TimelineClip(row.custom_id, each.video.path, frames, rate, bool(row.has_audio), facts))
    return timeline_text(run.campaign, clips).encode("utf-8", "replace")


def _write_sheets(package: Package, delivered: Sequence[Delivered], run: Run, files: list[Written]) -> None:
    """Write the contact sheet: a PNG for each page, and all of them as a PDF."""
    cells = [_cell(each.clip) for each in delivered]
    note = f"{len(cells)} clips · run {run.run_id}" if len(cells) > 1 else f"1 clip · run {run.run_id}"
    several = len(cells) > contact_sheet.PER_PAGE
    with contact_sheet.pdf_book(run.campaign, made_ms=run.created_ms) as book:
        for number, page in enumerate(contact_sheet.pages(run.campaign, note, cells), 1):
            name = f"contact-sheet-{number:03d}.png" if several else "contact-sheet.png"
            files.append(package.write(name, contact_sheet.png(page)))
            book.add(page)
        files.append(package.write("contact-sheet.pdf", book.content()))


def _has_font(clip: KeptClip) -> bool:
    return all(font_for(text)[1] for text in (clip.row.custom_id, clip.row.job.prompt))


def _words(clip: KeptClip) -> str:
    return clip.row.custom_id + clip.row.job.prompt


def _cell(clip: KeptClip) -> contact_sheet.Cell:
    row = clip.row
    seed = "" if row.seed_used is None else f"seed {row.seed_used}"
    length = "" if row.duration_s is None else f"{row.duration_s:.2f} s"
    size = f"{row.width_px} × {row.height_px}"  # noqa: RUF001
    return contact_sheet.Cell(
        name=row.custom_id,
        prompt=row.job.prompt,
        facts=" · ".join(text for text in (row.model, size, length, seed) if text),
        picture=partial(contact_sheet.picture_of, clip.source, *contact_sheet.BOX_PX),
    )
